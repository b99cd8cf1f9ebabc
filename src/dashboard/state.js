// How a camera's state and an event's severity look and read: a word, a colour and a shape each, so that none of the
// three is needed to tell them apart. Used by the wall, the camera page, the header and the event log.

import { h, svg } from "./dom.js";
import { bytes, clock, clockShort, count, dateKey, dateShort, duration, full, sentence } from "./format.js";

// tone: a CSS class (`tone-good` …); shape: key of SHAPES.
const STATES = {
  recording: { word: "Recording", tone: "good", shape: "disc" },
  connecting: { word: "Connecting", tone: "busy", shape: "ring" },
  stalled: { word: "Stalled", tone: "warn", shape: "triangle" },
  offline: { word: "Offline", tone: "bad", shape: "diamond" },
  error: { word: "Needs attention", tone: "bad", shape: "octagon" },
  disabled: { word: "Switched off", tone: "off", shape: "bar" },
  idle: { word: "Waiting", tone: "off", shape: "ring" },
};

const SAMPLERS = {
  connecting: { word: "Connecting", tone: "busy", shape: "ring" },
  sampling: { word: "Sampling", tone: "good", shape: "disc" },
  waiting: { word: "Waiting for the camera", tone: "warn", shape: "ring" },
  offline: { word: "Stream away", tone: "bad", shape: "diamond" },
  error: { word: "No pictures", tone: "bad", shape: "octagon" },
  stopped: { word: "Stopped", tone: "off", shape: "bar" },
  budget_exhausted: { word: "No budget left", tone: "warn", shape: "triangle" },
};

const SEVERITIES = {
  info: { word: "Info", tone: "busy", shape: "disc" },
  warning: { word: "Warning", tone: "warn", shape: "triangle" },
  error: { word: "Error", tone: "bad", shape: "octagon" },
};

const REASONS = {
  refused: "connection refused",
  unauthorised: "wrong user name or password",
  forbidden: "no right to this stream",
  basic_refused: "password only in clear",
  certificate_changed: "certificate changed",
  no_such_stream: "no such stream",
  unreachable: "camera not reachable",
  silent: "camera sends nothing",
  ended: "camera ended the stream",
  unsupported_codec: "codec not supported",
  redirected: "camera redirects elsewhere",
  transport_refused: "camera refuses TCP or UDP",
  protocol: "camera breaks the protocol",
  internal: "internal fault",
  disk: "the disk cannot be written",
  no_keyframe: "camera sends no keyframe",
  bad_config: "the settings do not work",
  outside_schedule: "outside its schedule",
  armed: "armed, waits for a trigger",
  waits_for_trigger: "waits for a trigger",
};

const SHAPES = {
  disc: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z",
  ring: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7z",
  triangle: "M8 1.5l7 13H1z",
  diamond: "M8 .8l7.2 7.2L8 15.2.8 8z",
  octagon: "M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1zM7 4v5h2V4zM7 10.2v2h2v-2z",
  bar: "M2 6.5h12v3H2z",
};

function shape(name) {
  return svg("svg", { class: "shape", viewBox: "0 0 16 16", "aria-hidden": "true", data: { shape: name } },
    svg("path", { d: SHAPES[name], "fill-rule": "evenodd" }));
}

const stateOf = (state) => STATES[state] ?? { word: state, tone: "off", shape: "ring" };

export const stateWord = (state) => stateOf(state).word;
export const stateTone = (state) => stateOf(state).tone;
export const isReason = (text) => Object.hasOwn(REASONS, text);
export const reasonWords = (reason) => (reason === null ? null : REASONS[reason] ?? reason.replaceAll("_", " "));

const badge = ({ word, tone, shape: name }, testid, state) => h("span", { class: `badge tone-${tone}`, data: { testid, state } }, shape(name), word);

/** The badge of a camera's state; replace it when the state changes. */
export const stateBadge = (state) => badge(stateOf(state), "state", state);

/** The same for a sampler. */
export const samplerBadge = (state) => badge(SAMPLERS[state] ?? { word: state, tone: "off", shape: "ring" }, "sampler-state", state);

