// How much moved, as a thin track under the strip of one camera: one request for what the strip shows, and again when that
// changes or a segment has ended. Used by strip.js where a strip can be zoomed, so not on the wall.

import * as api from "./api.js";
import { setAttr, svg } from "./dom.js";
import { clock } from "./format.js";

/** From this level on, something moves: the server's words for it. */
const ACTIVE = 12;
const HIGHEST = 254;
/** What is known and still stays this high, so that it differs from what nobody knows. */
const LEAST = 10;
const SOON_MS = 300;
/** Not asked more often than this for news of today. */
const NEWS_MS = 5_000;

export class ActivityTrack {
  #camera;
  #name;
  #view = { from: 0, to: 1 };
  #data = null;
  #timer = null;
  #due = Infinity;
  #load = 0;

  constructor({ camera, name, on }) {
    [this.#camera, this.#name] = [camera, name];
    this.path = svg("path", { class: "activity-level" });
    this.el = svg("svg", { class: "activity-track", role: "img", preserveAspectRatio: "none", on,
      data: { testid: "activity", state: "loading" } }, this.path);
    this.#words();
  }

  end() {
    clearTimeout(this.#timer);
    this.#load += 1;
  }

  rename(name) {
    this.#name = name;
    this.#words();
  }

  /** Shows what is known at once, and asks for this view. */
  show(view) {
    if (view.from === this.#view.from && view.to === this.#view.to) return;
    this.#view = { ...view };
    this.#place();
    this.#ask(SOON_MS);
  }

  /** There may be news. */
  refresh() { this.#ask(NEWS_MS); }

  #ask(ms) {
    const due = Date.now() + ms;
    if (due >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#fetch(), ms);
  }

  async #fetch() {
    this.#due = Infinity;
    const load = ++this.#load;
    try {
      const data = await api.activity(this.#camera, this.#view.from, this.#view.to);
      if (load !== this.#load) return;
      this.#data = data;
      this.el.dataset.state = data.values.some((value) => value !== null) ? "ready" : "empty";
      this.#draw();
    } catch {
      // The strip says what is wrong with the server; here is only less to see.
      if (load === this.#load) this.el.dataset.state = "error";
    }
  }

  /** One step of a staircase for each value; holes where nothing is known. */
  #draw() {
    const steps = [];
    let open = false;
    this.#data.values.forEach((value, i) => {
      if (value === null) {
        if (open) steps.push(`V${HIGHEST}Z`);
        open = false;
        return;
      }
      steps.push(`${open ? "" : `M${i} ${HIGHEST}`}V${HIGHEST - Math.max(value, LEAST)}H${i + 1}`);
      open = true;
    });
    if (open) steps.push(`V${HIGHEST}Z`);
    setAttr(this.path, "d", steps.join(""));
    this.#place();
    this.#words();
  }

  /** Puts what was loaded over the view, also one that is not loaded yet. */
  #place() {
    if (this.#data === null) return;
    const { from, step } = this.#data;
    const { from: start, to: end } = this.#view;
    setAttr(this.el, "viewBox", `${(start - from) / step} 0 ${(end - start) / step} ${HIGHEST}`);
  }

  #words() {
    setAttr(this.el, "aria-label", `Activity of ${this.#name}: ${this.#data === null ? "loading" : this.#sum()}`);
  }

  #sum() {
    const { from, step, values } = this.#data;
    const known = values.filter((value) => value !== null);
    if (known.length === 0) return "nothing is known";
    const share = Math.round((known.filter((value) => value >= ACTIVE).length / known.length) * 100);
    const most = values.indexOf(known.reduce((a, b) => Math.max(a, b)));
    return `something moves in ${share} % of the recorded time, most at ${clock(from + most * step)}`;
  }
}
