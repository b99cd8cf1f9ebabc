// What the page knows about the service: cameras, system, and whether the live stream stands. Fed by
// `GET /api/v1/live` alone; the views read it and listen. Nothing here touches the DOM.
//
// Events (CustomEvent, `detail` in brackets): `again` when there may have been a gap in the stream (what was asked for
// over HTTP must be asked for again), `cameras` when the list changes, `camera` [Camera], `segment` [Segment],
// `event` [Event], `system` [System], `connection` [connection], `tick` each second.

import { Scope } from "./dom.js";

// `system` comes about every 5 s. EventSource does not show keep-alive comments, so this long without any message
// means that the stream hangs although the connection looks open.
const SILENT_AFTER_MS = 20_000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15_000];

class Store extends EventTarget {
  /** Camera by id, in the server's order. */
  cameras = new Map();
  system = null;
  /** state: `connecting` (first time), `live`, `lost`; `retryAt` while lost. */
  connection = { state: "connecting", since: Date.now(), retryAt: null, attempts: 0 };
  #source = null;
  #retry = null;
  #lastMessage = 0;
  #clockOffset = 0;

  start() {
    this.#connect();
    setInterval(() => {
      if (this.connection.state === "live" && Date.now() - this.#lastMessage > SILENT_AFTER_MS) this.#lose();
      this.#tell("tick");
    }, 1000);
    addEventListener("online", () => { if (this.connection.state === "lost") this.retryNow(); });
  }

  /** The server's clock: a tablet whose clock is wrong must still say "for 2 min". */
  now() { return Date.now() + this.#clockOffset; }

  /** Listens until `scope` ends (or for ever without one). */
  on(type, listener, scope) {
    const call = (event) => listener(event.detail);
    this.addEventListener(type, call);
    scope?.add(() => this.removeEventListener(type, call));
  }

  retryNow() {
    clearTimeout(this.#retry);
    this.#connect();
  }

  /** Takes in a camera that a call answered with, without waiting for the stream to say the same. */
  learn(camera) {
    const known = this.cameras.has(camera.id);
    this.cameras.set(camera.id, camera);
    if (!known) this.#tell("cameras");
    this.#tell("camera", camera);
  }

  forget(id) {
    if (this.cameras.delete(id)) this.#tell("cameras");
  }

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  #connect() {
    this.#source?.close();
    const source = new EventSource("/api/v1/live");
    this.#source = source;
    const scope = new Scope();
    // A stream that never gets to its snapshot counts as failed too.
    const deadline = setTimeout(() => { if (source === this.#source) this.#lose(); }, SILENT_AFTER_MS);
    scope.add(() => clearTimeout(deadline));
    const on = (type, take) => source.addEventListener(type, (message) => {
      if (source !== this.#source) return;
      this.#lastMessage = Date.now();
      take(JSON.parse(message.data));
    });
    on("snapshot", ({ cameras, system }) => {
      scope.end();
      const again = this.system !== null || this.connection.attempts > 0;
      this.cameras = new Map(cameras.map((camera) => [camera.id, camera]));
      this.#system(system);
      this.#connection({ state: "live", since: Date.now(), retryAt: null, attempts: 0 });
      this.#tell("cameras");
      if (again) this.#tell("again");
    });
    on("camera", (camera) => this.learn(camera));
    on("camera_removed", ({ id }) => this.forget(id));
    on("segment", (segment) => this.#tell("segment", segment));
    on("gap", (gap) => this.#tell("gap", gap));
    on("event", (event) => this.#tell("event", event));
    on("system", (system) => this.#system(system));
    source.onerror = () => { scope.end(); if (source === this.#source) this.#lose(); };
  }

  // EventSource would retry by itself, but not after an HTTP error (503 while the service starts) and not with a
  // growing delay; so it is closed and made anew.
  #lose() {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#retry);
    const { state, since, attempts } = this.connection;
    const wait = RETRY_MS[Math.min(attempts, RETRY_MS.length - 1)] * (0.8 + Math.random() * 0.4);
    this.#connection({ state: "lost", since: state === "lost" ? since : Date.now(), retryAt: Date.now() + wait,
      attempts: attempts + 1 });
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  #connection(connection) {
    this.connection = connection;
    this.#tell("connection", connection);
  }

  #system(system) {
    this.system = system;
    const offset = Date.parse(system.now) - Date.now();
    // Below a second it is the way of the message and not the clock.
    if (Math.abs(offset - this.#clockOffset) > 1000) this.#clockOffset = Math.abs(offset) > 1000 ? offset : 0;
    this.#tell("system", system);
  }
}

export const store = new Store();
