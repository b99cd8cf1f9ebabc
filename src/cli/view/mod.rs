//! What the API answers, as far as the command line shows it. Fields that this program does not know are passed over:
//! the service may be a newer one. (`--json` hands on the service's own answer.)

mod probe;

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    fail::Failure,
    table::{Cell, Table, bit_rate, bytes},
    week, when,
};
use crate::{base::WallUs, model::schedule::Row};
pub(super) use probe::{ProbeReport, RefillWay, probe_pairs};

/// Reads an answer.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| {
        Failure::new("the service's answer cannot be read")
            .because(error)
            .hint("is it of another version? `watchkeeper doctor` compares")
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Cameras {
    pub(super) cameras: Vec<Camera>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Camera {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) vendor: String,
    pub(super) address: Option<String>,
    pub(super) rtsp_port: u16,
    pub(super) channel: u16,
    pub(super) username: Option<String>,
    pub(super) has_password: bool,
    pub(super) main_url: Option<String>,
    pub(super) sub_url: Option<String>,
    pub(super) record_profile: String,
    pub(super) transport: String,
    pub(super) source: Option<String>,
    pub(super) connect_seconds: u32,
    pub(super) tls_fingerprint: Option<String>,
    pub(super) allow_basic: bool,
    pub(super) record_enabled: bool,
    pub(super) segment_seconds: u32,
    pub(super) record_mode: String,
    pub(super) schedule: Vec<Row>,
    pub(super) time_zone: Option<String>,
    pub(super) pre_roll_seconds: u32,
    pub(super) post_roll_seconds: u32,
    pub(super) event_idle_session: bool,
    pub(super) record_audio: bool,
    pub(super) retention_hours: Option<u32>,
    pub(super) quota_bytes: Option<u64>,
    pub(super) mirror_enabled: bool,
    pub(super) mirror_mode: String,
    pub(super) refill_enabled: bool,
    pub(super) refill_method: String,
    pub(super) refill_url: Option<String>,
    pub(super) refill_time_format: String,
    pub(super) onvif_port: u16,
    refill_found: Option<RefillWay>,
    created_at: WallUs,
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: String,
    reason: Option<String>,
    detail: Option<String>,
    since: WallUs,
    last_frame_at: Option<WallUs>,
    until: Option<WallUs>,
    window_end: Option<WallUs>,
    next_attempt_at: Option<WallUs>,
    reconnects: u64,
    last_error: Option<String>,
    source: Option<String>,
    source_fallback: Option<String>,
    codec: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<f64>,
    bit_rate_bps: Option<u64>,
    keyframe_interval_s: Option<f64>,
    frames: u64,
    bytes: u64,
    segments: u64,
    dropped_frames: u64,
    damaged_units: u64,
    resyncs: u64,
    lost_packets: u64,
}

impl Status {
    fn size(&self) -> Option<String> {
        Some(format!("{}x{}", self.width?, self.height?))
    }

