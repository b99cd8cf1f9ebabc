// A camera's day as a strip: what is recorded, what is missing and why, hour ticks, now; under the pointer or the
// keyboard's cursor the time and what was then; a click or Enter plays. Used on the wall, the camera page and in the player.
//
// Positions come from the instants at which the day begins and ends, never from 24 hours. What is drawn lies in lanes
// over the same scale (`pct`), so that zones become further lanes and not another strip; activity lies below them.

import { ActivityTrack } from "./activity.js";
import * as api from "./api.js";
import { h, icon, Scope, setAttr, setText } from "./dom.js";
import { clock, clockShort, duration } from "./format.js";
import { legend, lookOf, words } from "./gaps.js";
import { addRange, cut, percent, rangeAt, snap, split, total } from "./ranges.js";
import { store } from "./store.js";

const MINUTE = 60_000, HOUR = 3_600_000;
const SMALLEST_VIEW = 10 * MINUTE;
const SNAP_PX = 8;
const THIN_PX = 4;
const LABEL_PX = 60;
const AGAIN_MS = 500;
const STEPS = [1, 2, 5, 10, 30, 60, 180, 360, 720].map((minutes) => minutes * MINUTE);

export class Strip {
  #scope = new Scope();
  #ranges = [];
  #gaps = [];
  #filled = []; // what of #ranges came from the camera's own storage
  #state = null; // of the camera, as last seen
  #again = null;
  #loaded = null; // key of the day that #ranges belong to
  #view = { from: 0, to: 1 };
  #cursor = null;
  #playhead = null;
  #width = 600;
  #load = 0;

