// The event log, newest first: the server's pages (`before`) and what arrives live, with filters. Used on the wall, on
// the camera page (one camera) and as a page of its own.

import * as api from "./api.js";
import { arrange, h, icon, setText } from "./dom.js";
import { ago, dateKey, dateShort, clock, full, sentence } from "./format.js";
import { causeWords } from "./gaps.js";
import { isReason, severityMark } from "./state.js";
import { store } from "./store.js";

const KINDS = {
  camera_offline: "Camera offline", camera_online: "Camera online", recorder_error: "Recorder error",
  recording_gap: "Gap in the recording", disk_pressure: "Disk is filling up", clock_step: "Clock was set",
  refill_done: "Fetched from the camera", refill_failed: "Not fetched from the camera",
  retention_shortage: "Not enough space to keep what was asked",
  mirror_degraded: "The mirror takes nothing", mirror_behind: "The mirror is behind", mirror_resyncing: "The mirror is being brought up to date",
  mirror_restored: "The mirror has all again", segment_damaged: "Damaged copy found", segment_healed: "Damaged copy mended",
  zone_enter: "Came in", zone_exit: "Went out", zone_dwell: "Stays", line_cross: "Crossed a line", sampler_offline: "No pictures for programs",
};
export const kindWords = (kind) => KINDS[kind] ?? kind[0].toUpperCase() + kind.slice(1).replaceAll("_", " ");

export class EventLog {
  #events = new Map(); // by id
  #filter = { camera: "", severity: "" };
  #more = true;
  #load = 0;

