// Starts the dashboard: header, live stream, routes, announcements. Loaded by index.html; nothing imports it.
//
// Routes (hash): `#/` wall, `#/events` log, `#/cameras/<id>` page; `#/add` and `#/cameras/<id>/settings` open the form
// over the page they belong to.

import { cameraView } from "./camera.js";
import { wallView } from "./cameras.js";
import { Day } from "./day.js";
import { h, Scope } from "./dom.js";
import { eventsView } from "./events.js";
import { CameraForm } from "./form.js";
import { header } from "./header.js";
import { thePlayer } from "./player.js";
import { mirrorWords, reasonWords, stateWord } from "./state.js";
import { store } from "./store.js";

const main = document.getElementById("main");
const day = new Day();
const actions = { play: (camera, ms, options) => thePlayer().open(camera, ms, options) };

let scope = new Scope();
let page = null; // key of the view that is shown
let form = null;

function parse() {
  const [first, id, last] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  if (first === "cameras" && id) return { page: `camera ${id}`, id, form: last === "settings" };
  if (first === "events") return { page: "events" };
  return { page: "wall", form: first === "add" };
}

/** What cannot be decoded was not written by this page; it is then no camera's id. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

function route() {
  const wanted = parse();
  thePlayer().close();
  if (form) { const old = form; form = null; old.close(); }
  if (wanted.page !== page) show(wanted);
  const camera = wanted.id ? store.cameras.get(wanted.id) : null;
  if (wanted.form && (camera || !wanted.id)) openForm(camera ?? null, wanted.id);
}

function show(wanted) {
  scope.end();
  scope = new Scope();
  const first = page === null;
  page = wanted.page;
  const make = wanted.id ? cameraView : wanted.page === "events" ? eventsView : wallView;
  const view = make({ scope, id: wanted.id, day, actions });
  if (view.pending) page = "";
  main.replaceChildren(view.el);
  document.title = view.title === "Cameras" ? "Watchkeeper" : `${view.title} – Watchkeeper`;
  for (const link of document.querySelectorAll("[data-nav]")) {
    if (link.dataset.nav === wanted.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
}

function openForm(camera, id) {
  const opened = new CameraForm(camera, () => {
    if (form !== opened && !opened.removed) return; // the route has gone on already
    if (form === opened) form = null;
    location.hash = id && !opened.removed ? `#/cameras/${encodeURIComponent(id)}` : "#/";
  });
  form = opened;
}

// A page that was opened at a camera's address waits for the first snapshot; one whose camera is removed says so.
function cameraListChanged() {
  const { id, page: wanted } = parse();
  if (id && (page !== wanted || !store.cameras.has(id))) { page = ""; route(); }
}

/** Says state changes aloud, gathered over a moment, and not each connecting in between. */
function announce() {
  const known = new Map(), said = new Map();
  let timer = null, mirror = null, mirrorSaid = null;
  const speak = () => {
    timer = null;
    const words = [];
    for (const [id, state] of known) {
      const camera = store.cameras.get(id);
      if (!camera || state === "connecting" || said.get(id) === state) continue;
      const reason = reasonWords(camera.status.reason);
      words.push(`${camera.name}: ${stateWord(state).toLowerCase()}${reason ? `, ${reason}` : ""}`);
      said.set(id, state);
    }
    if (mirror && mirrorSaid !== mirror.state) {
      if (mirrorSaid) words.push(mirrorWords(mirror).short);
      mirrorSaid = mirror.state;
    }
    if (words.length) document.getElementById("announcer").textContent = words.join(". ");
  };
  store.on("cameras", () => {
    for (const { id, status } of store.cameras.values()) if (!known.has(id)) { known.set(id, status.state); said.set(id, status.state); }
  });
  store.on("camera", ({ id, status }) => {
    if (known.get(id) === status.state) return;
    known.set(id, status.state);
    timer ??= setTimeout(speak, 1500);
  });
  store.on("system", (system) => {
    mirror = system.mirror;
    if (mirror && mirrorSaid !== mirror.state) timer ??= setTimeout(speak, 1500);
  });
}

document.body.append(h("p", { class: "sr-only", id: "strip-help",
  text: "Arrow keys move the time, with shift ten times as far; page keys move by an hour; Home and End go to the first and the last recording; N and P to the next and the previous; G, with shift back, to the next gap; plus and minus zoom; Enter plays." }));
header(document.getElementById("top"), document.getElementById("banner"));
document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); main.scrollIntoView(); });
addEventListener("hashchange", route);
store.on("cameras", cameraListChanged);
store.on("tick", () => day.roll());
announce();
route();
store.start();
