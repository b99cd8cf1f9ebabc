// The zones of a camera's picture as a panel of its page: the list, and the form of one that is drawn or changed. Drawing
// itself is outline.js; every point can also be typed. Used by camera.js.

import * as api from "./api.js";
import { h, icon, setAttr, setText, toast } from "./dom.js";
import { complaint } from "./format.js";
import { Outline } from "./outline.js";
import { least, most, point } from "./shapes.js";

const SHOWN = "watchkeeper.zones";
const KINDS = { region: "Region", line: "Line" };
const ASKS = {
  region: "Press on the picture for each corner. Press the first corner again, or Enter, to close it; Escape gives up.",
  line: "Press where the line begins, and where it ends. The arrow shows which way is forward.",
};
const DRAWN = {
  region: "Drag a corner to move it, or a small dot to bend an edge; Delete takes a corner away, arrow keys move it.",
  line: "Drag an end to move it, or move it with the arrow keys.",
};

function remembered() {
  try { return localStorage.getItem(SHOWN) !== "no"; } catch { return true; }
}

export class Zones {
  #listed = null;
  #bad = {}; // places of messages by field

  constructor({ watch, sight, scope }) {
    this.watch = watch;
    this.outline = new Outline(sight, { changed: () => this.#drawn(), cancelled: () => this.#end() });
    const shown = h("input", { type: "checkbox", class: "check", data: { testid: "zones-shown" }, on: { change: () => {
      try { localStorage.setItem(SHOWN, shown.checked ? "yes" : "no"); } catch { /* not remembered then */ }
      this.#show();
    } } });
    shown.checked = remembered();
    this.shown = shown;
    this.toggle = h("label", { class: "check-row" }, shown, "Over the picture");
    const draw = (kind) => h("button", { class: "button small", type: "button", data: { testid: `draw-${kind}` }, on: { click: () => this.#begin({ kind, points: [], closed: false, id: null }, {}) } }, icon("plus"), KINDS[kind]);
    this.buttons = h("div", { class: "zone-buttons" }, draw("region"), draw("line"));
    this.list = h("ul", { class: "zone-list", data: { testid: "zones" } });
    this.place = h("div", {});
    this.el = h("section", { class: "panel padded zones", "aria-labelledby": "zones-title", data: { testid: "zones-panel" } },
      h("div", { class: "panel-head flush" }, h("h2", { id: "zones-title", text: "Zones" }), this.toggle, this.buttons), this.place, this.list);
    watch.on(() => this.#show(), scope);
    this.#show();
  }

  #show() {
    const { zones, tasks } = this.watch;
    this.outline.show(this.shown.checked ? zones : []);
    this.toggle.hidden = zones.length === 0;
    const key = JSON.stringify([zones, tasks === null, this.outline.draft?.id]);
    if (key === this.#listed) return;
    this.#listed = key;
    const none = tasks === null ? "Loading …" : "None yet. Draw a region to be told who comes in, goes and stays, or a line to be told who crosses it. A worker must find something first.";
    this.list.replaceChildren(...(zones.length ? zones.map((zone) => this.#row(zone)) : [h("li", { class: "muted", text: none })]));
  }

  #row(zone) {
    const { id, name, kind, points, labels, min_confidence: sure, confirm_frames: confirm, dwell_seconds: dwell } = zone;
    const shape = kind === "line" ? "Line" : `Region with ${points.length} corners`;
    const counts = `${labels.length ? labels.join(", ") : "everything"} from ${Math.round(sure * 100)} % on${confirm === 1 ? "" : `, in ${confirm} pictures in a row`}`;
    return h("li", { class: "zone", data: { testid: "zone", zone: id, kind } },
      h("div", { class: "zone-words" }, h("strong", { text: name }), h("div", { class: "muted", text: `${shape}: ${counts}${dwell ? `; tells who stays ${dwell} s` : ""}` })),
      h("button", { class: "button small", type: "button", text: "Change", "aria-label": `Change the zone ${name}`, data: { testid: "zone-change" },
        on: { click: () => this.#begin({ kind, points: points.map((one) => [...one]), closed: true, id }, zone) } }),
      h("button", { class: "button quiet icon-only small", type: "button", "aria-label": `Remove the zone ${name}`, data: { testid: "zone-remove" }, on: { click: () => this.#remove(zone) } }, icon("trash")));
  }

  async #remove({ id, name }) {
    if (!confirm(`Remove the zone “${name}”? What it told of stays in the log.`)) return;
    if (this.outline.draft?.id === id) this.#end();
    try {
      await api.removeZone(this.watch.camera, id);
    } catch (error) {
      toast(complaint(error));
    }
    await this.watch.load();
  }

  #begin(draft, zone) {
    this.outline.edit(draft);
    this.#form(draft, zone);
    this.#drawn();
    this.buttons.hidden = this.list.inert = true;
    this.outline.sight.el.scrollIntoView({ block: "nearest" });
    // Not to a field: on a phone its keyboard would cover the picture.
    this.ask.focus({ preventScroll: true });
  }

  #end() {
    const { draft } = this.outline;
    this.outline.edit(null);
    this.place.replaceChildren();
    this.buttons.hidden = this.list.inert = false;
    this.#show();
    (this.list.querySelector(`[data-zone="${draft?.id}"] [data-testid=zone-change]`) ?? this.buttons.firstChild).focus({ preventScroll: true });
  }

  #form({ kind, id }, zone) {
    this.#bad = {};
    const field = (name, label, input, hint) => {
      input.name = name;
      input.id = `zone-${name}`;
      const error = h("p", { class: "field-error", id: `zone-${name}-error`, role: "alert", data: { testid: `zone-${name}-error` } });
      this.#bad[name] = [input, error];
      input.setAttribute("aria-describedby", error.id);
      return h("div", { class: "field" }, h("label", { for: input.id, text: label }), input, hint && h("p", { class: "hint", text: hint }), error);
    };
    const input = (value, extra) => h("input", { class: "input", value, data: {}, ...extra });
    const number = (value, extra) => input(value, { type: "number", ...extra });
    const percent = Math.round((zone.min_confidence ?? 0.5) * 100);
    this.ask = h("p", { class: "hint zone-ask", role: "status", tabindex: "-1", data: { testid: "zone-ask" } });
    this.wrong = h("p", { class: "form-error", role: "alert", tabindex: "-1", hidden: true, data: { testid: "zone-error" } });
    this.numbers = h("div", { class: "zone-points" });
    this.save = h("button", { class: "button primary", type: "submit", text: "Save the zone", data: { testid: "zone-save" } });
    this.form = h("form", { class: "zone-form", novalidate: true, "aria-label": id === null ? `A new ${KINDS[kind].toLowerCase()}` : `Change ${zone.name}`, data: { testid: "zone-form" }, on: {
      submit: (event) => { event.preventDefault(); this.#save(); },
      keydown: (event) => { if (event.key === "Escape") { event.stopPropagation(); this.#end(); } } } },
    this.ask, this.wrong,
    h("div", { class: "zone-fields" },
      field("name", "Name", input(zone.name ?? "", { type: "text", required: true, maxlength: 256, placeholder: kind === "line" ? "gate" : "porch" })),
      field("labels", "What counts", input((zone.labels ?? []).join(", "), { type: "text", placeholder: "person, car" }), "Labels of the worker. Empty: everything."),
      field("min_confidence", "At least so sure (%)", number(percent, { min: 0, max: 100, step: 1 })),
      field("confirm_frames", "Pictures in a row", number(zone.confirm_frames ?? 2, { min: 1, max: 100, step: 1 }), "So many, before it counts."),
      kind === "region" && field("dwell_seconds", "Tell who stays (seconds)", number(zone.dwell_seconds ?? "", { min: 1, max: 86400, step: 1 }), "Empty: nobody.")),
    h("details", { class: "more", data: { testid: "zone-numbers" } }, h("summary", { text: kind === "line" ? "Ends as numbers" : "Corners as numbers" }), h("p", { class: "hint", text: "In percent of the picture, from its left and from its top." }), this.numbers),
    h("div", { class: "zone-buttons" }, this.save,
      kind === "line" ? h("button", { class: "button", type: "button", text: "Turn the arrow round", data: { testid: "zone-turn" }, on: { click: () => { this.outline.set({ points: this.outline.draft.points.toReversed(), bad: false }); this.#drawn(); } } }) : null,
      h("button", { class: "button quiet", type: "button", text: "Cancel", data: { testid: "zone-cancel" }, on: { click: () => this.#end() } })));
    this.place.replaceChildren(this.form);
  }

  /** The draft has changed. */
  #drawn() {
    const { kind, points, closed } = this.outline.draft;
    setText(this.ask, closed ? DRAWN[kind] : ASKS[kind]);
    this.wrong.hidden = true;
    this.#numbers(kind, points);
  }

  /** Each point as two fields, in percent; what is being typed in stays as it is. */
  #numbers(kind, points) {
    const words = (i) => (kind === "line" ? ["Start", "End"][i] : `Corner ${i + 1}`);
    const field = (i, axis) => {
      const el = h("input", { class: "input", type: "number", min: 0, max: 100, step: "any", "aria-label": `${words(i)}, ${axis ? "from the top" : "from the left"}, in percent`, data: { testid: `zone-${"xy"[axis]}-${i}` } });
      el.addEventListener("input", () => {
        const value = Number(el.value), list = this.outline.draft.points;
        if (el.value === "" || !(value >= 0 && value <= 100)) return;
        const [x, y] = list[i];
        list[i] = axis ? point(x, value / 100) : point(value / 100, y);
        this.outline.set({ bad: false });
        this.wrong.hidden = true;
      });
      return el;
    };
    const rows = [...this.numbers.querySelectorAll(".zone-point")];
    if (rows.length !== points.length || !this.numbers.firstChild) {
      const add = h("button", { class: "button small", type: "button", text: kind === "line" ? "Add an end" : "Add a corner", data: { testid: "zone-add-point" }, on: { click: () => this.#add() } });
      add.hidden = points.length >= most(kind);
      this.numbers.replaceChildren(...points.map((_, i) => h("div", { class: "zone-point" }, h("span", { text: words(i) }), field(i, 0), "%", field(i, 1), "%",
        h("button", { class: "button quiet icon-only small", type: "button", "aria-label": `Take ${words(i)} away`, hidden: kind === "line", on: { click: () => this.#take(i) } }, icon("close")))), add);
    }
    [...this.numbers.querySelectorAll("input")].forEach((el, n) => {
      const value = String(Math.round(points[n >> 1][n & 1] * 1e4) / 100);
      if (el !== document.activeElement) el.value = value;
    });
  }

  /** A point for those who type: somewhere in the picture, to be put right by its numbers. */
  #add() {
    const { kind, points } = this.outline.draft;
    const start = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]];
    const list = [...points, kind === "line" ? [[0.25, 0.5], [0.75, 0.5]][points.length] : start[points.length] ?? point(0.5, 0.5)];
    this.outline.set({ points: list, closed: list.length >= least(kind), bad: false });
    this.#drawn();
    this.numbers.querySelector(`[data-testid="zone-x-${list.length - 1}"]`).focus();
  }

  #take(i) {
    const points = this.outline.draft.points.toSpliced(i, 1);
    this.outline.set({ points, closed: points.length >= least("region"), bad: false });
    this.#drawn();
  }

  async #save() {
    const { draft } = this.outline;
    const { kind, points, id } = draft;
    for (const [input, place] of Object.values(this.#bad)) { setText(place, ""); setAttr(input, "aria-invalid", null); }
    this.wrong.hidden = true;
    if (points.length < least(kind)) return this.#refuse(kind === "line" ? "A line needs a start and an end." : "A region needs three corners at least.");
    const value = (name) => this.form.elements[name]?.value.trim() ?? "";
    const body = { name: value("name"), kind, points, labels: value("labels").split(",").map((label) => label.trim()).filter(Boolean),
      min_confidence: Number(value("min_confidence")) / 100, confirm_frames: Number(value("confirm_frames")), dwell_seconds: value("dwell_seconds") === "" ? null : Number(value("dwell_seconds")) };
    this.save.disabled = true;
    try {
      if (id === null) await api.addZone(this.watch.camera, body);
      else await api.changeZone(this.watch.camera, id, body);
      await this.watch.load();
      if (this.outline.draft === draft) this.#end();
    } catch (error) {
      const [input, place] = this.#bad[error.field?.replace(/\[.*/, "")] ?? [];
      if (!place) return this.#refuse(complaint(error), error.field === "points");
      setText(place, complaint(error, input));
      setAttr(input, "aria-invalid", "true");
      input.focus();
    } finally {
      this.save.disabled = false;
    }
  }

  /** What is wrong with the drawing is said right below the picture, where it is put right. */
  #refuse(text, bad = false) {
    if (bad) this.outline.set({ bad: true });
    this.wrong.hidden = false;
    setText(this.wrong, text);
    this.wrong.focus({ preventScroll: true });
    this.outline.sight.el.scrollIntoView({ block: "start" });
  }
}