  /** `camera`: only this one, without a camera filter. `limit`: events per page. `play(camera, ms)` plays what an event tells of. */
  constructor({ scope, camera = "", limit = 100, play }) {
    this.fixed = camera;
    this.play = play;
    this.limit = limit;
    this.#filter.camera = camera;
    this.list = h("ol", { class: "events", data: { testid: "events" } });
    this.note = h("p", { class: "muted events-note", text: "Loading events …" });
    this.older = h("button", { class: "button wide", type: "button", text: "Older", hidden: true, data: { testid: "older" },
      on: { click: () => this.#page() } });
    this.cameraSelect = h("select", { class: "input", "aria-label": "Camera", data: { testid: "event-camera" }, on: { change: () => this.#choose() } });
    this.severitySelect = h("select", { class: "input", "aria-label": "Severity", data: { testid: "event-severity" }, on: { change: () => this.#choose() } },
      h("option", { value: "", text: "All severities" }), h("option", { value: "warning", text: "Warnings and errors" }), h("option", { value: "error", text: "Errors" }));
    this.el = h("div", { class: "event-log", data: { testid: "event-log", state: "loading" } },
      h("div", { class: "event-filters" }, camera ? null : this.cameraSelect, this.severitySelect),
      this.list, this.note, this.older);
    store.on("event", (event) => this.#arrive(event), scope);
    store.on("cameras", () => this.#options(), scope);
    store.on("camera", () => this.#options(), scope);
    store.on("again", () => this.#fresh(), scope);
    store.on("tick", () => this.#ages(), scope);
    scope.add(() => { this.#load += 1; });
    this.#options();
    this.#fresh();
  }

  #options() {
    const wanted = [["", "All cameras"], ...[...store.cameras.values()].map(({ id, name }) => [id, name])];
    const same = wanted.length === this.cameraSelect.length
      && wanted.every(([id, name], i) => this.cameraSelect[i].value === id && this.cameraSelect[i].text === name);
    if (same) return;
    this.cameraSelect.replaceChildren(...wanted.map(([value, text]) => h("option", { value, text })));
    this.cameraSelect.value = this.#filter.camera;
    for (const el of this.list.querySelectorAll("[data-name-of]")) setText(el, nameOf(el.dataset.nameOf));
  }

  #choose() {
    this.#filter = { camera: this.fixed || this.cameraSelect.value, severity: this.severitySelect.value };
    this.#events.clear();
    this.#fresh();
  }

  #passes({ camera_id: camera, severity }) {
    const wanted = { "": true, warning: severity !== "info", error: severity === "error" }[this.#filter.severity];
    return wanted && (this.#filter.camera === "" || camera === this.#filter.camera);
  }

  /** The newest page; what was loaded before stays below it. */
  async #fresh() { await this.#fetch({}); }

  async #page() {
    const oldest = Math.min(...this.#events.keys());
    await this.#fetch({ before: Number.isFinite(oldest) ? oldest : undefined });
  }

  async #fetch({ before }) {
    const load = ++this.#load;
    this.older.disabled = true;
    try {
      const page = await api.events({ ...this.#filter, before, limit: this.limit });
      if (load !== this.#load) return;
      for (const event of page) this.#events.set(event.id, event);
      this.#more = page.length === this.limit;
      this.#show();
      this.el.dataset.state = "ready";
    } catch (error) {
      if (load !== this.#load) return;
      this.note.hidden = false;
      setText(this.note, `Events could not be loaded. ${error.message} ${error.hint ?? ""}`);
      this.older.hidden = false;
      setText(this.older, "Try again");
    } finally {
      this.older.disabled = false;
    }
  }

  #arrive(event) {
    if (!this.#passes(event)) return;
    this.#events.set(event.id, event);
    this.#show();
    this.list.querySelector(`[data-event="${event.id}"]`)?.classList.add("arrived");
  }

  #show() {
    const events = [...this.#events.values()].sort((a, b) => b.id - a.id);
    const existing = new Map([...this.list.children].map((el) => [el.dataset.event, el]));
    arrange(this.list, events.map((event) => existing.get(String(event.id)) ?? this.#row(event)));
    this.note.hidden = events.length > 0;
    setText(this.note, this.#filter.severity || (this.#filter.camera && !this.fixed) ? "No events with this filter." : "No events yet. Cameras that go and come back are listed here.");
    this.older.hidden = !this.#more;
    setText(this.older, "Older");
    this.#ages();
  }

  #row(event) {
    const at = Date.parse(event.at);
    return h("li", { class: "event", data: { testid: "event", event: event.id, kind: event.kind, camera: event.camera_id ?? "", severity: event.severity } },
      severityMark(event.severity),
      h("div", { class: "event-words" },
        h("div", { class: "event-head" },
          h("span", {}, h("strong", { text: kindWords(event.kind) }),
            event.camera_id && !this.fixed ? h("a", { href: `#/cameras/${encodeURIComponent(event.camera_id)}`, text: nameOf(event.camera_id), data: { nameOf: event.camera_id } }) : null),
          h("time", { class: "muted", datetime: event.at, title: full(at), data: { at: String(at) } })),
        h("div", { class: "event-foot" },
          event.detail ? h("p", { class: "event-detail", title: event.detail, text: detailWords(event) }) : null,
          event.sight ? h("button", { class: "button small", type: "button", "aria-label": `Play: ${kindWords(event.kind)}, ${clock(at)}`, data: { testid: "event-play" },
            on: { click: () => this.play(event.camera_id, playFrom(event)) } }, icon("play"), "Play") : null)));
  }

  #ages() {
    const now = store.now();
    for (const el of this.list.querySelectorAll("time")) {
      const at = Number(el.dataset.at);
      setText(el, now - at < 3_600_000 ? ago(now - at) : dateKey(at) === dateKey(now) ? clock(at) : `${dateShort(at)} ${clock(at)}`);
    }
  }
}

/**
 * The detail as a sentence, with its times in the browser's zone; the code in front of it, of a reason or of a gap's cause, is for
 * those who search, and stays in the title.
 */
function detailWords({ kind, detail, at }) {
  const time = (ms) => `${dateKey(ms) === dateKey(Date.parse(at)) ? "" : `${dateKey(ms)} `}${clock(ms)}`;
  const [, code, rest] = /^([a-z_]+): (.+)$/s.exec(detail) ?? [];
  const said = code && kind === "recording_gap" ? `${causeWords(code)}: ${rest}` : isReason(code) ? rest : detail;
  return sentence(said.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, (when) => time(Date.parse(when))));
}

/**
 * Where a zone event is played from: a little before it, if the same segment has that. Which one that is, is not known while
 * it begins, nor when another stream than the one that was looked at is recorded; the player finds it by the time.
 */
export function playFrom({ at, sight }) {
  return Date.parse(at) - Math.min(2000, Math.floor((sight.offset_us ?? 2_000_000) / 1000));
}

const nameOf = (id) => store.cameras.get(id)?.name ?? id;

/** The log as a page. */
export function eventsView({ scope, actions }) {
  const log = new EventLog({ scope, play: actions.play });
  return {
    el: h("section", { class: "page narrow", "aria-labelledby": "events-title" },
      h("h1", { id: "events-title", text: "Events" }), h("div", { class: "panel" }, log.el)),
    title: "Events",
  };
}
