// The player: a dialog that shows recorded video from an instant on, segment after segment, and says at which wall-clock
// time each picture was taken. Opened by the wall and the camera page through app.js. Segments are fragmented MP4
// without a duration in their head; Chromium finds it by walking the fragments, others may say Infinity.

import * as api from "./api.js";
import { Day, dayPicker } from "./day.js";
import { h, icon, Scope, setAttr, setText } from "./dom.js";
import { clock, codec, dateKey, dateShort, duration, full } from "./format.js";
import { copyTitle, copyWords } from "./state.js";
import { store } from "./store.js";
import { Strip } from "./strip.js";

const SPEEDS = [0.5, 1, 2, 4, 8];
const STEP_MS = 10_000;
// An open segment is read again only when this much came to it: each reading costs a short standstill.
const GROWN_BY_MS = 4000;
// A hole that is worth a word. Segments of an unbroken recording meet within a frame or so.
const HOLE_MS = 1500;

const start = (segment) => Date.parse(segment.start);
const end = (segment) => Date.parse(segment.end);

class Player {
  #scope = null;
  #camera = null;
  #segment = null;
  #offset = null; // seconds into the segment, until its metadata is there
  #turn = 0; // what was asked last; answers to older questions are dropped
  #rate = 1;
  #waiting = false;
  #retried = null; // the segment that was read anew after it broke off
  #again = null; // what a failed question was, for when the server is back

