// Exporting a stretch of a camera's day as one file: the form below its strip, and the exports that were begun here, with
// how far each is. The browser's own download takes the file; this only asks for it and watches.

import * as api from "./api.js";
import { h, icon, setText } from "./dom.js";
import { bytes, clock, dateShort } from "./format.js";
import { store } from "./store.js";

const two = (number) => String(number).padStart(2, "0");
const timeOf = (ms) => { const at = new Date(ms); return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`; };

export class Exporter {
  /** `shown()` tells which {from, to} of the day the strip shows. */
  constructor({ camera, day, shown, scope }) {
    Object.assign(this, { camera, day });
    const time = (label, name) => {
      const input = h("input", { type: "time", step: "1", required: true, class: "input", data: { testid: `export-${name}` } });
      return [input, h("label", { class: "export-time" }, h("span", { text: label }), input)];
    };
    const [from, fromField] = time("From", "from");
    const [to, toField] = time("To", "to");
    Object.assign(this, { from, to });
    this.button = h("button", { class: "button", type: "submit", data: { testid: "export-start" } }, icon("download"), "Export");
    this.error = h("p", { class: "field-error", role: "alert", data: { testid: "export-error" } });
    this.list = h("ul", { class: "export-list", "aria-label": "Exports", data: { testid: "exports" } });
    const form = h("form", { class: "export-form", on: { submit: (event) => { event.preventDefault(); this.#start(); } } },
      fromField, toField, this.button);
    this.el = h("details", { class: "more export", data: { testid: "export" } },
      h("summary", { text: "Export as a file" }),
      h("p", { class: "hint", text: "One MP4 with the camera's own pictures, cut to the second. 00:00:00 as the end is midnight. What is not recorded stays a still picture; the list that can be taken beside the file tells why, and proves what the file is." }),
      form, this.error);
    const offer = () => { const range = shown(); this.from.value = timeOf(range.from); this.to.value = timeOf(range.to); };
    this.el.addEventListener("toggle", () => { if (this.el.open && this.from.value === "") offer(); });
    store.on("tick", () => this.#watch(), scope);
    this.rows = new Map(); // of exports by id
  }

  /** The instant of a wall clock's time on the day shown. */
  #instant(text) {
    const [hours, minutes, seconds = 0] = text.split(":").map(Number);
    const at = new Date(this.day.start);
    return at.setHours(hours, minutes, seconds, 0);
  }

  async #start() {
    const from = this.#instant(this.from.value);
    const to = /^00:00(:00)?$/.test(this.to.value) ? this.day.end : this.#instant(this.to.value);
    setText(this.error, "");
    this.button.disabled = true;
    try {
      const made = await api.addExport(this.camera, from, to);
      this.#row(made);
      this.#download(made);
    } catch (error) {
      setText(this.error, `Not exported: ${error.message}. ${error.hint ?? ""}`);
    } finally {
      this.button.disabled = false;
    }
  }

  /** Hands the file to the browser's downloads. */
  #download({ file_url: url, file_name: name }) {
    const link = h("a", { href: url, download: name, hidden: true });
    this.el.append(link);
    link.click();
    link.remove();
  }

  #row(made) {
    const start = Date.parse(made.start), gaps = made.gaps.length;
    const row = {
      made,
      note: h("span", { class: "muted", role: "status" }),
      bar: h("progress", { max: Math.max(1, made.bytes_expected), "aria-label": "How much of the file was made" }),
      again: h("button", { class: "link", type: "button", text: "Download again", hidden: true, on: { click: () => this.#download(made) } }),
      manifest: h("a", { href: made.manifest_url, download: `${made.file_name}.json`, text: "Manifest", hidden: true, data: { testid: "export-manifest" } }),
    };
    row.el = h("li", { data: { testid: "export-row", state: made.state } },
      h("span", { text: `${dateShort(start)}, ${clock(start)} to ${clock(Date.parse(made.end))}${gaps ? `, with ${gaps === 1 ? "a gap" : `${gaps} gaps`}` : ""}` }),
      row.bar, row.note, row.again, row.manifest,
      h("button", { class: "button quiet icon-only small", type: "button", "aria-label": "Cancel and forget this export", on: { click: () => this.#forget(row) } }, icon("close")));
    this.rows.set(made.id, row);
    if (!this.list.isConnected) this.el.append(this.list);
    this.list.prepend(row.el);
    this.#show(row, made);
  }

  #show(row, now) {
    row.el.dataset.state = now.state;
    const over = now.state === "done" || now.state === "failed";
    row.bar.hidden = over;
    row.bar.value = now.bytes_sent;
    row.again.hidden = !over;
    row.manifest.hidden = now.state !== "done";
    setText(row.note, now.state === "done" ? `${bytes(now.bytes_sent)}, complete`
      : now.state === "failed" ? `broke off: ${now.detail}`
        : `${bytes(now.bytes_sent)} of about ${bytes(now.bytes_expected)}`);
  }

  /** Each second, as long as an export here is of interest. */
  async #watch() {
    if (this.rows.size === 0 || this.watching) return;
    this.watching = true;
    try {
      const known = new Map((await api.exports()).map((one) => [one.id, one]));
      for (const [id, row] of this.rows) {
        if (known.has(id)) this.#show(row, known.get(id));
        else this.#drop(row);
      }
    } catch {
      // The service is away, which the page says elsewhere; the next second asks again.
    } finally {
      this.watching = false;
    }
  }

  async #forget(row) {
    this.#drop(row);
    // Forgotten meanwhile is what was wanted.
    await api.cancelExport(row.made.id).catch(() => null);
  }

  #drop(row) {
    this.rows.delete(row.made.id);
    row.el.remove();
  }
}
