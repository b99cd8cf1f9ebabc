//! The reference worker as a user starts it, on footage of people who walk past; and detections without end, which cost no
//! recorded frame.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use watchkeeper::base::WallUs;

use crate::{
    outside::{STOPS_WITHIN, events, frames_more, path_of, prove, record, send},
    process::{Process, pause},
    sim::{
        camera::{CameraSpec, SimCamera},
        footage::{Encoding, Source},
        frames,
    },
};

const FRAME_US: i64 = 40_000;
/// The footage begins anew after so many frames. In it somebody walks in from below, stops right of the middle, and is gone.
const LOOP_FRAMES: u64 = 250;
/// In the frames before it there is nobody yet.
const COMES: u64 = 150;
/// In these frames of the loop the person has come to the line, which is looked at twice, or is a little past it.
const CROSSES: std::ops::Range<u64> = 162..225;

/// `scripts/worker`, which must have been installed. Dropping it kills it.
struct Worker(Child);

impl Worker {
    fn install() {
        let said = script().arg("--install").output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    fn start(process: &Process, dir: &Path) -> Self {
        let log = fs::File::create(dir.join("worker.log")).unwrap();
        let arguments = ["--url", &process.url, "--name", "w1", "--types", "people"];
        Self(script().args(arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// SIGTERM; it must end in order.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + STOPS_WITHIN;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "the worker: {status}");
                return;
            }
            assert!(Instant::now() < deadline, "the worker does not stop");
            pause(20);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended is no process of ours any more.
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn script() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/worker"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn the_reference_worker_sees_who_crosses_a_line_and_the_clip_holds_it_with_what_came_before() {
    Worker::install();
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let main = Encoding::small(Source::People);
    let _camera = record(&process, CameraSpec { main, ..CameraSpec::new("corridor") }, 60);
    let event = json!({ "record_mode": "event", "pre_roll_seconds": 8, "post_roll_seconds": 2 }).to_string();
    assert_eq!(send(&process, "PATCH", &path_of("corridor"), &event).status, 200);
    process.until("readiness", &path_of("corridor"), |seen| seen["status"]["reason"] == "armed");
    let task =
        json!({ "camera_id": "corridor", "type": "people", "profile": "main", "fps": 5, "width": 320 });
    process.post("/api/v1/ai/tasks", &task);
    // From below upwards: who comes from the left crosses it forward.
    let line =
        json!({ "name": "desk", "kind": "line", "points": [[0.5, 1.0], [0.5, 0.4]], "labels": ["person"] });
    process.post(&format!("{}/zones", path_of("corridor")), &line);
    frames_more(&process, "corridor", 225);

    let worker = Worker::start(&process, dir.path());
    let crossings = || -> Vec<Value> {
        events(&process).into_iter().filter(|event| event["kind"] == "line_cross").collect()
    };
    let log = || fs::read_to_string(dir.path().join("worker.log")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(240);
    while crossings().first().is_none_or(|cross| cross["sight"]["segment_id"].is_null()) {
        assert!(
            Instant::now() < deadline,
            "nobody crosses, or it is not recorded: {:?}\n{}",
            crossings(),
            log()
        );
        pause(200);
    }
    let first = crossings().remove(0);
    let sight = &first["sight"];
    let seen = (&first["camera_id"], &sight["label"], &sight["zone"], &sight["direction"]);
    assert_eq!(seen, (&json!("corridor"), &json!("person"), &json!("desk"), &json!("forward")), "{}", log());

    // The camera recorded it: the frame of the crossing is in the file, and in front of it the time when nobody was there.
    let path = format!("/api/v1/segments/{}", sight["segment_id"]);
    let clip = process.until("the end of the clip", &path, |clip| clip["state"] == "closed");
    let time = |value: &Value| WallUs::parse(value.as_str().unwrap()).unwrap();
    let (start, end, crossed) = (time(&clip["start"]), time(&clip["end"]), time(&first["at"]));
    assert!(start.plus_us(1_000_000) < crossed && crossed < end, "{clip} for {first}");
    let file = dir.path().join("recordings").join(clip["file"].as_str().unwrap());
    frames::decodes_clean(&file).unwrap();
    let numbers: Vec<u64> = frames::frames_in(&file).unwrap().iter().map(|stamp| stamp.number).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "frames are missing: {numbers:?}");
    assert_eq!(clip["frames"], numbers.len());
    let place = usize::try_from((sight["offset_us"].as_i64().unwrap() + FRAME_US / 2) / FRAME_US).unwrap();
    let (begins, crosses) = (numbers[0], numbers[place]);
    assert!(CROSSES.contains(&(crosses % LOOP_FRAMES)), "frame {crosses} is another moment\n{}", log());
    let comes = crosses - crosses % LOOP_FRAMES + COMES;
    assert!(begins < comes, "it begins with frame {begins}, when somebody was there already since {comes}");

    // Who vanished does not go back over the line, and whoever came since is somebody else.
    let all = crossings();
    assert!(all.iter().all(|cross| cross["sight"]["direction"] == "forward"), "{all:?}\n{}", log());
    let tracks: BTreeSet<&str> =
        all.iter().map(|cross| cross["sight"]["track_id"].as_str().unwrap()).collect();
    assert_eq!(tracks.len(), all.len(), "somebody crossed twice: {all:?}\n{}", log());

    // Its tasks are free at once.
    assert_eq!(process.get("/api/v1/ai/leases")["workers"][0]["worker"], "w1");
    worker.stop();
    assert_eq!(process.get("/api/v1/ai/leases"), json!({ "workers": [] }), "{}", log());
    process.stop(STOPS_WITHIN);
}

/// Cameras, tasks of each, and threads that post for a part of them.
const CAMERAS: usize = 8;
const TASKS: usize = 20;
const THREADS: usize = 4;
/// So many times each thread posts for each of its tasks, of the latest frame.
const ROUNDS: usize = 12;
const POSTS_A_SECOND: u32 = 500;

/// Posts for these tasks of a camera: how often was answered what, and how much of it was new.
fn flood(url: &str, lease: &str, camera: &str, tasks: &[i64]) -> (BTreeMap<u16, usize>, usize) {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = config.timeout_global(Some(Duration::from_secs(60))).build().new_agent();
    let (mut answers, mut new, mut posts) = (BTreeMap::new(), 0, 0);
    let pace = Duration::from_secs((CAMERAS * THREADS) as u64) / POSTS_A_SECOND;
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let picture =
            agent.get(format!("{url}{}/frame?profile=main&wait=20", path_of(camera))).call().unwrap();
        assert_eq!(picture.status(), 200);
        let number: u64 = picture.headers()["x-frame-number"].to_str().unwrap().parse().unwrap();
        for task in tasks {
            let found = json!([{ "label": "person", "confidence": 0.9, "box": [0.4, 0.3, 0.1, 0.4], "track_id": "1" }]);
            let body = json!({
                "lease": lease, "camera_id": camera, "task_id": task, "frame": number, "detections": found,
            });
            let mut answer = agent.post(format!("{url}/api/v1/ai/detections")).send_json(&body).unwrap();
            let said: Value = answer.body_mut().read_json().unwrap();
            *answers.entry(answer.status().as_u16()).or_insert(0) += 1;
            new += usize::from(said["new"] == true);
            posts += 1;
            std::thread::park_timeout((begun + pace * posts).saturating_duration_since(Instant::now()));
        }
    }
    (answers, new)
}

#[test]
fn detections_without_end_cost_no_recorded_frame() {
    let start = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let main = Encoding { width: 320, height: 180, ..Encoding::small(Source::People) };
    let names: Vec<String> = (0..CAMERAS).map(|n| format!("cam{n}")).collect();
    let cameras: Vec<SimCamera> =
        names.iter().map(|name| record(&process, CameraSpec { main, ..CameraSpec::new(name) }, 60)).collect();
    let of_cameras: Vec<(&str, Vec<i64>)> = names
        .iter()
        .map(|name| {
            let task = json!({ "camera_id": name, "type": "x", "profile": "main", "fps": 1, "width": 160 });
            let add = |_| process.post("/api/v1/ai/tasks", &task)["id"].as_i64().unwrap();
            (name.as_str(), (0..TASKS).map(add).collect())
        })
        .collect();
    let lease = process.post("/api/v1/ai/leases", &json!({ "worker": "w1", "ttl_seconds": 300 }));
    let token = lease["lease"].as_str().unwrap();
    assert_eq!(lease["tasks"].as_array().unwrap().len(), CAMERAS * TASKS);
    process.until("pictures of all", "/api/v1/ai/samplers", |seen| {
        seen["samplers"].as_array().unwrap().iter().all(|of| of["state"] == "sampling")
    });

    let began = Instant::now();
    let url = process.url.as_str();
    let of_threads: Vec<(BTreeMap<u16, usize>, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = of_cameras
            .iter()
            .flat_map(|(camera, tasks)| tasks.chunks(TASKS / THREADS).map(move |part| (*camera, part)))
            .map(|(camera, part)| scope.spawn(move || flood(url, token, camera, part)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (mut answers, mut new) = (BTreeMap::<u16, usize>::new(), 0);
    for (of, of_new) in of_threads {
        of.into_iter().for_each(|(status, count)| *answers.entry(status).or_default() += count);
        new += of_new;
    }
    let rate = answers.values().sum::<usize>() as f64 / began.elapsed().as_secs_f64();
    println!("{answers:?}, {new} new, {rate:.0} a second; begun after {:.0?}", began - start);
    assert!(answers.keys().all(|status| [200, 429].contains(status)), "{answers:?}");
    // Whatever was taken is there, once.
    let mut kept = 0;
    for name in &names {
        let listed = process.get(&format!("{}/detections?limit=1000", path_of(name)));
        kept += listed["frames"].as_array().unwrap().len();
    }
    assert_eq!(kept, new);

    process.stop(STOPS_WITHIN);
    for camera in &cameras {
        prove(dir.path(), camera);
    }
}
