// What looks at a camera's picture: its tasks with what samples for them, the workers that have them, and its zones. One for
// each camera page; told of by `change`. A camera without tasks is asked about once, and again only when something may have
// been missed: nothing is polled for it.

import * as api from "./api.js";
import { store } from "./store.js";

const EVERY_MS = 5000;
// Until pictures come, each step is shown.
const BEGINNING_MS = 1000;

export class Watch extends EventTarget {
  /** Null until the service has answered. */
  tasks = null;
  zones = [];
  /** Why the last question failed, or null. */
  error = null;
  #workers = new Map(); // their names, by task id
  #asked = 0;
  #turn = 0;

  constructor(camera, scope) {
    super();
    this.camera = camera;
    const seen = () => { if (!document.hidden) this.load(); };
    document.addEventListener("visibilitychange", seen);
    scope.add(() => { this.#turn += 1; document.removeEventListener("visibilitychange", seen); });
    store.on("again", () => this.load(), scope);
    store.on("tick", () => {
      if (document.hidden || !this.tasks?.length) return;
      const begins = this.tasks.some(({ sampler }) => sampler?.state === "connecting");
      if (Date.now() - this.#asked >= (begins ? BEGINNING_MS : EVERY_MS)) this.load();
    }, scope);
    this.load();
  }

  /** The name of the worker that has a task, or null. */
  workerOf(task) { return this.#workers.get(task.id) ?? null; }

  /** Which stream's pictures there are to be seen, and whether a worker looks at them; null: none. */
  get stream() {
    const sampled = (this.tasks ?? []).filter(({ sampler }) => sampler?.state === "sampling");
    const task = sampled.find((one) => this.workerOf(one)) ?? sampled[0];
    return task ? { profile: task.sampler.profile, worked: sampled.some((one) => this.workerOf(one)) } : null;
  }

  on(listener, scope) {
    this.addEventListener("change", listener);
    scope.add(() => this.removeEventListener("change", listener));
  }

  async load() {
    const turn = ++this.#turn;
    this.#asked = Date.now();
    try {
      const [tasks, zones] = await Promise.all([api.tasks(this.camera), api.zones(this.camera)]);
      const workers = tasks.length ? await api.workers() : [];
      if (turn !== this.#turn) return;
      Object.assign(this, { tasks, zones, error: null });
      this.#workers = new Map(workers.flatMap(({ worker, task_ids: ids }) => ids.map((id) => [id, worker])));
    } catch (error) {
      if (turn !== this.#turn) return;
      this.error = error;
    }
    this.dispatchEvent(new Event("change"));
  }
}