/** What is wrong with a sampler and what to do, in a sentence or two; null while it does as asked. */
export function samplerTrouble({ state, profile, detail, requested_fps: requested, granted_fps: granted }) {
  if (state === "error") return `The ${profile} stream cannot be decoded${detail ? `: ${detail}` : "."}`;
  if (state === "budget_exhausted") return "Others use up what all samplers may take (ai_max_total_fps). Lower a rate, give this task a greater priority, or raise the limit.";
  if (state === "offline") return `The ${profile} stream does not come. If the camera is recorded meanwhile, check the address of this stream in its settings.`;
  if (granted < requested) return "It gets less than was asked for: that is all the limit (ai_max_total_fps) leaves.";
  return null;
}

/** Whether a sampler is in trouble of its own, and not only because its camera is. */
export function isSamplerTrouble({ state }, camera) {
  return state === "error" || state === "budget_exhausted" || (state === "offline" && camera.status.state === "recording");
}

export function severityMark(severity) {
  const { word, tone, shape: name } = SEVERITIES[severity] ?? SEVERITIES.info;
  return h("span", { class: `severity tone-${tone}`, title: word, data: { severity } }, shape(name),
    h("span", { class: "sr-only", text: `${word}:` }));
}

/** A coloured shape for a tone of the header. */
export function toneMark(tone) {
  return h("span", { class: `mark tone-${tone}` }, shape({ good: "disc", warn: "triangle", bad: "octagon", busy: "ring" }[tone] ?? "bar"));
}

const MIRROR = {
  ok: { word: "ok", tone: "plain" },
  behind: { word: "behind", tone: "warn" },
  degraded: { word: "degraded", tone: "bad" },
  resyncing: { word: "resyncing", tone: "busy" },
};

/** How the mirror is: `short` for a line of vitals, `long` with everything that the service says. */
export function mirrorWords({ state, queued_bytes: queued, due_segments: segments, due_bytes: due, detail }) {
  const { word, tone } = MIRROR[state] ?? { word: state, tone: "plain" };
  const left = { behind: queued && `${bytes(queued)} wait`, resyncing: due && `${bytes(due)} left` }[state];
  // While it is resyncing, that is what the service's own detail is about, too.
  const lacks = segments ? `${count(segments)} ${segments === 1 ? "segment" : "segments"} (${bytes(due)}) still to be copied to it.` : "";
  return { tone, short: `Mirror ${word}${left ? `, ${left}` : ""}`, long: [state === "resyncing" ? "" : detail && sentence(detail), lacks].filter(Boolean).join(" ") };
}

const HAS = ["whole", "open"];
const has = (copy) => HAS.includes(copy);

/** Where a segment is, in a word or two; null where there is no mirror, and so nothing to tell. */
export function copyWords({ copies }, mirror) {
  if (!mirror || !copies) return null;
  if (has(copies.primary)) return has(copies.mirror) ? "both" : "disk";
  return has(copies.mirror) ? "mirror" : "damaged";
}

/** The same at length: what each volume has. */
export function copyTitle({ copies: { primary, mirror } }) {
  const words = { whole: "has it", open: "is taking it", suspect: "has it, perhaps damaged", absent: "does not have it yet", pruned: "had to let it go", deleting: "is letting it go", unwanted: "was not meant to have it" };
  return `The disk ${words[primary] ?? primary}. The mirror ${words[mirror] ?? mirror}.`;
}

/** "for 2 min 5 s" since an instant, with the absolute time in the title. */
export function sinceText(el, since, now) {
  const at = Date.parse(since);
  const text = `for ${duration(now - at)}`;
  if (el.textContent !== text) el.textContent = text;
  if (el.dataset.since !== since) { el.dataset.since = since; el.title = `since ${full(at)}`; }
}

/** "14:05:09", with the date when that is not today's. */
export function timeWords(ms, now, { short = false } = {}) {
  const time = short ? clockShort(ms) : clock(ms);
  return dateKey(ms) === dateKey(now) ? time : `${dateShort(ms)}, ${time}`;
}
