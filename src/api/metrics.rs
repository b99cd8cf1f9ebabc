//! Prometheus text (format 0.0.4), written by hand: a dozen lines do what a crate would.

use std::fmt::{self, Write as _};

use crate::{
    base::WallUs,
    model::{
        mirror::MirrorState,
        status::{CameraStatus, Observed, Shown},
    },
    run::{CameraNow, CoverageNow, MirrorNow, SamplerNow, SamplerState, System, VolumeNow},
};

/// What `Content-Type` calls it.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    /// One family: its help, its type, and its samples as labels and value.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{} {value}", Labels(&labels));
        }
    }
}

struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = '{';
        for (name, value) in self.0 {
            write!(f, "{before}{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')?;
            before = ',';
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

/// Numbers of the page. Prometheus knows doubles only; 2^53 bytes are 9 PB.
#[expect(clippy::cast_precision_loss, reason = "the format has doubles only")]
fn number(n: u64) -> f64 {
    n as f64
}

/// Microseconds of a wall time as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact to the microsecond until the year 2255")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// The whole page. Labels come from closed sets: camera ids, states and reasons; never names, addresses or texts.
pub(super) fn page(
    cameras: &[CameraNow],
    coverage: &[CoverageNow],
    samplers: &[SamplerNow],
    system: &System,
    now: WallUs,
) -> String {
    let mut page = Page::default();
    let System { started_at, zone: _, abandoned_pipelines, volume, mirror, pending_rows, database_error } =
        system;
    let one = |value: f64| [(vec![], value)];
    let truth = |yes: bool| one(if yes { 1.0 } else { 0.0 });

    let version = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)];
    page.family("watchkeeper_build_info", "gauge", "Version of the service.", version);
    page.family(
        "watchkeeper_process_start_time_seconds",
        "gauge",
        "Start of the service, in seconds since 1970.",
        one(seconds(started_at.0)),
    );
    page.family(
        "watchkeeper_abandoned_pipelines",
        "gauge",
        "Pipelines that did not stop in time and still hang.",
        one(number(*abandoned_pipelines)),
    );
    page.family(
        "watchkeeper_volume_size_bytes",
        "gauge",
        "Size of the volume of the recordings.",
        one(number(volume.total_bytes)),
    );
    page.family(
        "watchkeeper_volume_free_bytes",
        "gauge",
        "Free space on the volume of the recordings.",
        one(number(volume.free_bytes)),
    );
    page.family(
        "watchkeeper_volume_usable",
        "gauge",
        "1 while the volume of the recordings can be written.",
        truth(volume.error.is_none()),
    );
    page.family(
        "watchkeeper_database_usable",
        "gauge",
        "1 while the database takes rows.",
        truth(database_error.is_none()),
    );
    page.family(
        "watchkeeper_database_pending_rows",
        "gauge",
        "Facts and events that wait for the database.",
        one(number(*pending_rows)),
    );
    if let Some((volume, now)) = mirror {
        of_mirror(&mut page, volume, now);
    }
    of_cameras(&mut page, cameras);
    of_coverage(&mut page, coverage, now);
    of_samplers(&mut page, samplers);
    page.0
}

fn of_mirror(page: &mut Page, volume: &VolumeNow, now: &MirrorNow) {
    let states = MirrorState::ALL.iter();
    page.family(
        "watchkeeper_mirror_state",
        "gauge",
        "1 for the state that the mirror is in.",
        states.map(|state| (vec![("state", state.word())], if *state == now.state { 1.0 } else { 0.0 })),
    );
    for (name, help, value) in [
        ("watchkeeper_mirror_size_bytes", "Size of the mirror's volume.", volume.total_bytes),
        ("watchkeeper_mirror_free_bytes", "Free space on the mirror's volume.", volume.free_bytes),
        ("watchkeeper_mirror_queued_bytes", "Bytes that wait to be written to the mirror.", now.queued_bytes),
        ("watchkeeper_mirror_due_segments", "Segments that the mirror lacks.", now.due.segments),
        ("watchkeeper_mirror_due_bytes", "Bytes of the segments that the mirror lacks.", now.due.bytes),
        (
            "watchkeeper_volume_due_segments",
            "Segments that only the mirror has and the volume of the recordings should have.",
            now.primary_due.segments,
        ),
    ] {
        page.family(name, "gauge", help, [(vec![], number(value))]);
    }
}