  /**
   * `onPlay(ms)` is called with the instant to play; `day` is a Day; `zoom` adds the zoom buttons;
   * `below` is an element for under the scale, whose owner sets `onView()` to be told when the view changes.
   */
  constructor({ camera, name, day, onPlay, zoom = false, below = null }) {
    Object.assign(this, { camera, day, onPlay });
    this.lane = h("div", { class: "strip-lane" });
    // What is missing lies over recordings, so that a short gap is seen; what nobody wanted lies under them.
    this.missingLane = h("div", { class: "strip-lane strip-missing" });
    this.emptyLane = h("div", { class: "strip-lane" });
    this.filledLane = h("div", { class: "strip-lane strip-filled" });
    this.future = h("div", { class: "strip-future" });
    this.nowMark = h("div", { class: "strip-now", title: "now" });
    this.playMark = h("div", { class: "strip-playhead", hidden: true });
    this.tip = h("span", { class: "strip-tip" });
    this.cursorMark = h("div", { class: "strip-cursor", hidden: true }, this.tip);
    this.note = h("div", { class: "strip-note", hidden: true });
    this.track = h("div", { class: "strip-track", tabindex: "0", role: "slider", "aria-label": `Recordings of ${name}`,
      "aria-orientation": "horizontal", "aria-describedby": "strip-help",
      data: { testid: "strip-track" },
      on: {
        pointermove: (event) => this.#point(event), pointerleave: () => this.#leave(),
        click: (event) => this.#click(event), keydown: (event) => this.#key(event),
        focus: () => this.#focus(), blur: () => this.#leave(),
        wheel: (event) => this.#wheel(event),
      } },
    this.emptyLane, this.lane, this.filledLane, this.missingLane, this.future, this.nowMark, this.playMark, this.cursorMark, this.note);
    // On the wall it would be a request for each camera.
    this.activity = zoom ? new ActivityTrack({ camera, name, on: { click: (event) => this.#click(event),
      pointermove: (event) => this.#point(event), pointerleave: () => this.#leave() } }) : null;
    this.scale = h("div", { class: "strip-scale", "aria-hidden": "true" });
    this.sum = h("span", { class: "strip-sum", data: { testid: "strip-sum" } });
    this.zoomBar = zoom ? this.#zoomButtons() : null;
    this.legend = zoom ? h("ul", { class: "strip-legend", "aria-label": "Legend", data: { testid: "strip-legend" } }) : null;
    this.el = h("div", { class: "strip", data: { testid: "strip", camera, state: "loading" } },
      this.track, this.activity?.el, this.scale, zoom ? h("div", { class: "strip-foot" }, this.sum, this.zoomBar) : null, this.legend);

    const resize = new ResizeObserver(([entry]) => { this.#width = entry.contentRect.width || 600; this.#draw(); });
    resize.observe(this.track);
    this.#scope.add(() => resize.disconnect());
    day.on(() => this.#newDay(), this.#scope);
    store.on("again", () => { this.#fetch(); this.activity?.refresh(); }, this.#scope);
    store.on("tick", () => this.#tick(), this.#scope);
    store.on("gap", (gap) => { if (gap.camera_id === camera) this.#fetchSoon(AGAIN_MS); }, this.#scope);
    // What a camera's new state means for its gaps, the server knows two seconds later.
    store.on("camera", ({ id, status }) => {
      if (id !== camera || status.state === this.#state) return;
      if (this.#state !== null) this.#fetchSoon(2_500);
      this.#state = status.state;
    }, this.#scope);
    this.#scope.add(() => clearTimeout(this.#again));
    store.on("segment", (segment) => this.#grow(segment), this.#scope);
    if (below) this.scale.after(below);
    this.#newDay();
  }

  end() {
    this.#load += 1;
    this.activity?.end();
    this.#scope.end();
  }

  get ranges() { return this.#ranges; }

  /** The part of the day that is shown. */
  get view() { return this.#view; }

  rename(name) {
    setAttr(this.track, "aria-label", `Recordings of ${name}`);
    this.activity?.rename(name);
  }

  /** Marks the picture being played, and keeps it in view. */
  setPlayhead(ms) {
    this.#playhead = ms;
    if (ms !== null && (ms < this.#view.from || ms > this.#view.to) && this.day.has(ms)) this.#look(ms, this.#span);
    else this.#marks();
  }

  /** Shows `span` milliseconds around `ms`. */
  zoomTo(ms, span) { this.#look(ms, span); }

  get #span() { return this.#view.to - this.#view.from; }
  #pct(ms) { return ((ms - this.#view.from) / this.#span) * 100; }

  #newDay() {
    const { start, end, key, hours } = this.day;
    this.#view = { from: start, to: end };
    this.#cursor = null;
    Object.assign(this.el.dataset, { day: key, hours: String(hours) });
    if (this.#loaded !== key) { this.#ranges = []; this.#gaps = []; this.#filled = []; this.el.dataset.state = "loading"; }
    this.#draw();
    this.#fetch();
  }

  async #fetch() {
    const load = ++this.#load;
    const { key, start, end } = this.day;
    try {
      const parts = await api.coverage(this.camera, start, end);
      if (load !== this.#load) return;
      const { recorded, gaps, filled } = split(parts, store.now());
      this.#filled = filled;
      this.#ranges = recorded;
      this.#gaps = gaps;
      this.#loaded = key;
      this.el.dataset.state = recorded.length ? "ready" : "empty";
      this.#say(recorded.length || gaps.some((gap) => gap.state === "missing") ? null : this.day.isToday() ? "Nothing recorded today" : "Nothing recorded on this day");
    } catch (error) {
      if (load !== this.#load) return;
      this.el.dataset.state = "error";
      this.#say(`Recordings could not be listed: ${error.message}`,
        h("button", { class: "link", type: "button", text: "Try again", on: { click: (event) => { event.stopPropagation(); this.#fetch(); } } }));
    }
    this.#draw();
  }

  /** Asks again after a while; what comes until then is asked for at once. */
  #fetchSoon(ms) {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#fetch(), ms);
  }

  #tick() {
    const last = this.#gaps.at(-1);
    if (last?.open) {
      last.to = Math.max(last.to, Math.min(store.now(), this.day.end));
      this.#draw();
    } else this.#marks();
  }

  #say(text, action = null) {
    this.note.hidden = text === null;
    this.note.replaceChildren(text ?? "", action ?? "");
  }

  #grow(segment) {
    if (segment.camera_id !== this.camera || segment.state === "lost" || this.#loaded !== this.day.key) return;
    const from = Math.max(Date.parse(segment.start), this.day.start), to = Math.min(Date.parse(segment.end), this.day.end);
    if (to <= from) return;
    this.#ranges = addRange(this.#ranges, from, to);
    this.activity?.refresh();
    this.#gaps = cut(this.#gaps, from, to).filter((gap) => gap.to - gap.from >= 1000);
    this.el.dataset.state = "ready";
    this.#say(null);
    this.#draw();
  }

  #lay(lane, name, ranges, thin = THIN_PX) {
    const { from, to } = this.#view;
    const shown = ranges.filter((range) => range.to > from && range.from < to);
    while (lane.children.length > shown.length) lane.lastChild.remove();
    shown.forEach((range, i) => {
      const el = lane.children[i] ?? lane.appendChild(h("div"));
      setAttr(el, "class", range.state ? `${name} ${lookOf(range)}${range.refill ? ` refill-${range.refill}` : ""}` : name);
      setAttr(el, "data-refill", range.refill);
      setAttr(el, "data-cause", range.cause ?? range.state);
      const left = Math.max(0, this.#pct(range.from)), right = Math.min(100, this.#pct(range.to));
      // What is too short to be seen gets some pixels, towards the past: its end, often now, stays true.
      el.style.left = `max(0px, min(${left}%, ${right}% - ${thin}px))`;
      el.style.width = `max(${right - left}%, ${thin}px)`;
      el.dataset.from = new Date(range.from).toISOString();
      el.dataset.to = new Date(range.to).toISOString();
    });
  }

  #draw() {
    const { from, to } = this.#view;
    const missing = (gap) => gap.state === "missing";
    this.#lay(this.emptyLane, "strip-gap", this.#gaps.filter((gap) => !missing(gap)));
    this.#lay(this.lane, "strip-range", this.#ranges);
    this.#lay(this.filledLane, "strip-fill", this.#filled, THIN_PX / 2);
    this.#lay(this.missingLane, "strip-gap", this.#gaps.filter(missing), THIN_PX / 2);
    this.#drawScale();
    this.activity?.show(this.#view);
    setText(this.sum, this.#loaded === this.day.key ? this.#sumText() : "");
    this.legend?.replaceChildren(...legend(this.#gaps, this.#filled));
    if (this.#cursor === null) this.#tell(this.#newest());
    setAttr(this.track, "aria-valuemin", 0);
    setAttr(this.track, "aria-valuemax", Math.round((this.day.end - this.day.start) / 1000));
    if (this.zoomBar) {
      const whole = this.#span >= this.day.end - this.day.start;
      const [earlier, out, closer, later] = this.zoomBar.children;
      out.disabled = whole;
      closer.disabled = this.#span <= SMALLEST_VIEW;
      earlier.disabled = from <= this.day.start;
      later.disabled = to >= this.day.end;
    }
    this.#marks();
    this.onView?.();
  }

  #sumText() {
    const { start, end } = this.day;
    const share = percent(this.#ranges, this.#gaps, start, end);
    return `${duration(total(this.#ranges, start, end))} recorded${share === null ? "" : `, ${share} of what was wanted`}`;
  }

  // Hours are walked as instants and labelled with what the wall clock then says; so the hour that comes twice is
  // shown twice, and the one that is skipped is not there.
  #drawScale() {
    const { from, to } = this.#view;
    const step = STEPS.find((s) => (s / (to - from)) * this.#width >= LABEL_PX) ?? STEPS.at(-1);
    const walk = Math.min(step, HOUR);
    const ticks = [];
    for (let t = this.day.start; t <= this.day.end; t += walk) {
      if (t < from || t > to) continue;
      const date = new Date(t);
      const last = t === this.day.end;
      const labelled = step <= HOUR || last || (date.getHours() % (step / HOUR) === 0 && date.getMinutes() === 0);
      const at = this.#pct(t), px = (at / 100) * this.#width;
      ticks.push(h("span", { class: `strip-tick${labelled ? " labelled" : ""}${px < LABEL_PX / 3 ? " first" : px > this.#width - LABEL_PX / 3 ? " last" : ""}`,
        style: { left: `${at}%` } }, labelled ? h("b", { text: last ? "24:00" : clockShort(t) }) : null));
    }
    this.scale.replaceChildren(...ticks);
  }

  #marks() {
    const now = store.now();
    const at = this.#pct(now);
    this.nowMark.hidden = at < 0 || at > 100;
    this.nowMark.style.left = `${at}%`;
    const left = Math.max(0, Math.min(100, at));
    this.future.style.left = `${left}%`;
    this.future.hidden = left >= 100;
    const play = this.#playhead === null ? -1 : this.#pct(this.#playhead);
    this.playMark.hidden = play < 0 || play > 100;
    this.playMark.style.left = `${play}%`;
  }

  #place(ms) {
    this.#cursor = Math.min(Math.max(ms, this.day.start), this.day.end - 1000);
    const at = this.#pct(this.#cursor);
    this.cursorMark.hidden = false;
    this.cursorMark.style.left = `${at}%`;
    this.cursorMark.dataset.side = at < 12 ? "start" : at > 88 ? "end" : "middle";
    setText(this.tip, `${clock(this.#cursor)} · ${this.#tell(this.#cursor)}`);
  }

  /** The slider's value for assistive technology; answers what is there. */
  #tell(ms) {
    const gap = rangeAt(this.#gaps, ms);
    const what = rangeAt(this.#filled, ms) ? "recorded by the camera, fetched later" : rangeAt(this.#ranges, ms) ? "recorded" : gap ? words(gap) : ms > store.now() ? "not yet" : "not recorded";
    setAttr(this.track, "aria-valuenow", Math.round((ms - this.day.start) / 1000));
    setAttr(this.track, "aria-valuetext", `${clock(ms)}, ${what}`);
    return what;
  }

  #leave() {
    if (document.activeElement === this.track && this.track.matches(":focus-visible")) return;
    this.cursorMark.hidden = true;
  }

  #at(event) {
    const box = this.track.getBoundingClientRect();
    const ms = this.#view.from + ((event.clientX - box.left) / box.width) * this.#span;
    const px = this.#span / box.width;
    // A gap that is wide enough to be meant is; a narrower one is for the keyboard, and for zooming in.
    const gap = this.#gaps.find(({ state, from, to }) => state === "missing" && to - from > 0.3 * px && ms > from - 2 * px && ms < to + 2 * px);
    return gap ? Math.max(gap.from, Math.min(ms, gap.to - 1)) : snap(this.#ranges, ms, SNAP_PX * px);
  }

  #point(event) { this.#place(this.#at(event)); }

  #click(event) {
    if (event.target.closest("button")) return;
    this.#place(this.#at(event));
    this.#play();
  }

  #play() {
    if (this.#cursor === null || this.#cursor > store.now()) return;
    this.onPlay(this.#cursor);
  }

  #focus() {
    if (this.#cursor === null) this.#place(this.#playhead ?? this.#newest());
    else if (this.track.matches(":focus-visible")) this.#place(this.#cursor);
  }

  /** A few seconds before the end of what is recorded: there is something to see there. */
  #newest() {
    const last = this.#ranges.at(-1);
    return last ? Math.max(last.from, last.to - 10_000) : Math.min(store.now(), this.day.end);
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target !== this.track) return;
    const step = Math.max(1000, this.#span / 1440) * (event.shiftKey ? 10 : 1);
    const from = this.#cursor ?? this.#newest();
    const starts = this.#ranges.map((range) => range.from);
    const moves = {
      ArrowLeft: () => from - step, ArrowRight: () => from + step, ArrowDown: () => from - step, ArrowUp: () => from + step,
      PageDown: () => from - HOUR, PageUp: () => from + HOUR,
      Home: () => starts[0] ?? this.day.start, End: () => this.#newest(),
      g: () => this.#nextGap((gap) => gap.from > from) ?? from, G: () => this.#nextGap((gap) => gap.to <= from, true) ?? from,
      n: () => starts.find((start) => start > from) ?? from, p: () => starts.findLast((start) => start < from) ?? from,
    };
    if (event.key in moves) {
      this.#place(moves[event.key]());
      if (this.#cursor < this.#view.from || this.#cursor > this.#view.to) { this.#look(this.#cursor, this.#span); this.#place(this.#cursor); }
    } else if (event.key === "Enter" || event.key === " ") this.#play();
    else if (event.key === "+" || event.key === "=") this.#look(from, this.#span / 4);
    else if (event.key === "-") this.#look(from, this.#span * 4);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The beginning of the next missing time, or of the one before. */
  #nextGap(is, back = false) {
    const missing = this.#gaps.filter((gap) => gap.state === "missing" && is(gap));
    return missing.at(back ? -1 : 0)?.from;
  }

  #wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.#look(this.#at(event), this.#span * (event.deltaY > 0 ? 1.5 : 1 / 1.5));
  }

  /** Sets the view to `span` around `ms`, within the day. */
  #look(ms, span) {
    const { start, end } = this.day;
    span = Math.min(Math.max(span, SMALLEST_VIEW), end - start);
    const from = Math.min(Math.max(ms - span / 2, start), end - span);
    this.#view = { from, to: from + span };
    this.cursorMark.hidden = true;
    this.#draw();
  }

  #zoomButtons() {
    const middle = () => {
      const wanted = this.#playhead ?? this.#cursor ?? Math.min(this.#newest(), this.day.end);
      return wanted >= this.#view.from && wanted <= this.#view.to ? wanted : (this.#view.from + this.#view.to) / 2;
    };
    const centre = () => (this.#view.from + this.#view.to) / 2;
    const button = (label, name, act) => h("button", { class: "button icon-only small", type: "button", "aria-label": label, title: label,
      on: { click: act } }, icon(name));
    return h("div", { class: "joined", role: "group", "aria-label": "Zoom of the strip" },
      button("Earlier", "left", () => this.#look(centre() - this.#span / 2, this.#span)),
      button("Show more time", "zoomOut", () => this.#look(middle(), this.#span * 4)),
      button("Show less time", "zoomIn", () => this.#look(middle(), this.#span / 4)),
      button("Later", "right", () => this.#look(centre() + this.#span / 2, this.#span)));
  }
}
