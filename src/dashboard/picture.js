// The last picture of a camera, kept fresh only while somebody can see it or could by scrolling a little: at most one
// request per 5 s, none while the tab or the picture is hidden or nothing has changed. Used by the wall's cards and the camera page.

import { snapshotUrl } from "./api.js";
import { h, icon } from "./dom.js";

const AT_MOST_EVERY_MS = 5000;

export class Picture {
  #shown = null;
  #wanted = null;
  #visible = false;
  #busy = false;
  #last = 0;
  #timer = null;
  #url = null;
  #ended = false;
  #held = false;

  constructor(camera, { scope }) {
    this.camera = camera;
    this.img = h("img", { alt: "", hidden: true, decoding: "async", data: { testid: "picture" } });
    this.words = h("span", { text: "No picture yet" });
    this.empty = h("div", { class: "picture-empty" }, icon("camera"), this.words);
    this.el = h("div", { class: "picture", data: { state: "empty" } }, this.img, this.empty);
    const seen = new IntersectionObserver(([entry]) => { this.#visible = entry.isIntersecting; this.#plan(); }, { rootMargin: "400px 0px" });
    seen.observe(this.el);
    const shown = () => this.#plan();
    document.addEventListener("visibilitychange", shown);
    scope.add(() => {
      this.#ended = true;
      seen.disconnect();
      document.removeEventListener("visibilitychange", shown);
      clearTimeout(this.#timer);
      if (this.#url) URL.revokeObjectURL(this.#url);
    });
  }

  /** Takes the camera's latest status. */
  update({ name, status }) {
    const lively = status.state === "recording";
    this.img.alt = lively ? `Latest picture of ${name}` : `Last picture of ${name}`;
    this.el.classList.toggle("old", !lively);
    this.words.textContent = status.state === "disabled" ? "Recording is switched off" : status.state === "idle" ? "Not recorded now" : status.state === "connecting" ? "Waiting for the first picture" : "No picture yet";
    this.#wanted = status.picture;
    this.#plan();
  }

  /** While something else is shown in its place, nothing is loaded. */
  hold(held) {
    this.#held = held;
    this.#plan();
  }

  #plan() {
    if (this.#ended || this.#held || this.#busy || this.#timer !== null || !this.#visible || document.hidden) return;
    if (this.#wanted === null || this.#wanted === undefined || this.#wanted === this.#shown) return;
    const wait = Math.max(0, this.#last + AT_MOST_EVERY_MS - Date.now());
    this.#timer = setTimeout(() => { this.#timer = null; if (this.#visible && !this.#held && !document.hidden) this.#load(); }, wait);
  }

  async #load() {
    const number = this.#wanted;
    this.#busy = true;
    this.#last = Date.now();
    try {
      // `no-cache` asks with the ETag, so a picture that did not change costs a 304.
      const response = await fetch(snapshotUrl(this.camera), { cache: "no-cache" });
      if (response.ok) await this.#show(await response.blob(), number);
    } catch {
      // The next change of `picture` tries again; the header says if the server is away.
    } finally {
      this.#busy = false;
      this.#plan();
    }
  }

  async #show(blob, number) {
    const url = URL.createObjectURL(blob);
    const next = new Image();
    next.src = url;
    await next.decode();
    if (this.#ended) return URL.revokeObjectURL(url);
    this.img.src = url;
    this.img.hidden = false;
    this.empty.hidden = true;
    this.el.dataset.state = "ready";
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = url;
    this.#shown = number;
  }
}
