// What looks at a camera's picture, as a panel of its page: each sampler with its tasks and their workers, and a form for
// another task. Used by camera.js.

import * as api from "./api.js";
import { showFacts } from "./cameras.js";
import { h, icon, setText } from "./dom.js";
import { complaint, fps, sentence } from "./format.js";
import { samplerBadge, samplerTrouble } from "./state.js";
import { store } from "./store.js";

const STREAM = { main: "Main stream", sub: "Sub stream" };

export class AiPanel {
  #shown = null;
  #facts = new Map(); // <dl> by stream

  constructor(watch, scope) {
    this.watch = watch;
    this.list = h("div", { class: "samplers", data: { testid: "samplers" } });
    this.trouble = h("p", { class: "field-error", role: "alert", data: { testid: "ai-error" } });
    this.form = new TaskForm(watch, () => { this.fold.open = false; this.fold.querySelector("summary").focus(); });
    this.fold = h("details", { class: "more", data: { testid: "task-fold" }, on: { toggle: () => { if (this.fold.open) this.form.type.focus(); } } },
      h("summary", { text: "Add a task" }), this.form.el);
    this.el = h("section", { class: "panel padded ai", "aria-labelledby": "ai-title", data: { testid: "ai" } },
      h("h2", { id: "ai-title", text: "AI" }), this.list, this.trouble, this.fold);
    watch.on(() => this.#show(), scope);
    this.#show();
  }

  #show() {
    const { tasks, error } = this.watch;
    if (tasks === null) {
      this.list.replaceChildren(h("p", { class: "muted", text: error ? `Tasks could not be listed. ${complaint(error)}` : "Loading …" }));
      return;
    }
    // What stands is left alone while only figures change: it may be about to be pressed, or have the focus.
    const lasting = ({ sampler, ...task }) => [task, this.watch.workerOf(task), sampler && [sampler.profile, sampler.state, samplerTrouble(sampler)]];
    const key = JSON.stringify(tasks.map(lasting));
    const groups = Map.groupBy(tasks, ({ sampler }) => sampler?.profile ?? "off");
    if (key === this.#shown) {
      for (const [profile, [{ sampler }]] of groups) if (sampler) showFacts(this.#facts.get(profile), figures(sampler));
      return;
    }
    this.#shown = key;
    const focused = document.activeElement?.closest?.("[data-act]");
    const [task, act] = this.list.contains(focused) ? [focused.dataset.task, focused.dataset.act] : [];
    this.list.replaceChildren(...(tasks.length ? ["main", "sub", "off"].filter((of) => groups.has(of)).map((of) => this.#group(of, groups.get(of))) : [emptyState()]));
    if (act) this.list.querySelector(`[data-act="${act}"][data-task="${task}"]`)?.focus();
  }

  #group(profile, tasks) {
    const rows = h("ul", { class: "tasks" }, tasks.map((task) => this.#task(task)));
    const { sampler } = tasks[0];
    if (!sampler) {
      return h("div", { class: "sampler", data: { testid: "sampler", profile } }, h("div", { class: "sampler-head" }, h("h3", { text: "Not sampled" }), samplerBadge("stopped")), rows);
    }
    const facts = h("dl", { class: "facts" });
    showFacts(facts, figures(sampler));
    this.#facts.set(profile, facts);
    const trouble = samplerTrouble(sampler);
    return h("div", { class: "sampler", data: { testid: "sampler", profile, state: sampler.state } },
      h("div", { class: "sampler-head" }, h("h3", { text: STREAM[profile] ?? profile }), samplerBadge(sampler.state)),
      trouble && h("p", { class: "sampler-trouble", text: sentence(trouble), data: { testid: "sampler-trouble" } }),
      facts, rows);
  }

  #task(task) {
    const worker = this.watch.workerOf(task);
    const name = `${task.type}, task ${task.id}`;
    const on = h("input", { type: "checkbox", class: "check", "aria-label": `Enabled: ${name}`, data: { act: "enable", task: task.id, testid: "task-enabled" },
      on: { change: () => this.#do(() => api.changeTask(task.id, { enabled: on.checked })) } });
    on.checked = task.enabled;
    const paused = store.cameras.get(task.camera_id)?.record_enabled === false ? "its camera is switched off" : "off";
    const who = !task.enabled ? "off" : !task.sampler ? paused : worker ? `worker ${worker}` : "no worker";
    return h("li", { class: "task", data: { testid: "task", task: task.id, worked: worker ? "yes" : "no" } }, on,
      h("div", { class: "task-words" }, h("strong", { text: task.type }), " ",
        h("span", { class: "muted", text: `${task.fps} fps, ${task.width} px` }),
        h("div", { class: task.enabled && task.sampler && !worker ? "task-worker task-alone" : "task-worker muted", text: who })),
      h("button", { class: "button quiet icon-only small", type: "button", "aria-label": `Remove ${name}`, data: { act: "remove", task: task.id, testid: "task-remove" },
        on: { click: () => { if (confirm(`Remove the task “${task.type}”? What it found stays in the index.`)) this.#do(() => api.removeTask(task.id)); } } }, icon("trash")));
  }

  async #do(act) {
    setText(this.trouble, "");
    try {
      await act();
    } catch (error) {
      setText(this.trouble, complaint(error));
    }
    this.#shown = null; // a box that was ticked in vain goes back
    await this.watch.load();
  }
}

const figures = (sampler) => [
  ["Asked for", fps(sampler.requested_fps), "the most that a task asks for"],
  ["Granted", fps(sampler.granted_fps), "what the limit for all samplers leaves it"],
  ["Measured", fps(sampler.measured_fps), "over the last seconds"],
  ["Width", `${sampler.width} px`, "of its pictures, at most"],
  ["Decoding", `${sampler.decode_ms.toFixed(1)} ms`, "for each frame that is decoded"],
  ...(sampler.dropped ? [["Left out", `${sampler.dropped} frames`, "because decoding was too slow"]] : []),
];

function emptyState() {
  return h("div", { class: "ai-empty", data: { testid: "ai-empty" } },
    h("p", { text: "No program looks at this camera's picture." }),
    h("ol", {},
      h("li", { text: "Add a task below: it says which pictures a program gets, and how often." }),
      h("li", {}, "Start a worker, a program that takes them. ", h("code", { text: "docs/workers.md" }), " has one that finds people and movement, and tells how to write your own."),
      h("li", { text: "Draw zones on the picture to be told who comes, stays or crosses." })));
}

/** What a new task asks for. */
class TaskForm {
  constructor(watch, done) {
    const field = (key, label, input, hint) => {
      input.id = `task-${key}`;
      const error = h("p", { class: "field-error", id: `task-${key}-error` });
      this.errors[key] = [input, error];
      input.setAttribute("aria-describedby", error.id);
      return h("div", { class: "field" }, h("label", { for: input.id, text: label }), input, hint && h("p", { class: "hint", text: hint }), error);
    };
    this.errors = {};
    const number = (value, min, max, step, testid) => h("input", { class: "input", type: "number", required: true, value, min, max, step, data: { testid } });
    this.type = h("input", { class: "input", type: "text", required: true, maxlength: 256, placeholder: "motion", list: "task-types", data: { testid: "task-type" } });
    const profile = h("select", { class: "input", data: { testid: "task-profile" } }, h("option", { value: "sub", text: "Sub (small)" }), h("option", { value: "main", text: "Main (full size)" }));
    const rate = number(5, 0.1, 30, "any", "task-fps"), width = number(640, 160, 3840, 1, "task-width");
    const add = h("button", { class: "button primary", type: "submit", text: "Add the task", data: { testid: "task-add" } });
    const other = h("p", { class: "field-error", role: "alert" });
    this.el = h("form", { class: "task-form", novalidate: true, on: { submit: async (event) => {
      event.preventDefault();
      for (const [input, error] of Object.values(this.errors)) { input.removeAttribute("aria-invalid"); setText(error, ""); }
      setText(other, "");
      add.disabled = true;
      try {
        await api.addTask({ camera_id: watch.camera, type: this.type.value.trim(), profile: profile.value, fps: Number(rate.value), width: Number(width.value) });
        this.type.value = "";
        done();
        await watch.load();
      } catch (error) {
        const [input, place] = this.errors[error.field] ?? [null, other];
        setText(place, complaint(error, input));
        input?.setAttribute("aria-invalid", "true");
        input?.focus();
      } finally {
        add.disabled = false;
      }
    } } },
    field("type", "What the program does", this.type, "A worker takes the tasks of the types that it knows."),
    field("profile", "Stream", profile, "The main one, where the camera has no other."),
    h("div", { class: "task-pair" }, field("fps", "Pictures a second", rate), field("width", "Width in pixels", width)),
    h("datalist", { id: "task-types" }, ["motion", "people", "vehicles"].map((value) => h("option", { value }))), other, add);
  }
}
