// A ProbeReport in words, with its picture and its advice. Used by form.js.

import { h } from "./dom.js";
import { bitRate, codec, fps, receivedBy, seconds, sentence, size } from "./format.js";
import { showFacts } from "./cameras.js";
import { reasonWords, toneMark } from "./state.js";

/** `note`: what the reader must know about how the test was made. */
export function probeReport(report, note = null) {
  const remark = note ? h("p", { class: "hint", text: note }) : null;
  if (!report.ok) {
    const reason = reasonWords(report.reason) ?? "the test failed";
    return h("div", { class: "probe-report bad", data: { ok: "false" } },
      h("p", { class: "probe-verdict" }, toneMark("bad"), h("strong", { text: sentence(reason) })),
      report.detail ? h("p", { text: sentence(report.detail) }) : null, remark);
  }
  const dl = h("dl", { class: "facts" });
  const offset = report.clock_offset_ms;
  showFacts(dl, [
    ["Picture", `${size(report.width, report.height)} ${codec(report.codec)}`],
    ["Rate", report.fps_measured === null ? fps(report.fps_declared) : `${fps(report.fps_measured)} measured, ${report.fps_declared === null ? "none" : fps(report.fps_declared)} declared`],
    ["Bit rate", bitRate(report.bit_rate_bps)],
    ["Keyframe", report.keyframe_interval_s === null ? "only one seen" : `every ${seconds(report.keyframe_interval_s)}`],
    ["B-frames", report.b_frames === null ? "unknown" : report.b_frames ? "yes" : "no"],
    ["Audio", report.audio_codec ? report.audio_codec.toUpperCase() : "none"],
    ["First picture after", report.time_to_first_frame_ms === null ? "was there already" : `${report.time_to_first_frame_ms} ms`],
    ["Received by", receivedBy(report)],
    ["Own recordings", report.refill?.method ? `can be fetched ${report.refill.method === "onvif" ? "by ONVIF" : "by their address"}` : "no way to fetch them was found"],
    ["Camera's clock", offset === null ? "not told" : Math.abs(offset) < 500 ? "right" : `${(Math.abs(offset) / 1000).toFixed(1)} s ${offset < 0 ? "behind" : "ahead"}`],
  ]);
  return h("div", { class: "probe-report good", data: { ok: "true" } },
    h("p", { class: "probe-verdict" }, toneMark("good"), h("strong", { text: "The camera answers and sends pictures." })),
    h("div", { class: "probe-parts" },
      report.thumbnail ? h("img", { src: report.thumbnail, alt: "Picture from the camera", data: { testid: "probe-thumbnail" } }) : null, dl),
    report.advice?.length ? h("div", { class: "advice" }, h("strong", { text: "Advice" }), h("ul", {}, report.advice.map((text) => h("li", { text })))) : null,
    report.tls_fingerprint ? h("p", { class: "hint certificate", text: `Certificate (SHA-256): ${report.tls_fingerprint}` }) : null,
    remark);
}
