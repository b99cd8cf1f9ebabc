// The camera wall: a card per camera with its picture, state and day strip, and the event log beside it. The first
// page; made by app.js. Cards are updated in place, so that focus and strips live through every message.

import { dayPicker } from "./day.js";
import { arrange, h, icon, Scope, setAttr, setText } from "./dom.js";
import { EventLog } from "./events.js";
import { bitRate, codec, fps, seconds, sentence, size } from "./format.js";
import { Picture } from "./picture.js";
import { AiMark, watchSamplers } from "./samplers.js";
import { reasonWords, sinceText, stateBadge, timeWords } from "./state.js";
import { store } from "./store.js";
import { Strip } from "./strip.js";

/** The wall. `actions.play(camera, ms)` plays; `day` is the shared Day. */
export function wallView({ scope, day, actions }) {
  const cards = new Map();
  const grid = h("div", { class: "wall-grid", data: { testid: "wall" } });
  const picker = dayPicker(day, scope);
  const log = new EventLog({ scope, limit: 50, play: actions.play });
  const cameras = h("section", { class: "wall-cameras", "aria-label": "Cameras" },
    h("div", { class: "bar" },
      h("h1", { class: "bar-title", text: "Cameras" }), picker,
      h("a", { class: "button primary", href: "#/add", data: { testid: "add-camera" } }, icon("plus"), "Add camera")),
    grid);
  const events = h("aside", { class: "wall-events panel", "aria-labelledby": "wall-events-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "wall-events-title", text: "Events" }), h("a", { href: "#/events", text: "All events" })),
    log.el);
  const el = h("div", { class: "wall" }, cameras, events);
  scope.add(() => { for (const card of cards.values()) card.end(); });

  const show = () => {
    if (!store.system) return grid.replaceChildren(...[1, 2].map(skeleton));
    for (const [id, card] of cards) if (!store.cameras.has(id)) { card.end(); cards.delete(id); }
    for (const camera of store.cameras.values()) {
      if (!cards.has(camera.id)) cards.set(camera.id, new Card(camera, day, actions));
    }
    const none = store.cameras.size === 0;
    grid.classList.toggle("many", store.cameras.size > 4);
    picker.hidden = events.hidden = none;
    el.classList.toggle("no-cameras", none);
    arrange(grid, none ? [emptyState()] : [...store.cameras.keys()].map((id) => cards.get(id).el));
    for (const camera of store.cameras.values()) cards.get(camera.id).update(camera);
  };
  store.on("cameras", show, scope);
  store.on("camera", (camera) => cards.get(camera.id)?.update(camera), scope);
  store.on("tick", () => { for (const card of cards.values()) card.tick(); }, scope);
  show();
  watchSamplers((samplers) => { for (const [id, card] of cards) card.sampled(samplers.get(id) ?? []); }, scope);
  return { el, title: "Cameras" };
}

function skeleton() {
  return h("div", { class: "card skeleton", "aria-hidden": "true", data: { testid: "skeleton" } },
    h("div", { class: "picture" }), h("div", { class: "bone wide" }), h("div", { class: "bone" }), h("div", { class: "bone bar-bone" }));
}

function emptyState() {
  return h("div", { class: "empty", data: { testid: "empty" } },
    icon("camera"),
    h("h2", { text: "No camera yet" }),
    h("p", { text: "Add your first camera and recording starts at once. You need its RTSP address, or its make and IP address, and usually a user name and password." }),
    h("p", {}, h("a", { class: "button primary large", href: "#/add" }, icon("plus"), "Add camera")),
    h("p", { class: "muted", text: "Or on the server's command line:" }),
    h("pre", { class: "code" }, h("code", { text: "watchkeeper camera add front --url rtsp://192.0.2.7/stream1" })));
}

/** The facts line of a status as [label, value] pairs; the camera page uses it too. */
export function facts(status) {
  return [
    ["Rate", fps(status.fps)],
    ["Bit rate", bitRate(status.bit_rate_bps)],
    ["Picture", status.codec ? `${size(status.width, status.height)} ${codec(status.codec)}` : "–"],
    ["Keyframe", seconds(status.keyframe_interval_s), "time between keyframes"],
  ];
}

/** Reason and detail of a state in words, with the next attempt; empty for a camera that is well. */
export class Trouble {
  constructor() {
    this.reason = h("strong");
    this.detail = h("span");
    this.next = h("span", { class: "muted" });
    this.el = h("p", { class: "trouble", data: { testid: "trouble" } }, this.reason, this.detail, this.next);
  }

  update({ status }) {
    this.status = status;
    const reason = reasonWords(status.reason);
    this.el.hidden = reason === null && status.detail === null;
    setText(this.reason, reason === null ? "" : `${sentence(reason)} `);
    setText(this.detail, status.detail ? sentence(status.detail) : "");
    this.tick();
  }

  tick() {
    const at = this.status?.next_attempt_at ? Date.parse(this.status.next_attempt_at) : null;
    const wait = at === null ? 0 : Math.ceil((at - store.now()) / 1000);
    const until = this.status?.until ? Date.parse(this.status.until) : null;
    setText(this.next, until !== null ? ` The next window opens ${timeWords(until, store.now(), { short: true })}.` : at === null ? "" : wait > 90 ? ` Next attempt at ${timeWords(at, store.now())}.` : wait > 0 ? ` Next attempt in ${wait} s.` : " Trying now.");
  }
}

class Card {
  #scope = new Scope();
  #samplers = [];

  constructor(camera, day, actions) {
    const href = `#/cameras/${encodeURIComponent(camera.id)}`;
    this.picture = new Picture(camera.id, { scope: this.#scope });
    this.stamp = h("span", { class: "picture-stamp", hidden: true });
    this.name = h("a", { href, data: { testid: "camera-name" } });
    this.badge = stateBadge(camera.status.state);
    this.since = h("span", { class: "since muted" });
    this.trouble = new Trouble();
    this.facts = h("dl", { class: "facts" });
    this.strip = new Strip({ camera: camera.id, name: camera.name, day, onPlay: (ms) => actions.play(camera.id, ms) });
    this.#scope.add(() => this.strip.end());
    this.ai = new AiMark();
    const pictureLink = h("a", { class: "picture-link", href, tabindex: "-1", "aria-hidden": "true" }, this.picture.el, this.stamp, this.ai.el);
    this.latest = h("button", { class: "button small picture-button", type: "button", data: { testid: "play-latest" },
      on: { click: () => actions.play(camera.id, store.now() - 15_000, { live: true }) } }, icon("play"), "Latest");
    this.el = h("article", { class: "card", data: { testid: "camera", camera: camera.id } },
      h("div", { class: "picture-frame" }, pictureLink, this.latest),
      h("div", { class: "card-body" },
        h("div", { class: "card-head" }, h("h2", {}, this.name), h("span", { class: "card-state" }, this.badge, this.since)),
        this.trouble.el,
        this.facts,
        this.strip.el));
    this.update(camera);
  }

  update(camera) {
    const { status, name } = camera;
    if (this.el.dataset.state !== status.state) {
      const badge = stateBadge(status.state);
      this.badge.replaceWith(badge);
      this.badge = badge;
      this.el.dataset.state = status.state;
    }
    this.camera = camera;
    setText(this.name, name);
    setAttr(this.latest, "aria-label", `Play the latest recording of ${name}`);
    this.latest.hidden = status.picture === null && status.segments === 0 && status.state !== "recording";
    this.strip.rename(name);
    this.picture.update(camera);
    this.trouble.update(camera);
    this.ai.update(this.#samplers, camera);
    const old = status.state !== "recording" && status.last_frame_at !== null && status.picture !== null;
    this.stamp.hidden = !old;
    if (old) setText(this.stamp, `Last picture ${timeWords(Date.parse(status.last_frame_at), store.now())}`);
    // Of a camera that is away there is nothing to measure.
    this.facts.hidden = status.fps === null && status.state !== "recording";
    showFacts(this.facts, facts(status));
    this.tick();
  }

  /** Takes the samplers of its camera. */
  sampled(samplers) {
    this.#samplers = samplers;
    this.ai.update(samplers, this.camera);
  }

  tick() {
    sinceText(this.since, this.camera.status.since, store.now());
    this.trouble.tick();
  }

  end() { this.#scope.end(); }
}

/** Writes pairs into a <dl>, touching only what differs. */
export function showFacts(dl, pairs) {
  pairs.forEach(([label, value, title], i) => {
    const row = dl.children[i] ?? dl.appendChild(h("div", {}, h("dt"), h("dd")));
    setText(row.firstChild, label);
    setText(row.lastChild, value);
    setAttr(row.lastChild, "title", title);
  });
  while (dl.children.length > pairs.length) dl.lastChild.remove();
}