  constructor() {
    this.video = h("video", { playsinline: true, preload: "auto", "aria-label": "Recorded video", data: { testid: "player-video" } });
    this.video.muted = true;
    this.message = h("div", { class: "player-message", role: "status", hidden: true, data: { testid: "player-message" } });
    this.stage = h("div", { class: "player-stage" }, this.video, h("div", { class: "spinner", "aria-hidden": "true" }), this.message);
    this.notice = h("p", { class: "player-notice", role: "status", hidden: true, data: { testid: "player-notice" } });
    this.title = h("h2", { id: "player-title" });
    this.time = h("time", { class: "player-time", data: { testid: "player-time" } });
    this.date = h("span", { class: "muted" });
    this.about = h("span", { class: "muted player-about" });
    const button = (label, name, act, extra = {}) => h("button", { class: "button icon-only", type: "button", "aria-label": label, title: label, on: { click: act }, ...extra }, icon(name));
    this.toggle = button("Pause", "pause", () => this.#toggle(), { class: "button icon-only primary large", autofocus: true, data: { testid: "player-toggle" } });
    const text = (words, label, act) => h("button", { class: "button", type: "button", "aria-label": label, title: label, text: words, on: { click: act } });
    this.speed = h("select", { class: "input", "aria-label": "Speed", data: { testid: "player-speed" }, on: { change: () => this.#setRate(Number(this.speed.value)) } },
      SPEEDS.map((speed) => h("option", { value: speed, text: `${speed}×` })));
    this.download = h("a", { class: "button", title: "Download this segment (.mp4)", data: { testid: "player-download" } }, icon("download"), h("span", { text: "Segment" }));
    this.timeline = h("div", { class: "player-timeline" });
    this.el = h("dialog", { class: "player", "aria-labelledby": "player-title", data: { testid: "player" } },
      h("div", { class: "player-head" }, this.title, h("div", { class: "player-when" }, this.time, this.date),
        h("button", { class: "button quiet icon-only", type: "button", "aria-label": "Close the player", on: { click: () => this.el.close() } }, icon("close"))),
      this.stage, this.notice,
      h("div", { class: "player-controls" },
        h("div", { class: "joined" },
          button("Previous segment", "skipBack", () => this.#previous()),
          text("−10 s", "Back 10 seconds", () => this.#step(-STEP_MS))),
        this.toggle,
        h("div", { class: "joined" },
          text("+10 s", "Forward 10 seconds", () => this.#step(STEP_MS)),
          button("Next segment", "skipForward", () => this.#next({ asked: true }))),
        h("label", { class: "player-speed" }, h("span", { text: "Speed" }), this.speed),
        this.about,
        h("span", { class: "joined" }, this.download, button("Full screen", "expand", () => this.#fullScreen()))),
      this.timeline);
    document.body.append(this.el);
    this.#listen();
  }

  /** Plays `camera` from `ms` on; `live`: from near the end of what is recorded. */
  open(camera, ms, { live = false } = {}) {
    this.#scope?.end();
    this.#scope = new Scope();
    this.#camera = camera;
    this.#segment = null;
    this.#retried = null;
    const name = this.#name();
    setText(this.title, name);
    this.#setRate(1);
    this.#showToggle();
    setAttr(this.download, "href", null);
    setText(this.about, "");
    const day = new Day(ms);
    const strip = new Strip({ camera, name, day, zoom: true, onPlay: (at) => this.#seek(at) });
    this.day = day;
    this.strip = strip;
    strip.zoomTo(ms, 3_600_000);
    this.#scope.add(() => strip.end());
    this.timeline.replaceChildren(dayPicker(day, this.#scope), strip.el);
    store.on("tick", () => day.roll(), this.#scope);
    store.on("segment", (segment) => { if (this.#waiting && segment.camera_id === camera) this.#ended(); }, this.#scope);
    store.on("again", () => this.#again?.(), this.#scope);
    if (!this.el.open) this.el.showModal();
    this.#show(ms);
    this.#seek(ms, { direction: live ? -1 : 1, quiet: live });
  }

  close() { if (this.el.open) this.el.close(); }

  #name() { return store.cameras.get(this.#camera)?.name ?? this.#camera; }
  get #at() { return this.#segment === null ? null : start(this.#segment) + (this.#offset ?? this.video.currentTime) * 1000; }

  #listen() {
    const { video } = this;
    video.addEventListener("loadedmetadata", () => this.#position());
    video.addEventListener("timeupdate", () => this.#tick());
    video.addEventListener("seeked", () => this.#tick());
    video.addEventListener("ended", () => this.#ended());
    video.addEventListener("error", () => this.#broken());
    for (const type of ["play", "pause", "ended"]) video.addEventListener(type, () => this.#showToggle());
    for (const type of ["waiting", "seeking", "loadstart"]) video.addEventListener(type, () => this.stage.classList.add("busy"));
    for (const type of ["playing", "seeked", "canplay", "error", "emptied"]) video.addEventListener(type, () => this.stage.classList.remove("busy"));
    video.addEventListener("click", () => this.#toggle());
    this.el.addEventListener("keydown", (event) => this.#key(event));
    this.el.addEventListener("click", (event) => { if (event.target === this.el) this.el.close(); });
    this.el.addEventListener("close", () => {
      this.#turn += 1;
      this.#waiting = false;
      this.#segment = null;
      video.pause();
      video.removeAttribute("src");
      video.load();
      this.#scope?.end();
      this.timeline.replaceChildren();
    });
    // timeupdate comes four times a second; the frame callback keeps the shown time true to the picture.
    if ("requestVideoFrameCallback" in video) {
      const frame = () => { this.#tick(); video.requestVideoFrameCallback(frame); };
      video.requestVideoFrameCallback(frame);
    }
  }

  /** Goes to an instant: into the segment that holds it, else to the next recorded time (or the one before). */
  async #seek(ms, { direction = 1, quiet = false } = {}) {
    const turn = ++this.#turn;
    this.#say(null);
    this.#note(null);
    const within = this.#segment === null ? -1 : (ms - start(this.#segment)) / 1000;
    if (within >= 0 && within < this.video.duration - 0.3) return this.#load(this.#segment, within);
    this.stage.classList.add("busy");
    try {
      const found = (await api.segments(this.#camera, ms, store.now() + 60_000, 5)).filter((segment) => end(segment) > ms && segment.state !== "lost");
      if (turn !== this.#turn) return;
      const [next] = found;
      if (next && start(next) <= ms) return this.#load(next, (ms - start(next)) / 1000);
      if (next && direction > 0) {
        this.#note(`Nothing was recorded at ${clock(ms)}. This is the next recorded time, ${words(start(next), ms)}.`);
        return this.#load(next, 0);
      }
      const [last] = await api.segmentsBefore(this.#camera, ms, 1);
      if (turn !== this.#turn) return;
      const segment = last ?? next;
      if (!segment) return this.#say("Nothing is recorded for this camera yet.", "Recording starts as soon as the camera sends pictures; its card says what keeps it from doing so.");
      const to = last ? Math.max(0, (end(segment) - start(segment)) / 1000 - (quiet ? 10 : 5)) : 0;
      if (!quiet) this.#note(`Nothing was recorded at ${clock(ms)}. This is the last recorded time before it, ${words(start(segment) + to * 1000, ms)}.`);
      this.#load(segment, to);
    } catch (error) {
      if (turn === this.#turn) this.#fail(error, () => this.#seek(ms, { direction, quiet }));
    }
  }

  #load(segment, offset) {
    const same = this.#segment?.id === segment.id && this.#segment.end === segment.end && this.video.readyState >= 1 && !this.video.error;
    this.#segment = segment;
    this.#waiting = false;
    this.#offset = Math.max(0, offset);
    setAttr(this.download, "href", segment.url);
    setAttr(this.download, "download", segment.file.replaceAll("/", "_"));
    const where = { both: "on the disk and on the mirror", disk: "on the disk only", mirror: "on the mirror only", damaged: "no copy is whole" }[copyWords(segment, store.system?.mirror)];
    if (segment.id !== this.#retried) this.#retried = null;
    setText(this.about, `${segment.file} · ${segment.width}×${segment.height} ${codec(segment.codec)}${segment.state === "open" ? " · still being recorded" : ""}${where ? ` · ${where}` : ""}`);
    setAttr(this.about, "title", where && copyTitle(segment));
    this.el.dataset.segment = segment.id;
    if (same) return this.#position();
    this.stage.classList.add("busy");
    // Chromium keeps what it read of an address for as long as the page lives, whatever Cache-Control says, and so
    // would never see an open segment grow. The part behind # makes it another address for Chromium and not for the server.
    this.video.src = `${segment.url}#${segment.end}${this.#retried === null ? "" : "-anew"}`;
    this.#show(this.#at);
  }

  /** The metadata is there: to the wanted offset, and play. */
  #position() {
    if (this.#segment === null) return;
    const known = Number.isFinite(this.video.duration) ? this.video.duration : this.#segment.duration_s;
    const to = Math.min(this.#offset ?? 0, Math.max(0, known - 0.3));
    this.#offset = null;
    if (Math.abs(this.video.currentTime - to) > 0.05) this.video.currentTime = to;
    this.video.playbackRate = this.#rate;
    this.#play();
  }

  async #play() {
    try {
      await this.video.play();
    } catch (error) {
      // AbortError: another source came meanwhile. NotAllowedError: the browser wants a click first; the button shows it.
      if (error.name !== "AbortError" && error.name !== "NotAllowedError") this.#broken();
    }
  }

  async #ended() {
    const segment = this.#segment;
    if (segment === null) return;
    if (segment.state !== "open") return this.#next({});
    const turn = ++this.#turn;
    try {
      const fresh = await api.segment(segment.id);
      if (turn !== this.#turn) return;
      const seen = this.video.currentTime;
      if (fresh.state === "closed" && end(fresh) - start(fresh) < seen * 1000 + 300) { this.#segment = fresh; return this.#next({}); }
      if (fresh.state === "closed" || end(fresh) - start(fresh) > seen * 1000 + GROWN_BY_MS) return this.#load(fresh, seen);
      this.#wait();
    } catch (error) {
      if (turn === this.#turn) this.#fail(error, () => this.#ended());
    }
  }

  /** At the end of what is written: goes on when the next `segment` message says that there is more. */
  #wait() {
    this.#waiting = true;
    const recording = store.cameras.get(this.#camera)?.status.state === "recording";
    this.#note(recording ? "This is the latest. Goes on as soon as more is written." : `Nothing is recorded after ${clock(this.#at)}. Goes on when the camera records again.`);
  }

  async #next({ asked = false }) {
    const segment = this.#segment;
    if (segment === null) return;
    const turn = ++this.#turn;
    this.#note(null);
    try {
      const list = await api.segments(this.#camera, end(segment), store.now() + 60_000, 5);
      if (turn !== this.#turn) return;
      const next = list.find((other) => other.id !== segment.id && other.state !== "lost" && start(other) > start(segment));
      if (!next) return asked ? this.#note("This is the latest segment.") : this.#wait();
      const hole = start(next) - end(segment);
      if (hole > HOLE_MS) this.#note(`Nothing was recorded from ${clock(end(segment))} to ${words(start(next), end(segment))} (${duration(hole)}). Going on after that.`);
      this.#load(next, 0);
    } catch (error) {
      if (turn === this.#turn) this.#fail(error, () => this.#next({ asked }));
    }
  }

  async #previous() {
    if (this.#segment === null) return;
    const turn = ++this.#turn;
    this.#note(null);
    try {
      const [previous] = await api.segmentsBefore(this.#camera, start(this.#segment), 1);
      if (turn !== this.#turn) return;
      if (!previous) return this.#note("This is the first segment.");
      this.#load(previous, 0);
    } catch (error) {
      if (turn === this.#turn) this.#fail(error, () => this.#previous());
    }
  }

  #step(ms) {
    const at = this.#at;
    if (at !== null) this.#seek(at + ms, { direction: Math.sign(ms) });
  }

  #toggle() {
    if (this.#segment === null) return;
    if (this.video.ended) this.#ended(); // playing now would begin the segment again
    else if (this.video.paused) this.#play();
    else this.video.pause();
  }

  #setRate(rate) {
    this.#rate = rate;
    this.speed.value = String(rate);
    this.video.playbackRate = rate;
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.stage.requestFullscreen?.();
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select")) return;
    const onButton = event.target.closest("button, a");
    const act = {
      " ": onButton ? null : () => this.#toggle(), k: () => this.#toggle(),
      ArrowLeft: () => this.#step(-STEP_MS), ArrowRight: () => this.#step(STEP_MS), j: () => this.#step(-STEP_MS), l: () => this.#step(STEP_MS),
      f: () => this.#fullScreen(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #tick() {
    const at = this.#at;
    if (at === null || this.video.readyState < 1) return;
    this.#show(at);
  }

  #show(at) {
    setText(this.time, clock(at));
    setAttr(this.time, "datetime", new Date(at).toISOString());
    setAttr(this.time, "title", full(at));
    setText(this.date, dateShort(at));
    if (!this.day.has(at) && !this.strip.el.contains(document.activeElement) && this.playedDay !== dateKey(at)) this.day.set(dateKey(at));
    this.playedDay = dateKey(at);
    this.strip.setPlayhead(at);
  }

  #showToggle() {
    const paused = this.video.paused;
    this.toggle.replaceChildren(icon(paused ? "play" : "pause"));
    setAttr(this.toggle, "aria-label", paused ? "Play" : "Pause");
    setAttr(this.toggle, "title", paused ? "Play" : "Pause");
  }

  #note(text) {
    this.notice.hidden = text === null;
    setText(this.notice, text ?? "");
  }

  #say(text, next = "", action = null) {
    this.#again = null;
    this.message.hidden = text === null;
    this.stage.classList.remove("busy");
    this.message.replaceChildren(...(text === null ? [] : [h("strong", { text }), h("span", { text: next }), ...(action ? [action] : [])]));
  }

  #fail(error, again) {
    const retry = () => { this.#say(null); again(); };
    this.#say(error.message, error.hint ?? "", h("button", { class: "button", type: "button", text: "Try again", on: { click: retry } }));
    this.#again = retry;
  }

  /** The browser could not play it: finds out whether the file is gone, the way is broken or the codec unknown. */
  async #broken() {
    const segment = this.#segment;
    if (segment === null) return;
    const turn = ++this.#turn;
    const at = this.#at;
    try {
      const fresh = await api.segment(segment.id);
      if (turn !== this.#turn) return;
      // What was read went away, perhaps with its disk; the server gives the other copy now, if it has one.
      if (store.system?.mirror && this.#retried !== segment.id) {
        this.#retried = segment.id;
        return this.#load(fresh, Math.max(0, (at - start(fresh)) / 1000));
      }
      const why = this.video.error?.message ? ` (${this.video.error.message})` : "";
      this.#fail({ message: `This browser cannot play the segment${why}.`,
        hint: segment.codec === "h264" ? "Download it and try another player, or go on with the next segment." : `It is ${codec(segment.codec)}, which not every browser can play. Download it, or set the camera to H.264.` },
      () => { this.#segment = null; this.#seek(at); });
    } catch (error) {
      if (turn === this.#turn) this.#fail(error, () => { this.#segment = null; this.#seek(at); });
    }
  }
}

/** The time, with the date when that is another than `other`'s. */
const words = (ms, other) => (dateKey(ms) === dateKey(other) ? clock(ms) : `${dateShort(ms)}, ${clock(ms)}`);

let player = null;

/** The one player, made when it is first needed. */
export function thePlayer() {
  player ??= new Player();
  return player;
}
