// A camera's picture as programs see it: while a task has its stream sampled, each of those pictures with what was found in
// it, else the last keyframe (picture.js). What lies over the picture (boxes, zones) stands in `area`, which is exactly as
// large as the picture itself. Asks for nothing while the page is hidden or out of sight, or no task has anything sampled.

import * as api from "./api.js";
import { h, setAttr, setText } from "./dom.js";
import { clock, count } from "./format.js";
import { due, Found, LAG_MAX_MS } from "./match.js";
import { Picture } from "./picture.js";

const WAIT_S = 20;
// Five a second are enough to see what goes on.
const AT_MOST_EVERY_MS = 200;
const FOUND_EVERY_MS = 400;
const FOUND_FRAMES = 40;
const AGAIN_MS = 2000;

export class Sight {
  #pictures = []; // oldest first: {number, at, came, image, url}
  #found = new Found();
  #shown = null;
  #stream = null; // whose pictures are being asked for
  #stop = null; // AbortController of what is under way
  #visible = false;
  #asked = 0;
  #asking = false;
  #timer = null;
  #ended = false;
  #ratio = 16 / 9;

  constructor({ camera, watch, scope }) {
    Object.assign(this, { camera, watch });
    this.picture = new Picture(camera, { scope });
    this.frame = h("div", { class: "sight-frame", hidden: true, data: { testid: "sight-frame" } });
    this.boxes = h("div", { class: "sight-boxes", role: "img", "aria-label": "", hidden: true, data: { testid: "boxes" } });
    this.area = h("div", { class: "sight-area", data: { testid: "sight-area" } }, this.boxes);
    this.stamp = h("span", { class: "picture-stamp", hidden: true });
    this.el = h("div", { class: "sight", data: { testid: "sight" } }, this.picture.el, this.frame, this.area, this.stamp);
    const seen = new IntersectionObserver(([entry]) => { this.#visible = entry.isIntersecting; this.#plan(); }, { rootMargin: "100px 0px" });
    seen.observe(this.el);
    const resized = new ResizeObserver(() => this.#fit());
    resized.observe(this.el);
    const shown = () => this.#plan();
    document.addEventListener("visibilitychange", shown);
    this.picture.img.addEventListener("load", () => { if (this.frame.hidden) this.#shape(this.picture.img); });
    watch.on(() => this.#plan(), scope);
    scope.add(() => {
      this.#ended = true;
      seen.disconnect();
      resized.disconnect();
      document.removeEventListener("visibilitychange", shown);
      this.#plan();
    });
  }

  /** Takes the camera's latest status. */
  update(camera) {
    this.name = camera.name;
    this.picture.update(camera);
  }

  /** `listener()` is called when the picture's place or size has changed. */
  onFit(listener) { this.fitted = listener; }

  #shape({ naturalWidth: width, naturalHeight: height }) {
    if (width && height && Math.abs(width / height - this.#ratio) > 1e-3) { this.#ratio = width / height; this.#fit(); }
  }

  /** Lays the area over what `object-fit: contain` makes of the picture. */
  #fit() {
    const { clientWidth: w, clientHeight: hgt } = this.el;
    if (!w || !hgt) return;
    const width = Math.min(w, hgt * this.#ratio), height = width / this.#ratio;
    const { style } = this.area;
    Object.assign(style, { left: `${(w - width) / 2}px`, top: `${(hgt - height) / 2}px`, width: `${width}px`, height: `${height}px` });
    this.fitted?.(width, height);
  }

  /** Begins, goes on, or ends, as things are now. */
  #plan() {
    const stream = this.#ended || document.hidden || !this.#visible ? null : this.watch.stream;
    if (stream?.profile === this.#stream?.profile) { this.#stream = stream; return; }
    this.#stop?.abort();
    this.#clear();
    this.#stream = stream;
    if (!stream) return;
    this.#stop = new AbortController();
    this.#run(stream.profile, this.#stop.signal);
  }

  /** Back to the last keyframe. */
  #clear() {
    clearTimeout(this.#timer);
    this.#timer = null;
    for (const { url } of this.#pictures.splice(0)) URL.revokeObjectURL(url);
    this.#found = new Found();
    this.#shown = null;
    this.frame.hidden = this.boxes.hidden = this.stamp.hidden = true;
    this.frame.replaceChildren();
    this.picture.hold(false);
    this.#shape(this.picture.img);
  }

  async #run(profile, signal) {
    let after = null;
    while (!signal.aborted) {
      const began = Date.now();
      try {
        const response = await fetch(api.frameUrl(this.camera, profile, after, after === null ? null : WAIT_S), { signal, cache: "no-store" });
        if (response.status === 200) {
          const picture = await read(response);
          if (signal.aborted) { URL.revokeObjectURL(picture.url); return; }
          after = picture.number;
          this.#push(picture);
        } else {
          await response.text();
          if (response.status !== 204) throw new Error(`answered ${response.status}`);
          // Nothing new for so long: what stands still is not how it is now.
          if (after === null) await pause(AGAIN_MS, signal);
          else { this.#clear(); after = null; }
        }
      } catch {
        if (signal.aborted) return;
        this.#clear();
        after = null;
        await pause(AGAIN_MS, signal);
      }
      await pause(Math.max(0, began + AT_MOST_EVERY_MS - Date.now()), signal);
    }
  }

  #push(picture) {
    this.#pictures.push(picture);
    const old = (one) => one !== this.#shown && this.#pictures.length > 2 && picture.came - one.came > LAG_MAX_MS + 500;
    while (old(this.#pictures[0])) URL.revokeObjectURL(this.#pictures.shift().url);
    this.#ask();
    this.#show();
  }

  /** What a worker found lately; nobody is asked while no worker has a task. */
  async #ask() {
    if (this.#asking || !this.#stream?.worked || Date.now() - this.#asked < FOUND_EVERY_MS) return;
    const { signal } = this.#stop, { profile } = this.#stream;
    this.#asking = true;
    this.#asked = Date.now();
    try {
      const list = await api.detections(this.camera, this.#pictures[0].at - 1000, FOUND_FRAMES, signal);
      if (signal.aborted) return;
      this.#found.learn(list, this.#pictures, profile, Date.now());
      this.#show();
    } catch {
      // The pictures go on, and the next one asks again.
    } finally {
      this.#asking = false;
    }
  }

  #show() {
    clearTimeout(this.#timer);
    if (this.#pictures.length === 0) return;
    const now = Date.now(), lag = this.#found.lag(now);
    const wanted = due(this.#pictures, lag, now);
    // When the lag grows, time stands still for a moment, and does not go back.
    const picture = this.#shown?.number > wanted.number ? this.#shown : wanted;
    const next = this.#pictures[this.#pictures.indexOf(picture) + 1];
    if (next) this.#timer = setTimeout(() => this.#show(), Math.max(20, next.came + lag - now));
    if (picture !== this.#shown) {
      this.#shown = picture;
      this.#shape(picture.image);
      picture.image.alt = `Picture ${picture.number} of ${this.name}, as programs get it`;
      this.frame.replaceChildren(picture.image);
      this.frame.dataset.frame = picture.number;
      if (this.frame.hidden) { this.frame.hidden = this.stamp.hidden = false; this.picture.hold(true); }
    }
    this.#draw(picture, this.#found.at(picture, this.#stream.profile));
  }

  #draw(picture, found) {
    const all = found.flatMap(({ detections, exact, frame }) => detections.map((one) => ({ ...one, exact, frame })));
    const key = JSON.stringify([picture.number, all]);
    if (this.boxes.dataset.key === key) return;
    this.boxes.dataset.key = key;
    this.boxes.hidden = all.length === 0;
    this.boxes.replaceChildren(...all.map(box));
    setAttr(this.boxes, "aria-label", all.length === 0 ? "" : `Found: ${all.map(words).join(", ")}`);
    setText(this.stamp, `${clock(picture.at)}${all.length ? ` · ${count(all.length)} found` : ""}`);
  }
}

const words = ({ label, confidence, track_id: track }) => `${label} ${Math.round(confidence * 100)} %${track === undefined ? "" : `, ${track}`}`;

function box(one) {
  const [x, y, width, height] = one.box;
  const pct = (part) => `${part * 100}%`;
  return h("div", { class: "sight-box", data: { testid: "box", frame: one.frame, exact: one.exact ? "yes" : "no", below: y < 0.06 ? "yes" : "no" },
    style: { left: pct(x), top: pct(y), width: pct(width), height: pct(height) } },
  h("span", { class: x > 0.6 ? "sight-label right" : "sight-label", text: words(one) }));
}

/** A picture from its answer, decoded. */
async function read(response) {
  const url = URL.createObjectURL(await response.blob());
  const image = h("img", { src: url, alt: "", draggable: "false" });
  try {
    await image.decode();
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
  return { number: Number(response.headers.get("x-frame-number")), at: Date.parse(response.headers.get("x-frame-captured-at")), came: Date.now(), image, url };
}

/** Waits, and no longer than until `signal`. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => { clearTimeout(timer); signal.removeEventListener("abort", end); resolve(); };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
