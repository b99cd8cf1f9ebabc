// One camera's page: its picture, every field of its state, its day, its newest segments and its events. Made by app.js
// for `#/cameras/<id>`.

import { AiPanel } from "./ai.js";
import * as api from "./api.js";
import { facts, showFacts, Trouble } from "./cameras.js";
import { dayPicker } from "./day.js";
import { arrange, h, icon, setAttr, setText, toast } from "./dom.js";
import { EventLog } from "./events.js";
import { Exporter } from "./export.js";
import { ago, bytes, clock, codec, count, counted, duration, full, receivedBy, size } from "./format.js";
import { hasSchedule, MIRROR_MODES, REFILL_METHODS, MODES, takesTriggers, VENDORS } from "./fields.js";
import { Kept, limits } from "./kept.js";
import { Marks } from "./marks.js";
import { scheduleText } from "./schedule.js";
import { Sight } from "./sight.js";
import { copyTitle, copyWords, sinceText, stateBadge, timeWords } from "./state.js";
import { store } from "./store.js";
import { Strip } from "./strip.js";
import { Watch } from "./watch.js";
import { Zones } from "./zones.js";

const SEGMENTS = 12;

export function cameraView({ scope, id, day, actions }) {
  const camera = store.cameras.get(id);
  if (!camera) {
    const waiting = store.system === null;
    return { title: id, pending: waiting, el: h("section", { class: "page narrow" }, h("div", { class: "empty" }, icon("camera"),
      h("h1", { text: waiting ? "Loading …" : "There is no such camera" }),
      waiting ? null : h("p", { text: `No camera has the id “${id}”. It may have been removed; its footage stays on disk.` }),
      waiting ? null : h("p", {}, h("a", { class: "button primary", href: "#/", text: "To the cameras" })))) };
  }
  const watch = new Watch(id, scope);
  const sight = new Sight({ camera: id, watch, scope });
  const zones = new Zones({ watch, sight, scope });
  const ai = new AiPanel(watch, scope);
  const name = h("h1", { data: { testid: "camera-title" } });
  const since = h("span", { class: "muted" });
  const head = h("span", { class: "card-state" }, since);
  const trouble = new Trouble();
  const triggers = new Triggers(id);
  const now = h("dl", { class: "facts" });
  const more = h("dl", { class: "rows" });
  const settings = h("dl", { class: "rows" });
  const onPlay = (ms) => actions.play(id, ms);
  const marks = new Marks({ camera: id, day, watch, scope, onPlay });
  const strip = new Strip({ camera: id, name: camera.name, day, zoom: true, onPlay, below: marks.el });
  marks.under(strip);
  scope.add(() => strip.end());
  const exporter = new Exporter({ camera: id, day, scope, shown: () => strip.view });
  const log = new EventLog({ scope, camera: id, limit: 30, play: actions.play });
  const table = new Segments(id, scope, actions);
  const kept = new Kept(id, scope);
  const edit = `#/cameras/${encodeURIComponent(id)}/settings`;
  const el = h("section", { class: "page camera-page", data: { testid: "camera-page", camera: id } },
    h("div", { class: "bar" }, h("a", { class: "button quiet icon-only", href: "#/", "aria-label": "Back to all cameras" }, icon("back")), name, head,
      h("span", { class: "bar-space" }),
      triggers.button,
      h("button", { class: "button", type: "button", on: { click: () => actions.play(id, store.now() - 15_000, { live: true }) } }, icon("play"), "Latest"),
      h("a", { class: "button", href: edit, data: { testid: "edit-camera" } }, icon("settings"), "Settings")),
    trouble.el,
    triggers.el,
    h("div", { class: "camera-columns" },
      h("div", { class: "camera-main" },
        sight.el,
        zones.el,
        h("div", { class: "panel padded" }, h("div", { class: "panel-head flush" }, h("h2", { text: "Recordings" }), dayPicker(day, scope)), strip.el, exporter.el),
        h("div", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", { text: "Latest segments" })), table.el)),
      h("div", { class: "camera-side" },
        h("div", { class: "panel padded" }, h("h2", { text: "Now" }), now, more),
        ai.el,
        h("div", { class: "panel padded" }, h("div", { class: "panel-head flush" }, h("h2", { text: "Settings" }), h("a", { href: edit, text: "Change" })), settings),
        kept.el,
        h("div", { class: "panel" }, h("div", { class: "panel-head" }, h("h2", { text: "Events" })), log.el))));

  let badge = null;
  const show = (fresh) => {
    if (fresh.id !== id) return;
    const { status } = fresh;
    setText(name, fresh.name);
    if (badge?.dataset.state !== status.state) {
      badge?.remove();
      badge = stateBadge(status.state);
      head.prepend(badge);
      el.dataset.state = status.state;
    }
    strip.rename(fresh.name);
    sight.update(fresh);
    trouble.update(fresh);
    triggers.update(fresh);
    showFacts(now, facts(status));
    showFacts(settings, settingRows(fresh));
    tick();
  };
  const tick = () => {
    const fresh = store.cameras.get(id);
    if (!fresh) return;
    sinceText(since, fresh.status.since, store.now());
    trouble.tick();
    triggers.tick();
    showFacts(more, statusRows(fresh.status));
  };
  store.on("camera", show, scope);
  store.on("tick", tick, scope);
  show(camera);
  return { el, title: camera.name };
}

function instant(text) {
  if (!text) return ["–"];
  const ms = Date.parse(text), age = store.now() - ms;
  return [age >= 0 && age < 90_000 ? ago(age) : timeWords(ms, store.now()), full(ms)];
}

function statusRows(status) {
  return [
    ["Last frame", ...instant(status.last_frame_at)],
    ["Received by", receivedBy(status)],
    ...(status.pre_roll_s == null ? [] : [["In memory", `${status.pre_roll_s.toFixed(1)} s`, "a trigger writes it first"]]),
    ["Next attempt", ...instant(status.next_attempt_at)],
    ...(status.clock_offset_ms == null ? [] : [["Camera's clock", `${Math.abs(status.clock_offset_ms / 1000).toFixed(1)} s ${status.clock_offset_ms < 0 ? "behind" : "ahead"}`]]),
    ["Reconnects", count(status.reconnects)],
    ["Last error", status.last_error ?? "none"],
    ["Frames", count(status.frames), "since the service started"],
    ["Data", bytes(status.bytes), "since the service started"],
    ["Segments", count(status.segments), "since the service started"],
    ["Not recorded", `${count(status.dropped_frames)} frames`, "since the service started"],
    ...damageRows(status),
  ];
}

/** What arrived broken; no row if nothing did. */
function damageRows({ damaged_units: frames, lost_packets: packets, resyncs }) {
  const parts = [[frames, "damaged frame"], [packets, "lost packet"], [resyncs, "resync"]];
  const words = parts.filter(([n]) => n > 0).map(([n, one]) => counted(n, one)).join(", ");
  return words === "" ? [] : [["Damaged on arrival", words, "since the service started"]];
}

function settingRows(camera) {
  const template = "from the make's template";
  return [
    ["Id", camera.id],
    ["Make", VENDORS[camera.vendor]?.name ?? camera.vendor],
    ["Address", camera.address ? `${camera.address}, port ${camera.rtsp_port}, channel ${camera.channel}` : "–"],
    ["Main stream", camera.main_url ?? template],
    ["Sub stream", camera.sub_url ?? (VENDORS[camera.vendor]?.url ? "none" : template)],
    ["Signs in as", camera.username ? `${camera.username}, ${camera.has_password ? "password stored" : "no password"}` : "nobody"],
    ["Records", `${camera.record_enabled ? camera.record_profile : "nothing"}, over ${camera.transport.toUpperCase()}, segments of ${camera.segment_seconds} s`],
    ["When", MODES[camera.record_mode] ?? camera.record_mode],
    ...(hasSchedule(camera) ? [["Schedule", `${scheduleText(camera.schedule)} (${camera.time_zone ?? store.system?.time_zone})`]] : []),
    ...(takesTriggers(camera) ? [["A trigger keeps", `${camera.event_idle_session ? camera.pre_roll_seconds : 0} s before, ${camera.post_roll_seconds} s after`]] : []),
    ["Keeps", limits(camera)],
    ["Mirror holds", camera.mirror_enabled ? MIRROR_MODES[camera.mirror_mode] ?? camera.mirror_mode : "nothing"],
    ["Fetches what is missing", refill(camera)],
    ["Sound", camera.record_audio ? "recorded" : "not recorded"],
    ...(camera.tls_fingerprint ? [["Certificate", camera.tls_fingerprint]] : []),
    ["Added", ...instant(camera.created_at)],
  ];
}

/** The button that has an event camera record, and until when it does. */
class Triggers {
  #end = null; // in ms; what the call answered may be newer than the last status

  constructor(camera) {
    this.button = h("button", { class: "button", type: "button", data: { testid: "trigger" }, on: { click: () => this.#trigger(camera) } }, icon("record"), "Record now");
    this.el = h("p", { class: "window", role: "status", data: { testid: "window" } });
  }

  update(camera) {
    this.button.hidden = !takesTriggers(camera);
    const end = camera.status.window_end ? Date.parse(camera.status.window_end) : null;
    if (end !== null || !takesTriggers(camera)) this.#end = end;
  }

  tick() {
    const left = this.#end === null ? 0 : this.#end - store.now();
    this.el.hidden = left <= 0;
    if (left > 0) setText(this.el, `A trigger was given: to be recorded until ${clock(this.#end)}, ${duration(left)} more.`);
  }

  async #trigger(camera) {
    this.button.disabled = true;
    try {
      const answer = await api.trigger(camera, "dashboard");
      this.#end = Date.parse(answer.window_end);
      toast(`To be recorded until ${clock(this.#end)}`);
      this.tick();
    } catch (error) {
      toast(`Not recorded: ${error.message}. ${error.hint ?? ""}`);
    } finally {
      this.button.disabled = false;
    }
  }
}

const STATES = { live: { open: "recording", closed: "complete" }, refill: { open: "being fetched", closed: "fetched" } };
const stateOf = ({ state, source }) => STATES[source]?.[state] ?? state;

/** The newest segments, kept up by `segment` messages. */
class Segments {
  #segments = new Map();

  constructor(camera, scope, actions) {
    this.camera = camera;
    this.actions = actions;
    this.body = h("tbody");
    this.note = h("p", { class: "muted events-note", text: "Loading segments …" });
    this.el = h("div", { class: "table-wrap" },
      h("table", { data: { testid: "segments" } },
        h("thead", {}, h("tr", {}, ["Start", "Length", "Size", "Picture", "State", "Copies", ""].map((text) => h("th", { scope: "col", class: { Size: "segments-size", Picture: "segments-picture", Copies: "segments-copies" }[text] }, text || h("span", { class: "sr-only", text: "Actions" }))))),
        this.body), this.note);
    store.on("segment", (segment) => {
      if (segment.camera_id !== camera) return;
      this.#segments.set(segment.id, segment);
      this.#show();
    }, scope);
    store.on("again", () => this.#load(), scope);
    // What is copied later, no `segment` tells.
    const progress = ({ volume, mirror }) => mirror && `${mirror.state} ${mirror.due_segments} ${volume.due_segments}`;
    let seen = progress(store.system);
    store.on("system", (system) => {
      if (progress(system) === seen) return;
      seen = progress(system);
      this.#load();
    }, scope);
    this.#load();
  }

  async #load() {
    try {
      const { segment_seconds: length } = store.cameras.get(this.camera) ?? {};
      for (const segment of await api.segmentsBefore(this.camera, store.now(), SEGMENTS, length)) this.#segments.set(segment.id, segment);
      this.#show();
      setText(this.note, "No segment yet. The first one opens with the first picture.");
    } catch (error) {
      setText(this.note, `Segments could not be listed. ${error.message} ${error.hint ?? ""}`);
    }
  }

  #show() {
    const newest = [...this.#segments.values()].sort((a, b) => Date.parse(b.start) - Date.parse(a.start)).slice(0, SEGMENTS);
    this.#segments = new Map(newest.map((segment) => [segment.id, segment]));
    const known = new Map([...this.body.children].map((row) => [row.dataset.segment, row]));
    arrange(this.body, newest.map((segment) => this.#grown(known.get(String(segment.id)), segment) ?? this.#row(segment)));
    this.note.hidden = newest.length > 0;
    this.el.classList.toggle("no-mirror", !store.system?.mirror);
  }

  /** Brings a row up to date; a lost segment's is made anew, for it offers nothing. */
  #grown(row, segment) {
    if (!row || segment.state === "lost") return undefined;
    const [, length, data, , state, copies] = row.children;
    setText(length, `${segment.duration_s.toFixed(1)} s`);
    setText(data, bytes(segment.bytes));
    setText(state, stateOf(segment));
    this.#copies(copies, segment);
    row.dataset.state = segment.state;
    return row;
  }

  #copies(cell, segment) {
    setText(cell, copyWords(segment, store.system?.mirror) ?? "");
    setAttr(cell, "title", segment.copies && copyTitle(segment));
    return cell;
  }

  #row(segment) {
    const at = Date.parse(segment.start);
    return h("tr", { data: { segment: segment.id, state: segment.state } },
      h("td", { title: full(at) }, h("button", { class: "link", type: "button", disabled: segment.state === "lost", "aria-label": `Play the segment from ${clock(at)}`,
        on: { click: () => this.actions.play(this.camera, at) } }, timeWords(at, store.now()))),
      h("td", { text: `${segment.duration_s.toFixed(1)} s` }), h("td", { class: "segments-size", text: bytes(segment.bytes) }),
      h("td", { class: "segments-picture", text: `${size(segment.width, segment.height)} ${codec(segment.codec)}` }), h("td", { class: "segments-state", text: stateOf(segment) }),
      this.#copies(h("td", { class: "segments-copies" }), segment),
      h("td", {}, segment.state === "lost" ? null : h("a", { href: segment.url, download: segment.file.replaceAll("/", "_"), "aria-label": `Download the segment from ${clock(at)}`, title: segment.file }, icon("download"))));
  }
}

/** How what is missing of a camera is fetched from its own storage. */
function refill({ refill_enabled, refill_method, refill_found }) {
  if (!refill_enabled) return "no";
  if (refill_found && !refill_found.method) return `no way was found: ${refill_found.detail}`;
  return REFILL_METHODS[refill_found?.method ?? refill_method] ?? refill_method;
}
