//! Samplers come, change, go and fail at random, and more are asked for than the budget has: no recorded frame is missing, and
//! each gets what it should. `STORM_CHANGES` [24] makes a long trial of it, with 8 cameras in place of 3:
//! `scripts/sampling-trial`.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    outside::{STOPS_WITHIN, events, path_of, prove, record, recordings, send},
    process::{Process, pause},
    rig,
    sim::{
        camera::{CameraSpec, SimCamera},
        footage::{Encoding, Source},
    },
};

/// Decoders fail after so many frames.
const FAILS_AFTER: u32 = 60;

/// The same numbers each time: what fails once can be looked at again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn samplers(process: &Process) -> Vec<Value> {
    process.get("/api/v1/ai/samplers")["samplers"].as_array().unwrap().clone()
}

#[test]
fn samplers_that_come_change_go_and_fail_cost_no_recorded_frame() {
    let asked = std::env::var("STORM_CHANGES").ok();
    let (changes, count) = asked.map_or((24, 3), |text| (text.parse::<u32>().unwrap(), 8));
    let dir = tempfile::tempdir().unwrap();
    let (texts, mirror) = (dir.path().join("texts"), dir.path().join("mirror"));
    fs::create_dir(&texts).unwrap();
    let text = include_str!("../../pipelines/sample-h264.launch");
    let failing = text.replace("! avdec_h264", &format!("! identity error-after={FAILS_AFTER} ! avdec_h264"));
    assert_ne!(text, failing);
    fs::write(texts.join("sample-h264.launch"), failing).unwrap();
    let variables = [("WATCHKEEPER_PIPELINES_DIR", &*texts), ("WATCHKEEPER_MIRROR_DIR", &*mirror)];
    let process = Process::start_with(dir.path(), &variables);
    let main = Encoding { gop_frames: 25, ..Encoding::small(Source::People) };
    let cameras: Vec<SimCamera> = (0..count)
        .map(|n| record(&process, CameraSpec { main, ..CameraSpec::new(format!("c{n}")) }, 4))
        .collect();

    let told = |kind: &str| events(&process).iter().filter(|event| event["kind"] == kind).count();
    let (mut dice, mut tasks) = (Dice(7), Vec::<Value>::new());
    let (mut errors, mut sampled) = (0, 0);
    for _ in 0..changes {
        let rates = [json!(0.2), json!(1), json!(2), json!(5)];
        let change = json!({ "fps": rates[dice.below(4)], "width": 160 + 40 * dice.below(12) });
        match dice.below(5) {
            0 if !tasks.is_empty() => {
                let gone = tasks.swap_remove(dice.below(tasks.len()));
                assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/tasks/{gone}"), "").status, 204);
            }
            1 | 2 if !tasks.is_empty() => {
                let path = format!("/api/v1/ai/tasks/{}", tasks[dice.below(tasks.len())]);
                assert_eq!(send(&process, "PATCH", &path, &change.to_string()).status, 200);
            }
            _ => {
                let mut task = change;
                task["camera_id"] = cameras[dice.below(count)].name().into();
                (task["type"], task["profile"]) = ("x".into(), "main".into());
                tasks.push(process.post("/api/v1/ai/tasks", &task)["id"].clone());
            }
        }
        let seen = samplers(&process);
        errors += seen.iter().filter(|of| of["state"] == "error").count();
        sampled += seen.iter().filter(|of| of["state"] == "sampling").count();
        pause(250 + 10 * dice.below(50) as u64);
    }
    // Those that fail again and again still begin again, and give pictures in between.
    assert!(told("sampler_offline") > 0, "no decoder ever failed");
    assert!(sampled > 0, "nothing was ever sampled: {errors}");
    assert_eq!((told("camera_offline"), told("recorder_error")), (0, 0));
    for camera in &cameras {
        assert_eq!(process.get(&path_of(camera.name()))["status"]["dropped_frames"], 0);
    }
    process.stop(STOPS_WITHIN);
    for camera in &cameras {
        prove(dir.path(), camera);
        let on_mirror = rig::files(&mirror.join(camera.name()));
        let bytes = |files: &[std::path::PathBuf]| {
            files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>()
        };
        assert!(bytes(&on_mirror) == bytes(&recordings(dir.path(), camera.name())), "{}", camera.name());
    }
}

#[test]
fn forty_samplers_on_ten_pictures_a_second_degrade_and_shed_and_recover() {
    let dir = tempfile::tempdir().unwrap();
    let ten = std::path::Path::new("10");
    let process = Process::start_with(dir.path(), &[("WATCHKEEPER_AI_MAX_TOTAL_FPS", ten)]);
    let camera = record(&process, CameraSpec::new("c00"), 4);
    // The others need not be there to have a share.
    for n in 1..20 {
        let url = format!("rtsp://127.0.0.1:9/{n}");
        let body = json!({ "id": format!("c{n:02}"), "main_url": url, "sub_url": format!("{url}/sub") });
        process.post("/api/v1/cameras", &body);
    }
    let patch = json!({ "sub_url": "rtsp://127.0.0.1:9/sub" }).to_string();
    assert_eq!(send(&process, "PATCH", &path_of("c00"), &patch).status, 200);
    let mut tasks = Vec::new();
    for n in 0..20 {
        for profile in ["main", "sub"] {
            let body = json!({ "camera_id": format!("c{n:02}"), "type": "x", "profile": profile, "fps": 2, "width": 1280 });
            tasks.push(process.post("/api/v1/ai/tasks", &body)["id"].clone());
        }
    }
    let sum = |seen: &[Value]| seen.iter().map(|of| of["granted_fps"].as_f64().unwrap()).sum::<f64>();
    let shed = |seen: &[Value]| seen.iter().filter(|of| of["state"] == "budget_exhausted").count();
    let until = |what: &str, holds: &dyn Fn(&[Value]) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let seen = samplers(&process);
            assert!(sum(&seen) <= 10.0, "{seen:?}");
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{what}: {seen:#?}");
            pause(100);
        }
    };
    // The least of all is 20 a second: half of them get it, narrower, and the rest nothing, in the order of their names.
    let seen = until("forty", &|seen| seen.len() == 40 && shed(seen) == 20);
    for (n, of) in seen.iter().enumerate() {
        let expected = if n < 20 { (json!(0.5), json!(640)) } else { (json!(0.0), json!(1280)) };
        assert_eq!((of["granted_fps"].clone(), of["width"].clone()), expected, "{of}");
    }
    // Load goes: all get their least, and the first more; then all that they want.
    for task in &tasks[18..] {
        assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/tasks/{task}"), "").status, 204);
    }
    until("eighteen", &|seen| seen.len() == 18 && shed(seen) == 0 && sum(seen) == 10.0);
    for task in &tasks[5..18] {
        assert_eq!(send(&process, "DELETE", &format!("/api/v1/ai/tasks/{task}"), "").status, 204);
    }
    let all = |of: &Value| of["granted_fps"] == 2.0 && of["width"] == 1280;
    until("five", &|seen| seen.len() == 5 && seen.iter().all(all));
    process.until("pictures", "/api/v1/ai/samplers", |seen| seen["samplers"][0]["state"] == "sampling");
    process.stop(STOPS_WITHIN);
    prove(dir.path(), &camera);
}
