//! What a probe found, as far as the command line shows it.

use serde::Deserialize;

use super::{dash, fps, received_by};
use crate::cli::table::{Cell, Table, bit_rate};

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct ProbeReport {
    pub(in crate::cli) ok: bool,
    reason: Option<String>,
    detail: Option<String>,
    url: String,
    codec: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    fps_declared: Option<f64>,
    fps_measured: Option<f64>,
    keyframe_interval_s: Option<f64>,
    b_frames: Option<bool>,
    audio_codec: Option<String>,
    bit_rate_bps: Option<u64>,
    time_to_first_frame_ms: Option<u64>,
    tls_fingerprint: Option<String>,
    source: Option<String>,
    source_fallback: Option<String>,
    advice: Vec<String>,
    refill: Option<RefillWay>,
}

/// How a camera gives its own recordings away.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct RefillWay {
    method: Option<String>,
    detail: String,
}

impl RefillWay {
    pub(super) fn told(&self) -> String {
        format!("{}: {}", self.method.as_deref().unwrap_or("no way found"), self.detail)
    }
}

/// What a probe found, or why it found nothing.
pub(in crate::cli) fn probe_pairs(report: &ProbeReport) -> Table {
    let mut table = Table::pairs();
    table.pair("url", &report.url);
    if let Some(source) = received_by(report.source.as_deref(), report.source_fallback.as_deref()) {
        table.pair("received by", source);
    }
    if !report.ok {
        table.pair("result", Cell::word(report.reason.as_deref().unwrap_or("failed")).toned_as("problem"));
        table.pair("detail", dash(report.detail.clone()));
        table.pair("own storage", dash(report.refill.as_ref().map(RefillWay::told)));
        return table;
    }
    table.pair("result", Cell::word("ok"));
    let size = report.width.zip(report.height).map(|(width, height)| format!(" {width}x{height}"));
    table.pair("video", format!("{}{}", dash(report.codec.clone()), size.unwrap_or_default()));
    let declared = fps(report.fps_declared).map(|fps| format!(" (declared: {fps})"));
    table.pair(
        "frames a second",
        format!("{}{}", dash(fps(report.fps_measured)), declared.unwrap_or_default()),
    );
    table.pair("bit rate", dash(report.bit_rate_bps.map(bit_rate)));
    table.pair("keyframes every", dash(report.keyframe_interval_s.map(|seconds| format!("{seconds:.1} s"))));
    table.pair("b-frames", dash(report.b_frames.map(|there| if there { "yes" } else { "no" }.to_owned())));
    table.pair("audio", report.audio_codec.clone().unwrap_or_else(|| "none".to_owned()));
    if let Some(ms) = report.time_to_first_frame_ms {
        table.pair("first frame after", format!("{ms} ms"));
    }
    if let Some(fingerprint) = &report.tls_fingerprint {
        table.pair("certificate", fingerprint);
    }
    table.pair("own storage", dash(report.refill.as_ref().map(RefillWay::told)));
    for advice in &report.advice {
        table.pair("advice", advice);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::read, *};

    #[test]
    fn a_probe_tells_what_came_or_why_nothing_did() {
        let nothing =
            json!({"ok": false, "reason": "refused", "detail": "d", "url": "rtsp://h/x", "advice": []});
        let shown = probe_pairs(&read(&nothing).unwrap()).render(false);
        assert!(shown.contains("refused") && !shown.contains("video"), "{shown}");
        let found = json!({"ok": true, "url": "rtsp://h/x", "codec": "h264", "width": 1280, "height": 720,
            "fps_declared": 25.0, "fps_measured": 24.9, "b_frames": false, "time_to_first_frame_ms": 340, "tls_fingerprint": null,
            "bit_rate_bps": 2_000_000, "advice": ["set a shorter GOP"]});
        let shown = probe_pairs(&read(&found).unwrap()).render(false);
        assert!(shown.contains("24.9 (declared: 25.0)") && shown.contains("set a shorter GOP"), "{shown}");
        assert!(!shown.contains("received by"), "a service of an older version: {shown}");
        let found = json!({"ok": true, "url": "rtsp://h/x", "advice": [], "source": "rtspsrc", "source_fallback": "its log-in is not known"});
        let shown = probe_pairs(&read(&found).unwrap()).render(false);
        assert!(shown.contains("rtspsrc (its log-in is not known)"), "{shown}");
    }
}
