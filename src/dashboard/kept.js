// What is kept of a camera: its size, its limits, how far back it will reach, and its holds, with a form for a new one.
// Used by camera.js.

import * as api from "./api.js";
import { showFacts } from "./cameras.js";
import { arrange, h, icon, setText, toast } from "./dom.js";
import { bytes, count, full, sentence } from "./format.js";
import { mirrorWords, timeWords } from "./state.js";
import { store } from "./store.js";

const EVERY_MS = 60_000;
const two = (n) => String(n).padStart(2, "0");

/** What `datetime-local` takes: local time to the minute. */
function local(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}`;
}

/** "3.4 days", "45 days", "2.5 hours". */
function days(value) {
  if (value === null) return "–";
  if (value < 2) return `${(value * 24).toFixed(1)} hours`;
  return value < 10 ? `${value.toFixed(1)} days` : `${count(Math.round(value))} days`;
}

/** The limits of a camera in words. */
export function limits({ retention_hours: hours, quota_bytes: quota }) {
  const parts = [hours && (hours % 24 ? `${count(hours)} hours` : `${count(hours / 24)} days`), quota && bytes(quota)].filter(Boolean);
  return parts.length ? `at most ${parts.join(", and ")}` : "as long as there is room";
}

/** What the mirror has of a camera; it has limits of its own. */
function mirrorRows(mirror, { cameras, stopped }, camera) {
  const stored = cameras.find((one) => one.camera_id === camera?.id);
  const nothing = camera?.mirror_enabled === false ? "nothing: switched off in the settings" : "nothing yet";
  const oldest = stored?.oldest ? Date.parse(stored.oldest) : null;
  const { long, short } = mirrorWords(mirror);
  const { state: disk, detail } = store.system.volume;
  return [
    ["On the mirror", stored?.segments ? `${bytes(stored.bytes)} in ${count(stored.segments)} segments` : nothing, mirror.path],
    ...(oldest === null ? [] : [["Oldest there", timeWords(oldest, store.now()), full(oldest)], ["Will reach there", days(stored.forecast_days), "how far back on the mirror, when all goes on as in the last day"]]),
    ...(disk === "ok" ? [] : [["Disk", `Disk ${disk}. ${detail ? sentence(detail) : ""}`]]),
    ...(mirror.state === "ok" ? [] : [["Mirror", `${short}. ${long}`]]),
    ...(stopped ? [["Mirror stands still", stopped]] : []),
  ];
}

export class Kept {
  #loaded = 0;

  constructor(camera, scope) {
    this.camera = camera;
    this.facts = h("dl", { class: "rows" });
    this.list = h("ul", { class: "holds", data: { testid: "holds" } });
    this.trouble = h("p", { class: "field-error", role: "status" });
    const field = (label, props) => {
      const input = h("input", { class: "input", required: true, ...props });
      return [input, h("label", { class: "field" }, h("span", { class: "label", text: label }), input)];
    };
    const [from, fromRow] = field("From", { type: "datetime-local", name: "from", data: { testid: "hold-from" } });
    const [to, toRow] = field("To", { type: "datetime-local", name: "to", data: { testid: "hold-to" } });
    const [reason, reasonRow] = field("What for", { type: "text", name: "reason", maxlength: 256, placeholder: "Theft at the gate", data: { testid: "hold-reason" } });
    Object.assign(this, { from, to, reason });
    this.add = h("button", { class: "button", type: "submit", text: "Protect", data: { testid: "hold-add" } });
    const form = h("form", { class: "hold-form", on: { submit: (event) => { event.preventDefault(); this.#hold(); } } }, fromRow, toRow, reasonRow, this.add, this.trouble);
    const fold = h("details", { on: { toggle: () => this.#suggest() } }, h("summary", { text: "Protect footage from being deleted" }), form);
    this.el = h("div", { class: "panel padded", data: { testid: "kept" } }, h("h2", { text: "Kept footage" }), this.facts, this.list, fold);
    store.on("tick", () => { if (Date.now() - this.#loaded >= EVERY_MS) this.#load(); }, scope);
    store.on("again", () => this.#load(), scope);
    const volumes = (system) => `${system?.volume.state} ${system?.mirror?.state}`;
    let seen = volumes(store.system);
    store.on("system", (system) => {
      if (volumes(system) === seen) return;
      seen = volumes(system);
      this.#load();
    }, scope);
    this.#load();
  }

  #suggest() {
    if (this.from.value !== "") return;
    this.from.value = local(store.now() - 3_600_000);
    this.to.value = local(store.now() + 60_000);
  }

  async #load() {
    this.#loaded = Date.now();
    try {
      const mirror = store.system?.mirror;
      const [retention, holds, second] = await Promise.all([api.retention(), api.holds(this.camera), mirror ? api.retention("mirror") : null]);
      const stored = retention.cameras.find((one) => one.camera_id === this.camera);
      const oldest = stored?.oldest ? Date.parse(stored.oldest) : null;
      showFacts(this.facts, [
        ["Stored", stored ? `${bytes(stored.bytes)} in ${count(stored.segments)} segments` : "nothing yet"],
        ["Kept", limits(store.cameras.get(this.camera) ?? {})],
        ["Oldest", oldest === null ? "–" : timeWords(oldest, store.now()), oldest === null ? undefined : full(oldest)],
        ["Will reach", stored ? days(stored.forecast_days) : "–", "how far back, when all goes on as in the last day"],
        ...(stored?.held_bytes ? [["Protected", bytes(stored.held_bytes)]] : []),
        ...(second ? mirrorRows(mirror, second, store.cameras.get(this.camera)) : []),
        ...(retention.stopped ? [["Stands still", retention.stopped]] : []),
      ]);
      arrange(this.list, holds.map((hold) => this.#row(hold)));
      setText(this.trouble, "");
    } catch (error) {
      setText(this.trouble, `${error.message} ${error.hint ?? ""}`);
    }
  }

  #row(hold) {
    const [from, to] = [Date.parse(hold.from), Date.parse(hold.to)];
    return h("li", { title: `${full(from)} to ${full(to)}` },
      h("span", {}, h("strong", { text: hold.reason }), h("br"), `${timeWords(from, store.now())} to ${timeWords(to, store.now())}, ${bytes(hold.bytes)}`),
      h("button", { class: "button quiet icon-only", type: "button", "aria-label": `End the protection: ${hold.reason}`, on: { click: () => this.#remove(hold) } }, icon("trash")));
  }

  async #hold() {
    this.add.disabled = true;
    try {
      const time = (input) => Date.parse(input.value);
      const hold = await api.addHold(this.camera, time(this.from), time(this.to), this.reason.value);
      toast(`Protected: ${count(hold.segments)} segments, ${bytes(hold.bytes)}`);
      this.reason.value = "";
      await this.#load();
    } catch (error) {
      setText(this.trouble, `${error.message} ${error.hint ?? ""}`);
    } finally {
      this.add.disabled = false;
    }
  }

  async #remove(hold) {
    if (!confirm(`End the protection “${hold.reason}”? Its footage may then be deleted.`)) return;
    try {
      await api.removeHold(this.camera, hold.id);
    } catch (error) {
      toast(`${error.message} ${error.hint ?? ""}`);
    }
    await this.#load();
  }
}
