// Adding a camera and changing one: a dialog with the fields of fields.js, a connection test, and the server's reasons
// at the field they name. Opened by app.js for `#/add` and `#/cameras/<id>/settings`.

import * as api from "./api.js";
import { h, icon, setAttr, setText, toast } from "./dom.js";
import { sentence } from "./format.js";
import { FIELDS, layout, slug, vendorNeeds } from "./fields.js";
import { probeReport } from "./probe.js";
import { Schedule } from "./schedule.js";
import { store } from "./store.js";

export class CameraForm {
  #fields = new Map(); // key → { spec, row, input, error }
  #probe = null; // AbortController of a test that runs

  /** `camera`: the one to change, or null to add one. `leave()` goes back to where the form was opened. */
  constructor(camera, leave) {
    this.camera = camera;
    this.leave = leave;
    this.top = h("div", { class: "form-error", role: "alert", tabindex: "-1", hidden: true, data: { testid: "form-error" } });
    this.needs = h("p", { class: "needs" });
    this.groups = Object.fromEntries(["camera", "connection", "recording", "more"].map((name) => [name, h("div", { class: `fields fields-${name}` })]));
    this.more = h("details", { class: "more" }, h("summary", { text: "More connection settings" }), this.groups.more);
    this.report = h("div", { class: "probe", role: "status", data: { testid: "probe-report" } });
    this.test = h("button", { class: "button", type: "button", data: { testid: "probe" }, on: { click: () => this.#test() } }, "Test connection");
    this.save = h("button", { class: "button primary", type: "submit", data: { testid: "save" } }, camera ? "Save changes" : "Add camera");
    for (const spec of FIELDS) if (!spec.creation || !camera) this.#fields.set(spec.key, this.#field(spec));
    const form = h("form", { class: "form", novalidate: true, on: { submit: (event) => { event.preventDefault(); this.#submit(); } } },
      this.top,
      this.#group("Camera", this.groups.camera),
      this.#group("Connection", this.needs, this.groups.connection, this.more, h("div", { class: "test-row" }, this.test), this.report),
      this.#group("Recording", this.groups.recording),
      camera ? this.#danger() : null);
    this.el = h("dialog", { class: "sheet", "aria-labelledby": "form-title", data: { testid: "camera-form" } },
      h("div", { class: "sheet-head" }, h("h2", { id: "form-title", text: camera ? `Settings of ${camera.name}` : "Add a camera" }),
        h("button", { class: "button quiet icon-only", type: "button", "aria-label": "Close", on: { click: () => this.el.close() } }, icon("close"))),
      h("div", { class: "sheet-body" }, form),
      h("div", { class: "sheet-foot" }, h("button", { class: "button", type: "button", text: "Cancel", on: { click: () => this.el.close() } }), this.save));
    form.id = "camera-form";
    this.save.setAttribute("form", form.id);
    this.el.addEventListener("close", () => { this.#probe?.abort(); this.el.remove(); this.leave(); });
    this.#arrange();
    document.body.append(this.el);
    this.el.showModal();
    this.#fields.get("name").input.focus();
  }

  close() { if (this.el.open) this.el.close(); }

  #group(title, ...children) {
    return h("section", { class: "form-group" }, h("h3", { text: title }), ...children);
  }

  #field(spec) {
    const id = `field-${spec.key}`;
    const known = this.camera?.[spec.key] ?? (this.camera ? null : spec.initial ?? null);
    const common = { id, name: spec.key, class: "input", "aria-describedby": `${id}-hint ${id}-error`, data: { testid: id } };
    let input, week = null;
    if (spec.kind === "select") {
      const options = spec.options.some(([value]) => value === known) || known === null ? spec.options : [...spec.options, [known, known]];
      input = h("select", common, options.map(([value, text]) => h("option", { value, text })));
      input.value = known ?? spec.initial;
    } else if (spec.kind === "schedule") {
      week = new Schedule(known ?? [], id, () => this.#mark(field, null));
      input = week.grid;
    } else if (spec.kind === "check") {
      input = h("input", { ...common, type: "checkbox", class: "check" });
      input.checked = known ?? true;
    } else {
      const type = { number: "number", password: "password" }[spec.kind] ?? "text";
      input = h("input", { ...common, type, min: spec.min, max: spec.max, autocomplete: spec.kind === "password" ? "new-password" : "off",
        autocapitalize: spec.key === "name" ? "words" : "none", spellcheck: "false",
        inputmode: spec.kind === "url" ? "url" : spec.kind === "number" ? "numeric" : null,
        list: spec.kind === "zone" ? `${id}-list` : null,
        placeholder: spec.kind === "password" && this.camera?.has_password ? "unchanged" : spec.kind === "zone" ? store.system?.time_zone : spec.placeholder });
      input.value = spec.scale && known !== null ? known / spec.scale : known ?? "";
      if (spec.scale) input.step = "any";
    }
    const error = h("p", { class: "field-error", id: `${id}-error`, data: { testid: `${id}-error` } });
    const hint = h("p", { class: "hint", id: `${id}-hint`, text: spec.hint ?? "", hidden: !spec.hint });
    const required = h("span", { class: "required", text: "needed", hidden: true });
    const label = h(week ? "p" : "label", week ? { class: "label", id: `${id}-label` } : { for: id }, spec.label, spec.unit ? h("span", { class: "muted", text: ` (${spec.unit})` }) : null, required);
    const row = h("div", { class: `field field-${spec.kind}`, data: { field: spec.key } },
      ...(spec.kind === "check" ? [h("div", { class: "check-row" }, input, label)] : week ? [label, hint, week.el] : [label, input]), ...(week ? [] : [hint]), error);
    const field = { spec, row, input, error, required, week };
    if (spec.kind === "zone") row.append(h("datalist", { id: `${id}-list` }, Intl.supportedValuesOf("timeZone").map((zone) => h("option", { value: zone }))));
    if (spec.kind === "password" && this.camera?.has_password) {
      field.clear = h("input", { type: "checkbox", class: "check", id: `${id}-clear`, on: { change: () => { input.disabled = field.clear.checked; if (field.clear.checked) input.value = ""; } } });
      row.append(h("div", { class: "check-row" }, field.clear, h("label", { for: field.clear.id, text: "Remove the stored password" })));
    }
    input.addEventListener("input", () => { this.#mark(field, null); if (spec.key === "name") this.#suggestId(); if (spec.key === "id") this.idTouched = true; });
    if (spec.key === "vendor" || spec.key === "record_mode") input.addEventListener("change", () => this.#arrange());
    return field;
  }

  #suggestId() {
    const id = this.#fields.get("id");
    if (id && !this.idTouched) { id.input.value = slug(this.#fields.get("name").input.value); this.#mark(id, null); }
  }

  /** Puts the fields where the chosen make needs them, and hides those that mean nothing in the chosen mode. */
  #arrange() {
    const mode = this.#fields.get("record_mode").input.value;
    for (const { spec, row } of this.#fields.values()) if (spec.modes) row.hidden = !spec.modes.includes(mode);
    const vendor = this.#fields.get("vendor").input.value;
    const places = layout(vendor);
    const focused = document.activeElement;
    setText(this.needs, vendorNeeds(vendor));
    for (const [group, el] of Object.entries(this.groups)) {
      el.append(...places[group].map((key) => this.#fields.get(key)?.row).filter(Boolean));
    }
    for (const [key, field] of this.#fields) field.required.hidden = key !== places.required && key !== "id";
    if (this.el?.contains(focused)) focused.focus();
  }

  #value({ spec, input, week }) {
    if (week) return week.rows();
    if (spec.kind === "check") return input.checked;
    if (spec.kind === "number") return input.value.trim() === "" ? null : spec.scale ? Math.round(Number(input.value) * spec.scale) : Number(input.value);
    const text = spec.kind === "password" ? input.value : input.value.trim();
    return text === "" && (spec.nullable || spec.kind === "password") ? null : text;
  }

  /** For adding and for a test: what was filled in. */
  #all(wanted = () => true) {
    const body = {};
    for (const [key, field] of this.#fields) {
      const value = this.#value(field);
      if (wanted(field.spec) && value !== null && value !== "") body[key] = value;
    }
    return body;
  }

  /** For a test: of a known camera its id, for the server then knows the stored password. */
  #asked() {
    const body = this.#all((spec) => spec.connection);
    if (!this.camera) return body;
    body.id = this.camera.id;
    if (this.#fields.get("password").clear?.checked) body.password = null;
    return body;
  }

  /** For changing: only what differs from the camera as it is. */
  #changed() {
    const body = {};
    for (const [key, field] of this.#fields) {
      const value = this.#value(field);
      if (key === "password") {
        if (field.clear?.checked) body.password = null;
        else if (value !== null) body.password = value;
      } else if (JSON.stringify(value) !== JSON.stringify(this.camera[key])) body[key] = value;
    }
    return body;
  }

  /** What can be said without asking the server. */
  #complain() {
    for (const [key, field] of this.#fields) {
      const value = field.spec.kind === "number" ? this.#value(field) : 0;
      if (!Number.isInteger(value) && !(field.spec.nullable && value === null)) return [key, field.spec.scale ? "Enter a number." : "Enter a whole number."];
      const complaint = field.week?.complaint();
      if (complaint) return [key, complaint];
    }
    if (this.camera) return null;
    if (this.#value(this.#fields.get("id")) === "") return ["id", "Give the camera an id, for example “front”."];
    if (this.#value(this.#fields.get("main_url")) === null && this.#value(this.#fields.get("address")) === null) {
      const { required } = layout(this.#fields.get("vendor").input.value);
      return [required, required === "main_url" ? "Enter the RTSP address, for example rtsp://192.0.2.7/stream1." : "Enter the camera's IP address or host name."];
    }
    return null;
  }

  async #submit() {
    this.#clearErrors();
    const complaint = this.#complain();
    if (complaint) return this.#showError({ field: complaint[0], message: complaint[1] });
    const body = this.camera ? this.#changed() : this.#all();
    if (this.camera && Object.keys(body).length === 0) return this.close();
    this.#busy(this.save, true);
    try {
      const saved = this.camera ? await api.changeCamera(this.camera.id, body) : await api.addCamera(body);
      store.learn(saved);
      toast(this.camera ? `${saved.name}: saved` : `${saved.name} was added and connects now`);
      this.close();
    } catch (error) {
      this.#showError(error);
    } finally {
      this.#busy(this.save, false);
    }
  }

  async #test() {
    if (this.#probe) { this.#probe.abort(); return; }
    this.#clearErrors();
    const touched = this.camera !== null && Object.keys(this.#changed()).some((key) => this.#fields.get(key).spec.connection);
    const secretMissing = touched && this.camera.has_password && !("password" in this.#changed());
    const running = new AbortController();
    this.#probe = running;
    setText(this.test, "Stop the test");
    this.report.replaceChildren(h("p", { class: "probe-wait" }, h("span", { class: "spinner small", "aria-hidden": "true" }), `Connecting and waiting for a picture; this takes up to ${this.#value(this.#fields.get("connect_seconds")) ?? 15} seconds …`));
    try {
      const report = this.camera && !touched
        ? await api.probeSaved(this.camera.id, running.signal)
        : await api.probe(this.#asked(), running.signal);
      this.report.replaceChildren(probeReport(report, secretMissing && report.reason === "unauthorised"
        ? "The stored password is sent only to the address it was stored for. For another one, type the password." : null));
      this.report.scrollIntoView({ block: "nearest" });
    } catch (error) {
      this.report.replaceChildren();
      if (error.name !== "AbortError") this.#showError(error);
    } finally {
      this.#probe = null;
      setText(this.test, "Test again");
    }
  }

  #busy(button, busy) {
    button.disabled = busy;
    setAttr(button, "aria-busy", busy ? "true" : null);
  }

  #clearErrors() {
    this.top.hidden = true;
    for (const field of this.#fields.values()) this.#mark(field, null);
  }

  #mark(field, text, hint = null) {
    setAttr(field.input, "aria-invalid", text === null ? null : "true");
    field.error.replaceChildren(...(text === null ? [] : [h("strong", { text }), hint ? ` ${hint}` : ""]));
  }

  #showError(error) {
    // A row of the schedule is named like `schedule[2].start`.
    const key = error.field?.split("[")[0];
    const field = key ? this.#fields.get(key) : null;
    // The server names the field in front of its reason, for those who read it without a form.
    const said = field && error.message.startsWith(`${key}: `) ? error.message.slice(key.length + 2) : error.message;
    const message = sentence(said), hint = error.hint ? sentence(error.hint) : null;
    if (field) {
      this.#mark(field, message, hint);
      if (this.groups.more.contains(field.row)) this.more.open = true;
      field.row.hidden = false;
      field.input.focus();
      return;
    }
    this.top.hidden = false;
    this.top.replaceChildren(h("strong", { text: error.field ? `${error.field}: ${message}` : message }), hint ? ` ${hint}` : "");
    this.top.focus();
  }

  #danger() {
    const ask = h("button", { class: "button danger", type: "button", data: { testid: "remove" }, on: { click: () => this.#confirmRemoval() } }, icon("trash"), "Remove camera …");
    return h("section", { class: "form-group danger-zone" }, h("h3", { text: "Remove" }), h("p", { class: "hint", text: "Ends the recording of this camera. What is recorded stays." }), ask);
  }

  #confirmRemoval() {
    const { id, name } = this.camera;
    const problem = h("p", { class: "field-error", role: "alert" });
    const remove = h("button", { class: "button danger", type: "button", text: "Remove camera", data: { testid: "confirm-remove" } });
    const dialog = h("dialog", { class: "confirm", "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" },
      h("h2", { id: "confirm-title", text: `Remove ${name}?` }),
      h("p", { id: "confirm-text" }, "Recording stops and the camera's settings and password are forgotten. ", h("strong", { text: "The footage stays" }), ` on disk, in the directory ${id}, and in the index.`),
      problem,
      h("div", { class: "confirm-buttons" }, h("button", { class: "button", type: "button", autofocus: true, text: "Keep camera", on: { click: () => dialog.close() } }), remove));
    remove.addEventListener("click", async () => {
      this.#busy(remove, true);
      // Before the call: the stream may say that the camera is gone before the call has its answer.
      this.removed = true;
      try {
        await api.removeCamera(id);
        dialog.close();
        this.close();
        store.forget(id);
        toast(`${name} was removed; its footage stays`);
      } catch (error) {
        this.removed = false;
        setText(problem, `${error.message} ${error.hint ?? ""}`);
        this.#busy(remove, false);
      }
    });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }
}
