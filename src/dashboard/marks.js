// What programs found on a camera's day, below its strip: how often (bars), and who came, went, stayed or crossed (marks that
// play). Shares the strip's scale. Used by camera.js.

import * as api from "./api.js";
import { h, setAttr, setText, svg } from "./dom.js";
import { kindWords, playFrom } from "./events.js";
import { clock, clockShort, count } from "./format.js";
import { store } from "./store.js";

const KINDS = { zone_enter: "enter", zone_exit: "exit", zone_dwell: "dwell", line_cross: "cross" };
const MINUTE = 60_000;
const AGAIN_MS = 10_000;
// A worker may be so late.
const LATE_MS = 2 * MINUTE;
// Marks that would stand closer are one.
const APART_PX = 14;
const BAR_PX = 3;
const PAGE = 1000, PAGES = 10;

export class Marks {
  #counts = [];
  #events = new Map();
  #day = null;
  #turn = 0;
  #asked = 0;
  #until = 0; // what happened before is counted
  #cut = false; // not all of the day's events were read

  constructor({ camera, day, watch, scope, onPlay }) {
    Object.assign(this, { camera, day, watch, onPlay });
    this.bars = svg("path", {});
    this.drawing = svg("svg", { class: "marks-bars", preserveAspectRatio: "none", viewBox: "0 0 1000 100", "aria-hidden": "true" }, this.bars);
    this.events = h("div", { class: "marks-events", role: "group", "aria-label": "Zone events, earliest first", on: { keydown: (event) => this.#key(event) } });
    this.row = h("div", { class: "marks-row", data: { testid: "marks" }, on: { click: (event) => this.#press(event) } }, this.drawing, this.events);
    this.words = h("p", { class: "marks-words muted", data: { testid: "marks-words" } });
    this.el = h("div", { class: "marks", hidden: true }, this.row, this.words);
    day.on(() => this.#load(), scope);
    watch.on(() => { if (this.#wanted && this.#day === null) this.#load(); }, scope);
    store.on("again", () => this.#load(), scope);
    store.on("event", (event) => { if (event.camera_id === camera && event.kind in KINDS) { this.#keep([event]); this.#draw(); } }, scope);
    store.on("tick", () => { if (this.#day !== null && this.#wanted && day.isToday() && !document.hidden && Date.now() - this.#asked >= AGAIN_MS) this.#more(); }, scope);
    scope.add(() => { this.#turn += 1; });
    this.#load();
  }

  /** Follows a strip. */
  under(strip) {
    this.strip = strip;
    strip.onView = () => this.#draw();
    this.#draw();
  }

  /** Whether anything can come: else the day is asked about once. */
  get #wanted() { return this.watch.tasks?.length > 0 || this.watch.zones.length > 0; }

  #keep(events) {
    for (const event of events) {
      const at = Date.parse(event.at);
      if (event.kind in KINDS && this.day.has(at)) this.#events.set(event.id, { ...event, ms: at });
    }
  }

  /** The day shown, from its beginning. */
  async #load() {
    const turn = ++this.#turn;
    const { key, start, end } = this.day;
    this.#asked = Date.now();
    const until = store.now();
    if (this.#day !== key) { this.#day = null; this.#counts = []; this.#events.clear(); this.#draw(); }
    try {
      const counts = await api.detectionCounts(this.camera, start, end, MINUTE / 1000);
      if (turn !== this.#turn) return;
      this.#counts = counts;
      this.#until = until;
      const known = this.#day === key ? Math.max(...this.#events.keys()) : undefined;
      this.#day = key;
      if (counts.some(Boolean) || this.watch.zones.length) await this.#read(turn, start, known);
    } catch {
      // The strip above says that the service is away; it is asked again as it comes back.
    }
    if (turn === this.#turn) this.#draw();
  }

  /** What was found since; events come by themselves. */
  async #more() {
    const turn = this.#turn;
    const { start, end } = this.day;
    const first = Math.max(0, Math.floor((this.#until - LATE_MS - start) / MINUTE));
    this.#asked = Date.now();
    const until = store.now();
    try {
      const counts = await api.detectionCounts(this.camera, start + first * MINUTE, Math.min(end, until + MINUTE), MINUTE / 1000);
      if (turn !== this.#turn) return;
      this.#counts.splice(first, counts.length, ...counts);
      this.#until = until;
      this.#draw();
    } catch {
      // As above.
    }
  }

  /** The log has no other order than the newest first; it is read until the day's beginning, or what is known. */
  async #read(turn, start, known) {
    let before;
    this.#cut = false;
    for (let page = 0; page < PAGES; page += 1) {
      const events = await api.events({ camera: this.camera, before, limit: PAGE });
      if (turn !== this.#turn) return;
      this.#keep(events);
      const last = events.at(-1);
      if (events.length < PAGE || Date.parse(last.at) < start || last.id <= known) return;
      before = last.id;
    }
    this.#cut = true;
  }

  #draw() {
    const found = this.#counts.reduce((sum, n) => sum + n, 0);
    this.el.hidden = found === 0 && this.#events.size === 0;
    if (this.el.hidden || !this.strip) return;
    this.#drawBars();
    this.#drawEvents();
    const minutes = this.#counts.filter(Boolean).length;
    const words = [found ? `Something was found in ${count(found)} ${found === 1 ? "picture" : "pictures"}, in ${count(minutes)} ${minutes === 1 ? "minute" : "minutes"}` : null,
      this.#events.size ? `${count(this.#events.size)} zone ${this.#events.size === 1 ? "event" : "events"}${this.#cut ? " (the log is too long to show all)" : ""}` : null];
    setText(this.words, `${words.filter(Boolean).join("; ")}.`);
  }

  #drawBars() {
    const { from, to } = this.strip.view;
    const width = this.row.clientWidth || 600;
    const group = Math.max(1, Math.ceil((BAR_PX / width) * ((to - from) / MINUTE)));
    const sums = [];
    this.#counts.forEach((n, i) => { const g = Math.floor(i / group); sums[g] = (sums[g] ?? 0) + n; });
    const most = Math.max(1, ...sums);
    const x = (ms) => Math.min(1000, Math.max(0, ((ms - from) / (to - from)) * 1000));
    const bars = sums.map((n, g) => {
      const [left, right] = [x(this.day.start + g * group * MINUTE), x(this.day.start + (g + 1) * group * MINUTE)];
      // A single picture is seen, too.
      const top = 100 - Math.max(18, 100 * Math.sqrt(n / most));
      return n === 0 || right <= left ? "" : `M${left.toFixed(1)} 100V${top.toFixed(1)}H${right.toFixed(1)}V100Z`;
    });
    setAttr(this.bars, "d", bars.join(""));
  }

  #drawEvents() {
    const { from, to } = this.strip.view;
    const apart = (APART_PX / (this.row.clientWidth || 600)) * (to - from);
    const groups = [];
    for (const event of [...this.#events.values()].filter(({ ms }) => ms >= from && ms < to).sort((a, b) => a.ms - b.ms)) {
      const last = groups.at(-1);
      if (last && event.ms - last[0].ms < apart) last.push(event);
      else groups.push([event]);
    }
    // A mark that stands stays the same element: it may be about to be pressed.
    const key = JSON.stringify([from, to, groups.map((group) => group.map(({ id }) => id))]);
    if (key === this.events.dataset.key) return;
    this.events.dataset.key = key;
    const focused = document.activeElement?.dataset?.mark;
    const had = this.events.contains(document.activeElement);
    this.events.replaceChildren(...groups.map((group, i) => {
      const [first] = group, one = group.length === 1;
      const words = one ? `${clock(first.ms)}, ${kindWords(first.kind)}: ${first.detail}` : `${group.length} zone events from ${clockShort(first.ms)} on; the first: ${kindWords(first.kind)}, ${first.detail}`;
      return h("button", { class: `mark-event kind-${one ? KINDS[first.kind] : "many"}`, type: "button", title: words, "aria-label": `${words}. Play`, tabindex: i === 0 ? "0" : "-1",
        style: { left: `${((first.ms - from) / (to - from)) * 100}%` }, text: one ? "" : String(Math.min(99, group.length)),
        data: { testid: "mark", mark: first.id, kind: first.kind, at: first.at }, on: { click: () => this.onPlay(playFrom(first)) } });
    }));
    if (had) (this.events.querySelector(`[data-mark="${focused}"]`) ?? this.events.firstChild)?.focus({ preventScroll: true });
  }

  /** What was found then is played, too; by keyboard the strip above does it. */
  #press(event) {
    if (event.target.closest("button")) return;
    const { from, to } = this.strip.view, box = this.row.getBoundingClientRect();
    const ms = from + ((event.clientX - box.left) / box.width) * (to - from);
    if (ms <= store.now()) this.onPlay(ms);
  }

  /** One stop for Tab; arrows go from mark to mark. */
  #key(event) {
    const marks = [...this.events.children], at = marks.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: marks.length - 1 }[event.key];
    if (to === undefined || !marks[to]) return;
    event.preventDefault();
    marks[at].tabIndex = -1;
    marks[to].tabIndex = 0;
    marks[to].focus();
  }
}