fn of_coverage(page: &mut Page, coverage: &[CoverageNow], now: WallUs) {
    let days = coverage.iter().flat_map(|of| [(of, "today", of.today), (of, "yesterday", of.yesterday)]);
    page.family(
        "watchkeeper_camera_coverage_percent",
        "gauge",
        "Recorded part of the wanted time of this UTC day so far, and of the one before.",
        days.filter_map(|(of, day, percent)| {
            Some((vec![("camera", of.camera.as_str()), ("day", day)], percent?))
        }),
    );
    page.family(
        "watchkeeper_camera_open_gap_seconds",
        "gauge",
        "For how long wanted footage has been missing, by what it is missing for.",
        coverage.iter().filter_map(|of| {
            let (cause, since) = of.open?;
            let labels = vec![("camera", of.camera.as_str()), ("cause", cause.word())];
            Some((labels, seconds(now.0 - since.0)))
        }),
    );
}

fn of_cameras(page: &mut Page, cameras: &[CameraNow]) {
    let states = cameras.iter().flat_map(|now| {
        let id = now.camera.id.as_str();
        Shown::ALL.iter().map(move |state| {
            let value = if *state == now.status.shown { 1.0 } else { 0.0 };
            (vec![("camera", id), ("state", state.word())], value)
        })
    });
    page.family("watchkeeper_camera_state", "gauge", "1 for the state that the camera is in.", states);
    let reasons = cameras.iter().filter_map(|now| {
        Some((vec![("camera", now.camera.id.as_str()), ("reason", now.status.reason?)], 1.0))
    });
    page.family(
        "watchkeeper_camera_reason_info",
        "gauge",
        "Why the camera is in its state, if that has a reason.",
        reasons,
    );

    type Read = fn(&CameraStatus, &Observed) -> Option<f64>;
    let families: [(&str, &str, &str, Read); 14] = [
        ("watchkeeper_camera_frames_total", "counter", "Frames received.", |_, seen| {
            Some(number(seen.frames))
        }),
        ("watchkeeper_camera_received_bytes_total", "counter", "Bytes of frames received.", |_, seen| {
            Some(number(seen.bytes))
        }),
        ("watchkeeper_camera_segments_total", "counter", "Segments begun.", |_, seen| {
            Some(number(seen.segments))
        }),
        (
            "watchkeeper_camera_dropped_frames_total",
            "counter",
            "Frames that came and could not be recorded.",
            |_, seen| Some(number(seen.dropped_frames)),
        ),
        (
            "watchkeeper_camera_damaged_units_total",
            "counter",
            "Frames that arrived with a missing or unreadable part.",
            |_, seen| Some(number(seen.damage.damaged_units)),
        ),
        (
            "watchkeeper_camera_resyncs_total",
            "counter",
            "How often the start of the next RTSP message had to be searched for.",
            |_, seen| Some(number(seen.damage.resyncs)),
        ),
        ("watchkeeper_camera_lost_packets_total", "counter", "RTP packets that never arrived.", |_, seen| {
            Some(number(seen.damage.lost_packets))
        }),
        ("watchkeeper_camera_reconnects_total", "counter", "How often the camera came back.", |status, _| {
            Some(number(status.reconnects))
        }),
        (
            "watchkeeper_camera_frame_rate_hertz",
            "gauge",
            "Frames a second, over the last seconds.",
            |_, seen| seen.fps,
        ),
        (
            "watchkeeper_camera_bit_rate_bits_per_second",
            "gauge",
            "Bits a second, over the last seconds.",
            |_, seen| seen.bit_rate_bps.map(number),
        ),
        (
            "watchkeeper_camera_keyframe_interval_seconds",
            "gauge",
            "Time between the last keyframes.",
            |_, seen| seen.keyframe_interval.map(|interval| interval.as_secs_f64()),
        ),
        (
            "watchkeeper_camera_clock_offset_seconds",
            "gauge",
            "How far the camera's clock is ahead of the host's.",
            |_, seen| seen.clock_ahead_us.map(|us| us as f64 / 1e6),
        ),
        (
            "watchkeeper_camera_last_frame_time_seconds",
            "gauge",
            "When the last frame came, in seconds since 1970.",
            |status, _| status.last_frame_at.map(|at| seconds(at.0)),
        ),
        (
            "watchkeeper_camera_state_since_time_seconds",
            "gauge",
            "Since when the camera is in its state, in seconds since 1970.",
            |status, _| Some(seconds(status.since.0)),
        ),
    ];
    for (name, kind, help, read) in families {
        let samples = cameras.iter().filter_map(|now| {
            let value = read(&now.status, &now.status.observed)?;
            Some((vec![("camera", now.camera.id.as_str())], value))
        });
        page.family(name, kind, help, samples);
    }
}

