// Time without footage, as the strip shows it: a colour, a pattern and a word for each cause, so that the colour alone
// is never needed. Used by strip.js.

import { h } from "./dom.js";
import { clock, duration, seconds } from "./format.js";

// Looks are CSS classes (strip.css): causes that call for the same hands share one.
const CAUSES = {
  camera_offline: { word: "camera offline", look: "offline" },
  stalled: { word: "camera sent nothing", look: "stalled" },
  auth: { word: "password refused", look: "auth" },
  no_keyframe: { word: "no keyframe came", look: "stalled" },
  disk_full: { word: "disk full", look: "disk" },
  disk_error: { word: "disk failed", look: "disk" },
  service_down: { word: "service not running", look: "service" },
  clock: { word: "clock was set", look: "operator" },
  operator: { word: "settings changed", look: "operator" },
};
const OTHERS = {
  not_wanted: { word: "nothing wanted", look: "unwanted" },
  unknown: { word: "no footage kept", look: "unknown" },
};

// How it stands with fetching what is missing from the camera's own storage.
const REFILL = { pending: "queued to be fetched from the camera", filling: "being fetched from the camera", failed: "the camera does not have it" };

const kindOf = ({ state, cause }) => CAUSES[cause] ?? OTHERS[state] ?? { word: cause ?? state, look: "offline" };

/** A cause in words. */
export const causeWords = (cause) => kindOf({ cause }).word;

/** The class of a part's look. */
export const lookOf = (part) => `look-${kindOf(part).look}`;

/** "missing: camera offline, 3 min 20 s (14:05:09 to 14:08:29)". */
export function words(part) {
  const { word } = kindOf(part);
  const length = part.to - part.from, how = length < 10_000 ? seconds(length / 1000) : duration(length);
  const refill = REFILL[part.refill] ? `; ${REFILL[part.refill]}` : "";
  return `${part.state === "missing" ? "missing: " : ""}${word}, ${how} (${clock(part.from)} to ${part.open ? "now" : clock(part.to)})${refill}`;
}

/** What the strip shows besides recordings: one entry for each word, with the time it lasted in all. */
export function legend(parts, filled = []) {
  const sums = new Map();
  for (const part of parts) {
    const { word } = kindOf(part), sum = sums.get(word);
    sums.set(word, { part, ms: (sum?.ms ?? 0) + part.to - part.from });
  }
  const entry = (look, word, ms) => h("li", {}, h("span", { class: `swatch ${look}`, "aria-hidden": "true" }), `${word}${ms === null ? "" : ` ${duration(ms)}`}`);
  const length = (list) => list.reduce((ms, { from, to }) => ms + to - from, 0);
  const refill = [["filled", filled], ...["filling", "pending"].map((state) => [state, parts.filter((part) => part.refill === state)])]
    .filter(([, list]) => list.length)
    .map(([state, list]) => entry(`refill-${state}`, { filled: "fetched from the camera", filling: "being fetched", pending: "queued to be fetched" }[state], length(list)));
  return [entry("look-recorded", "recorded", null), ...refill, ...[...sums].map(([word, { part, ms }]) => entry(lookOf(part), word, ms))];
}