    /// What arrived broken since the service started; `None` if nothing did.
    fn damage(&self) -> Option<String> {
        let counted = |n: u64, one: &str, many: &str| {
            (n > 0).then(|| format!("{n} {}", if n == 1 { one } else { many }))
        };
        let parts: Vec<String> = [
            counted(self.damaged_units, "damaged frame", "damaged frames"),
            counted(self.lost_packets, "lost packet", "lost packets"),
            counted(self.resyncs, "resync", "resyncs"),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn state(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{}: {reason}", self.state),
            None => self.state.clone(),
        }
    }
}

fn fps(fps: Option<f64>) -> Option<String> {
    fps.map(|fps| format!("{fps:.1}"))
}

fn dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// What receives a stream, and why that is not the native source, if it was tried.
fn received_by(source: Option<&str>, fallback: Option<&str>) -> Option<String> {
    let source = source?;
    Some(fallback.map_or_else(|| source.to_owned(), |why| format!("{source} ({why})")))
}

/// All cameras, a line for each.
pub(super) fn camera_table(cameras: &[Camera], now: WallUs) -> Table {
    let mut table = Table::new(&["ID", "NAME", "STATE", ">SINCE", ">FPS", ">BIT RATE", "SIZE", "REASON"]);
    for Camera { id, name, status, .. } in cameras {
        table.row([
            id.into(),
            name.into(),
            Cell::word(&status.state),
            when::since(status.since, now).into(),
            dash(fps(status.fps)).into(),
            dash(status.bit_rate_bps.map(bit_rate)).into(),
            dash(status.size()).into(),
            status.reason.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

/// Everything about one camera.
pub(super) fn camera_pairs(camera: &Camera, now: WallUs) -> Table {
    let mut table = Table::pairs();
    let template = || "from the vendor's template".to_owned();
    let status = &camera.status;
    table.pair("id", &camera.id);
    table.pair("name", &camera.name);
    table.pair("state", Cell::word(&status.state()).toned_as(&status.state));
    table.pair("since", format!("{} ({})", when::shown(status.since), when::since(status.since, now)));
    for (name, value) in [
        ("detail", status.detail.clone()),
        ("last error", status.last_error.clone()),
        ("last frame", status.last_frame_at.map(when::shown)),
        ("idle until", status.until.map(when::shown)),
        ("a trigger's window ends", status.window_end.map(when::shown)),
        ("next attempt", status.next_attempt_at.map(when::shown)),
    ] {
        if let Some(value) = value {
            table.pair(name, value);
        }
    }
    let codec = status.codec.as_ref().map(|codec| format!("{codec} {}", dash(status.size())));
    table.pair("video", dash(codec));
    let rate =
        fps(status.fps).zip(status.bit_rate_bps).map(|(fps, rate)| format!("{fps} fps, {}", bit_rate(rate)));
    table.pair("rate", dash(rate));
    table.pair("keyframes every", dash(status.keyframe_interval_s.map(|seconds| format!("{seconds:.1} s"))));
    let source = received_by(status.source.as_deref(), status.source_fallback.as_deref());
    table.pair("received by", dash(source));
    let Status { frames, bytes: size, segments, dropped_frames, reconnects, .. } = status;
    table.pair(
        "since start",
        format!(
            "{frames} frames, {}, {segments} segments, {dropped_frames} dropped, {reconnects} reconnects",
            bytes(*size)
        ),
    );
    if let Some(damage) = status.damage() {
        table.pair("damaged on arrival", damage);
    }
    table.pair("vendor", &camera.vendor);
    table.pair("address", dash(camera.address.clone()));
    table.pair("rtsp port", camera.rtsp_port.to_string());
    table.pair("channel", camera.channel.to_string());
    table.pair("main url", camera.main_url.clone().unwrap_or_else(template));
    table.pair("sub url", camera.sub_url.clone().unwrap_or_else(template));
    table.pair("username", dash(camera.username.clone()));
    table.pair("password", if camera.has_password { "set" } else { "-" });
    table.pair("records", if camera.record_enabled { &camera.record_profile } else { "nothing (disabled)" });
    table.pair("transport", &camera.transport);
    table.pair("source", camera.source.as_deref().unwrap_or("the configuration's"));
    table.pair("first frame within", format!("{} s", camera.connect_seconds));
    table.pair("certificate", dash(camera.tls_fingerprint.clone()));
    table.pair("basic log-in", if camera.allow_basic { "allowed" } else { "refused" });
    let refill = match (camera.refill_enabled, &camera.refill_found) {
        (false, _) => "off".to_owned(),
        (true, None) => camera.refill_method.clone(),
        (true, Some(found)) => found.told(),
    };
    table.pair("refill", refill);
    table.pair("segment length", format!("{} s", camera.segment_seconds));
    table.pair("mode", &camera.record_mode);
    for row in &camera.schedule {
        table.pair("schedule", week::text(row));
    }
    table.pair("time zone", camera.time_zone.clone().unwrap_or_else(|| "the service's".to_owned()));
    let Camera { pre_roll_seconds: pre, post_roll_seconds: post, event_idle_session, .. } = camera;
    let pre = if *event_idle_session { format!("{pre} s before") } else { "nothing before".to_owned() };
    table.pair("a trigger keeps", format!("{pre}, {post} s after"));
    table.pair("audio", if camera.record_audio { "recorded" } else { "not recorded" });
    table.pair("keeps", kept(camera.retention_hours, camera.quota_bytes));
    let mirror = if camera.mirror_enabled { &camera.mirror_mode } else { "nothing" };
    table.pair("mirror holds", mirror);
    table.pair("added", when::shown(camera.created_at));
    table
}

/// What a camera may keep.
pub(super) fn kept(hours: Option<u32>, quota: Option<u64>) -> String {
    let hours = hours.map(|hours| format!("{hours} h"));
    let limits: Vec<String> = hours.into_iter().chain(quota.map(bytes)).collect();
    if limits.is_empty() { "as long as there is room".to_owned() } else { limits.join(", at most ") }
}

#[derive(Debug, Deserialize)]
pub(super) struct Window {
    pub(super) window_end: WallUs,
}

#[derive(Debug, Deserialize)]
pub(super) struct Segment {
    id: i64,
    state: String,
    start: WallUs,
    duration_s: f64,
    frames: u64,
    bytes: u64,
    copies: Option<Copies>,
    file: String,
}

/// What each volume has of a segment.
#[derive(Debug, Deserialize)]
struct Copies {
    primary: String,
    mirror: String,
}

impl Copies {
    /// Where it is; of a volume that does not have it as it was recorded, why.
    fn shown(&self) -> String {
        let Self { primary, mirror } = self;
        let well = |copy: &str| matches!(copy, "whole" | "open");
        match (well(primary), well(mirror)) {
            (true, true) => "both".to_owned(),
            (true, false) => format!("primary (mirror: {mirror})"),
            (false, true) => format!("mirror (primary: {primary})"),
            (false, false) => format!("primary: {primary}, mirror: {mirror}"),
        }
    }
}

/// Segments, a line for each; with a mirror also which volume has them.
pub(super) fn segment_table(segments: &[Segment], mirrored: bool) -> Table {
    let head = [">ID", "START", ">SECONDS", ">FRAMES", ">SIZE", "STATE", "COPIES", "FILE"];
    let shown = |column: usize| mirrored || head.get(column) != Some(&"COPIES");
    let kept = |column: &(usize, &'static str)| shown(column.0);
    let heads: Vec<&'static str> = head.into_iter().enumerate().filter(kept).map(|(_, name)| name).collect();
    let mut table = Table::new(&heads);
    for segment in segments {
        let cells = [
            segment.id.to_string().into(),
            when::shown(segment.start).into(),
            format!("{:.1}", segment.duration_s).into(),
            segment.frames.to_string().into(),
            bytes(segment.bytes).into(),
            Cell::word(&segment.state),
            dash(segment.copies.as_ref().map(Copies::shown)).into(),
            Cell::from(&segment.file),
        ];
        table.row(cells.into_iter().enumerate().filter(|(column, _)| shown(*column)).map(|(_, cell)| cell));
    }
    table
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Gap {
    pub(super) id: i64,
    pub(super) camera_id: String,
    cause: String,
    state: String,
    from: WallUs,
    to: Option<WallUs>,
    duration_s: f64,
    refill: Option<Refill>,
}

#[derive(Clone, Debug, Deserialize)]
struct Refill {
    state: String,
    reason: Option<String>,
    upto: Option<WallUs>,
}

impl Gap {
    /// How it stands with fetching it.
    pub(super) fn refill_word(&self) -> Option<&str> {
        self.refill.as_ref().map(|refill| refill.state.as_str())
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.refill.as_ref().and_then(|refill| refill.reason.as_deref())
    }

    /// Whether it is being fetched, or is to be.
    pub(super) fn is_waiting(&self) -> bool {
        self.refill_word() == Some("pending") || self.is_fetched()
    }

    pub(super) fn is_fetched(&self) -> bool {
        self.refill_word() == Some("filling")
    }

    /// Whose and when, for people.
    pub(super) fn title(&self) -> String {
        format!("{} {}, {:.0} s", self.camera_id, when::shown(self.from), self.duration_s)
    }

    pub(super) fn seconds(&self) -> u64 {
        self.to.map_or(0, |to| whole_seconds(self.from, to))
    }

    /// So much has come of what it is the rest of.
    pub(super) fn fetched_seconds_of(&self, whole: &Self) -> u64 {
        let upto = self.refill.as_ref().and_then(|refill| refill.upto);
        upto.map_or(0, |upto| whole_seconds(whole.from, upto))
    }

    /// Whether it is what is left of the other.
    pub(super) fn is_rest_of(&self, whole: &Self) -> bool {
        self.camera_id == whole.camera_id && self.from >= whole.from && self.to <= whole.to
    }
}

fn whole_seconds(from: WallUs, to: WallUs) -> u64 {
    u64::try_from((to.0 - from.0) / 1_000_000).unwrap_or_default()
}

/// Gaps, a line for each.
pub(super) fn gap_table(gaps: &[Gap]) -> Table {
    let mut table = Table::new(&["FROM", "TO", ">SECONDS", "CAMERA", "CAUSE", "REFILL"]);
    for gap in gaps {
        let Gap { id: _, camera_id, cause, state, from, to, duration_s, refill: _ } = gap;
        let why = gap.reason().map_or(String::new(), |reason| format!(": {reason}"));
        table.row([
            when::shown(*from).into(),
            to.map_or_else(|| Cell::word(state), |to| when::shown(to).into()),
            format!("{duration_s:.1}").into(),
            camera_id.into(),
            cause.into(),
            format!("{}{why}", gap.refill_word().unwrap_or("-")).into(),
        ]);
    }
    table
}

#[derive(Debug, Deserialize)]
pub(super) struct Coverage {
    from: WallUs,
    to: WallUs,
    recorded_s: f64,
    missing_s: f64,
    not_wanted_s: f64,
    unknown_s: f64,
    missing_by_cause_s: BTreeMap<String, f64>,
    percent: Option<f64>,
    pub(super) ranges: Vec<CoverageRange>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CoverageRange {
    from: WallUs,
    to: WallUs,
    state: String,
    cause: Option<String>,
}

/// The sums of a day.
pub(super) fn coverage_pairs(coverage: &Coverage) -> Table {
    let mut table = Table::pairs();
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    table.pair("from", when::shown(coverage.from));
    table.pair("to", when::shown(coverage.to));
    table.pair("recorded", seconds(coverage.recorded_s));
    table.pair("missing", seconds(coverage.missing_s));
    for (cause, missing) in &coverage.missing_by_cause_s {
        table.pair(&format!("  {cause}"), seconds(*missing));
    }
    table.pair("not wanted", seconds(coverage.not_wanted_s));
    if coverage.unknown_s > 0.0 {
        table.pair("unknown", seconds(coverage.unknown_s));
    }
    // Rounded down: what is not all is not 100 %.
    let floor = |percent: f64| format!("{:.2} % of the wanted time", (percent * 100.0).floor() / 100.0);
    table.pair("coverage", coverage.percent.map_or("nothing was wanted".to_owned(), floor));
    table
}

/// What became of each part of a day.
pub(super) fn range_table(ranges: &[CoverageRange]) -> Table {
    let mut table = Table::new(&["FROM", "TO", ">SECONDS", "STATE", "CAUSE"]);
    for CoverageRange { from, to, state, cause } in ranges {
        let tenths = (to.0 - from.0) / 100_000;
        table.row([
            when::shown(*from).into(),
            when::shown(*to).into(),
            format!("{}.{}", tenths / 10, tenths % 10).into(),
            Cell::word(&state.replace('_', " ")),
            cause.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: i64,
    at: WallUs,
    camera_id: Option<String>,
    kind: String,
    severity: String,
    detail: String,
}

/// Events, a line for each, the newest last as in every log.
/// Without a head the columns keep a width of their own, so that later tables go on below earlier ones.
pub(super) fn event_table(events: &[Event], head: bool) -> Table {
    let columns = ["AT", "SEVERITY", "KIND", "CAMERA", "DETAIL"];
    let mut table = if head { Table::new(&columns) } else { Table::stream(&columns, &[26, 8, 17, 12, 0]) };
    for event in events {
        table.row([
            when::shown(event.at).into(),
            Cell::word(&event.severity),
            Cell::from(&event.kind),
            event.camera_id.as_deref().unwrap_or("-").into(),
            Cell::from(&event.detail),
        ]);
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A camera as `docs/http-api.md` shows one, and a field of a later version.
    pub(in crate::cli) fn camera(id: &str) -> Value {
        let status = json!({
            "state": "offline", "reason": "refused", "detail": "nothing listens; is it on?\u{1b}[2J",
            "since": "2026-11-20T10:00:00.000000Z", "last_frame_at": null, "next_attempt_at": null,
            "reconnects": 0, "last_error": "rtsp://u:p@192.0.2.7/x", "codec": "h264", "width": 1280,
            "height": 720, "fps": 25.0, "bit_rate_bps": 2_000_000, "keyframe_interval_s": 2.0, "frames": 1234,
            "bytes": 987_654, "segments": 3, "dropped_frames": 0, "damaged_units": 12, "resyncs": 0, "lost_packets": 1, "picture": 17,
            "source": "rtspsrc", "source_fallback": "rtsp://u:p@192.0.2.7/x wants a log-in that is not known"
        });
        json!({
            "id": id, "name": "Front door", "vendor": "generic", "address": "192.0.2.7", "rtsp_port": 554,
            "channel": 1, "username": "admin", "has_password": true, "main_url": "rtsp://192.0.2.7/stream1",
            "sub_url": null, "record_profile": "main", "transport": "tcp", "source": null, "connect_seconds": 15, "record_enabled": true,
            "tls_fingerprint": null, "allow_basic": false, "segment_seconds": 60, "record_mode": "scheduled_event", "schedule": [
                {"weekdays": [0, 1, 2, 3, 4], "start": "08:00", "end": "18:10", "enabled": true}
            ], "time_zone": "Europe/Berlin", "pre_roll_seconds": 5, "post_roll_seconds": 20,
            "event_idle_session": true, "record_audio": false, "retention_hours": null, "quota_bytes": null,
            "mirror_enabled": true, "mirror_mode": "recorded",
            "refill_enabled": false, "refill_method": "auto", "refill_url": null, "refill_time_format": "basic",
            "onvif_port": 80, "created_at": "2026-11-20T10:00:00.000000Z",
            "field_of_tomorrow": true, "status": status,
        })
    }

    #[test]
    fn a_camera_is_shown_without_secrets_and_without_orders_to_the_terminal() {
        let camera: Camera = read(&camera("front")).unwrap();
        let now = WallUs::parse("2026-11-20T10:05:00Z").unwrap();
        let list = camera_table(std::slice::from_ref(&camera), now).render(false);
        assert!(list.contains("front") && list.contains("5 min") && list.contains("1280x720"), "{list}");
        let shown = camera_pairs(&camera, now).render(false);
        assert!(shown.contains("offline: refused") && shown.contains("rtsp://***@192.0.2.7/x"), "{shown}");
        assert!(shown.contains("from the vendor's template") && !shown.contains('\u{1b}'), "{shown}");
        let received = "rtspsrc (rtsp://***@192.0.2.7/x wants a log-in that is not known)";
        assert!(shown.contains(received) && shown.contains("12 damaged frames, 1 lost packet\n"), "{shown}");
        assert!(shown.contains("the configuration's"), "{shown}");
        assert!(shown.contains("mon-fri 08:00-18:10") && shown.contains("5 s before, 20 s after"), "{shown}");
    }

    #[test]
    fn where_a_segment_is_is_shown_where_there_is_a_mirror() {
        let segment = |primary: &str, mirror: &str| {
            let segment = json!({"id": 1, "state": "closed", "start": "2026-11-20T10:00:00Z", "duration_s": 2.0, "frames": 50,
                "bytes": 10, "copies": {"primary": primary, "mirror": mirror}, "file": "front/20261120_100000.mp4"});
            read::<Segment>(&segment).unwrap()
        };
        let of =
            |primary, mirror, mirrored| segment_table(&[segment(primary, mirror)], mirrored).render(false);
        assert!(!of("whole", "absent", false).contains("absent"));
        for (primary, mirror, words) in [
            ("whole", "whole", "both"),
            ("whole", "open", "both"),
            ("whole", "absent", "primary (mirror: absent)"),
            ("suspect", "whole", "mirror (primary: suspect)"),
            ("pruned", "suspect", "primary: pruned, mirror: suspect"),
        ] {
            let shown = of(primary, mirror, true);
            assert!(shown.contains("COPIES") && shown.contains(words), "{shown}");
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_no_panic() {
        assert!(read::<Cameras>(&json!({"cameras": [{}]})).is_err());
        assert!(read::<Camera>(&json!([])).is_err());
    }
}