fn of_samplers(page: &mut Page, samplers: &[SamplerNow]) {
    fn labels(of: &SamplerNow) -> Vec<(&str, &str)> {
        vec![("camera", of.camera.as_str()), ("profile", of.profile.word())]
    }
    let states = samplers.iter().flat_map(|of| {
        SamplerState::ALL.iter().map(move |state| {
            let labels = [labels(of), vec![("state", state.word())]].concat();
            (labels, if *state == of.state { 1.0 } else { 0.0 })
        })
    });
    page.family("watchkeeper_sampler_state", "gauge", "1 for the state that the sampler is in.", states);
    let per_second = |thousandths: u32| f64::from(thousandths) / 1000.0;
    type Read<'a> = &'a dyn Fn(&SamplerNow) -> f64;
    let families: [(&str, &str, &str, Read<'_>); 5] = [
        ("watchkeeper_sampler_requested_hertz", "gauge", "Pictures a second that tasks ask for.", &|of| {
            per_second(of.requested)
        }),
        ("watchkeeper_sampler_granted_hertz", "gauge", "Pictures a second that the budget leaves.", &|of| {
            per_second(of.granted)
        }),
        ("watchkeeper_sampler_measured_hertz", "gauge", "Pictures a second that came lately.", &|of| {
            per_second(of.sampling.measured)
        }),
        ("watchkeeper_sampler_decode_seconds", "gauge", "What decoding a frame takes.", &|of| {
            of.sampling.decode.as_secs_f64()
        }),
        (
            "watchkeeper_sampler_dropped_total",
            "counter",
            "Frames left out because decoding was too slow.",
            &|of| number(of.sampling.dropped),
        ),
    ];
    for (name, kind, help, read) in families {
        page.family(name, kind, help, samplers.iter().map(|of| (labels(of), read(of))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::tests::{camera_now, system},
        model::{Profile, ledger::Cause},
    };

    #[test]
    fn every_line_is_prometheus_text_and_tells_no_address() {
        let mut front = camera_now("front");
        front.status.shown = Shown::Offline;
        front.status.reason = Some("refused");
        front.status.detail = Some("refused: nothing listens at 192.0.2.7".into());
        let yard = camera_now("yard");
        let open = Some((Cause::CameraOffline, WallUs(1_000_000)));
        let covered =
            CoverageNow { camera: front.camera.id.clone(), today: Some(99.5), yesterday: None, open };
        let sampler = SamplerNow {
            camera: front.camera.id.clone(),
            profile: Profile::Sub,
            state: SamplerState::Sampling,
            requested: 5_000,
            granted: 2_500,
            width: 640,
            sampling: Default::default(),
        };
        let text = page(&[front, yard], &[covered], &[sampler], &system(), WallUs(3_500_000));
        for line in [
            "watchkeeper_camera_state{camera=\"front\",state=\"offline\"} 1",
            "watchkeeper_camera_state{camera=\"front\",state=\"recording\"} 0",
            "watchkeeper_camera_state{camera=\"yard\",state=\"recording\"} 1",
            "watchkeeper_camera_reason_info{camera=\"front\",reason=\"refused\"} 1",
            "watchkeeper_camera_frames_total{camera=\"yard\"} 1234",
            "watchkeeper_camera_frame_rate_hertz{camera=\"yard\"} 25",
            "watchkeeper_camera_damaged_units_total{camera=\"yard\"} 12",
            "watchkeeper_camera_resyncs_total{camera=\"yard\"} 1",
            "watchkeeper_camera_lost_packets_total{camera=\"yard\"} 3",
            "watchkeeper_process_start_time_seconds 1795168800.5",
            "watchkeeper_volume_free_bytes 1000000000000",
            "watchkeeper_camera_coverage_percent{camera=\"front\",day=\"today\"} 99.5",
            "watchkeeper_camera_open_gap_seconds{camera=\"front\",cause=\"camera_offline\"} 2.5",
            "watchkeeper_sampler_granted_hertz{camera=\"front\",profile=\"sub\"} 2.5",
            "watchkeeper_sampler_state{camera=\"front\",profile=\"sub\",state=\"sampling\"} 1",
            "# TYPE watchkeeper_camera_frames_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("192.0.2"));
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                family = rest.split(' ').nth(1).unwrap().to_owned();
                assert!(family.starts_with("watchkeeper_"), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(name.split('{').next(), Some(family.as_str()), "{line}");
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
                assert!(!family.ends_with("_total") || text.contains(&format!("# TYPE {family} counter")));
            }
        }
    }

    #[test]
    fn labels_are_escaped() {
        let labels = [("a", "x\"y\\z\n"), ("b", "ä")];
        assert_eq!(Labels(&labels).to_string(), r#"{a="x\"y\\z\n",b="ä"}"#);
        assert_eq!(Labels(&[]).to_string(), "");
    }
}
