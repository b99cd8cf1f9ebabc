// The page's head: product, health in words, disk, database, stream, theme; and the banner that says when the live
// stream is lost. Made once by app.js.

import { h, icon, setAttr, setText } from "./dom.js";
import { bytes, count, sentence } from "./format.js";
import { mirrorWords, toneMark } from "./state.js";
import { store } from "./store.js";

const THEMES = { auto: { icon: "auto", words: "as the system" }, light: { icon: "sun", words: "light" }, dark: { icon: "moon", words: "dark" } };

export function header(el, banner) {
  const health = h("a", { class: "health", href: "#/", data: { testid: "health" } });
  const disk = h("span", { class: "vital", data: { testid: "disk" } });
  const mirror = h("span", { class: "vital", hidden: true, data: { testid: "mirror" } });
  const database = h("span", { class: "vital tone-bad", role: "status", hidden: true, data: { testid: "database" } });
  const link = h("span", { class: "vital", data: { testid: "connection" } });
  el.append(
    h("a", { class: "brand", href: "#/" }, h("img", { src: "/assets/mark.svg", alt: "", width: "28", height: "28" }), h("span", { text: "Watchkeeper" })),
    health,
    h("div", { class: "vitals" }, database, disk, mirror, link),
    h("nav", { class: "nav", "aria-label": "Pages" },
      h("a", { class: "button quiet", href: "#/", data: { nav: "wall" } }, icon("grid"), h("span", { text: "Cameras" })),
      h("a", { class: "button quiet", href: "#/events", data: { nav: "events" } }, icon("list"), h("span", { text: "Events" })),
      themeButton()));

  const showHealth = () => {
    const lost = store.connection.state === "lost";
    const { words: now, tone } = healthOf([...store.cameras.values()], store.system !== null, lost);
    const words = lost && store.system !== null ? `Before: ${now}` : now;
    if (health.dataset.words === words) return;
    Object.assign(health.dataset, { words, tone });
    health.className = `health tone-${tone}`;
    health.replaceChildren(toneMark(tone), h("span", { text: words }));
  };
  const showSystem = () => {
    const { volume, database: db, version } = store.system;
    const share = volume.total_bytes ? volume.free_bytes / volume.total_bytes : 1;
    const well = volume.state === "ok";
    const tone = !well ? "bad" : share < 0.03 ? "warn" : "plain";
    const carried = !well && store.system.mirror !== null && store.system.mirror.state !== "degraded";
    const why = volume.detail ? `. ${sentence(volume.detail)}` : "";
    const back = volume.due_segments ? `. ${count(volume.due_segments)} segments (${bytes(volume.due_bytes)}) still to be copied back from the mirror` : "";
    disk.className = `vital tone-${tone}`;
    disk.title = `${volume.path}: ${bytes(volume.free_bytes)} of ${bytes(volume.total_bytes)} free${why}${back}`;
    disk.replaceChildren(icon("disk"), h("span", { text: well ? `${bytes(volume.free_bytes)} free` : `Disk ${words(volume.state)}${carried ? ", recorded on the mirror alone" : why}` }),
      carried ? h("span", { class: "sr-only", text: why }) : "");
    showMirror(mirror, store.system.mirror);
    const bad = db.state !== "ok";
    if (bad) setText(database, `Database: ${words(db.state)}${db.pending_rows ? `, ${db.pending_rows} rows wait` : ""}`);
    database.title = db.detail ?? "";
    database.hidden = !bad;
    setAttr(el.querySelector(".brand"), "title", `Watchkeeper ${version}`);
  };
  const showLink = () => {
    const { state, retryAt } = store.connection;
    link.className = `vital link-${state}`;
    document.documentElement.dataset.connection = state;
    if (link.dataset.state !== state) {
      link.dataset.state = state;
      link.replaceChildren(toneMark({ live: "good", lost: "bad", connecting: "busy" }[state]), h("span", { text: { live: "Live", lost: "No connection", connecting: "Connecting" }[state] }));
    }
    banner.hidden = state !== "lost";
    if (state !== "lost") { banner.replaceChildren(); return; }
    if (!banner.firstChild) {
      banner.append(h("strong", { text: store.system === null ? "No connection to the server." : "Connection to the server lost." }), store.system === null ? " " : " What you see is from before. ",
        h("span", { class: "banner-wait", "aria-live": "off" }), " ",
        h("button", { class: "button small", type: "button", text: "Try now", on: { click: () => store.retryNow() } }));
    }
    const wait = Math.ceil((retryAt - Date.now()) / 1000);
    setText(banner.querySelector(".banner-wait"), wait > 0 ? `Trying again in ${wait} s.` : "Trying again …");
  };
  store.on("camera", showHealth);
  store.on("cameras", showHealth);
  store.on("system", showSystem);
  store.on("connection", showLink);
  store.on("connection", showHealth);
  store.on("tick", showLink);
  showHealth();
  showLink();
}

/** The mirror, if there is one: its state in a word and a shape; where it is and why in the title, and for screen readers. */
function showMirror(el, mirror) {
  el.hidden = mirror === null;
  if (mirror === null) return;
  const { tone, short, long } = mirrorWords(mirror);
  const more = `${mirror.path}: ${bytes(mirror.free_bytes)} of ${bytes(mirror.total_bytes)} free${long ? `. ${long}` : ""}`;
  if (el.title === more && el.dataset.state === mirror.state && el.dataset.short === short) return;
  el.className = `vital tone-${tone}`;
  el.title = more;
  Object.assign(el.dataset, { state: mirror.state, short });
  el.replaceChildren(tone === "plain" ? icon("mirror") : toneMark(tone), h("span", { text: short }), h("span", { class: "sr-only", text: `. ${more}` }));
}

const words = (state) => state.replaceAll("_", " ");

function healthOf(cameras, known, lost) {
  if (!known) return lost ? { words: "No answer from the server", tone: "bad" } : { words: "Connecting …", tone: "busy" };
  if (cameras.length === 0) return { words: "No camera yet", tone: "off" };
  const idle = cameras.filter((camera) => camera.status.state === "idle").length;
  const wanted = cameras.filter((camera) => !["disabled", "idle"].includes(camera.status.state));
  const recording = wanted.filter((camera) => camera.status.state === "recording").length;
  const waits = idle === 0 ? "" : `${idle} waiting`;
  if (wanted.length === 0) return { words: waits ? `No camera to record now, ${waits}` : "All cameras switched off", tone: "off" };
  const noun = wanted.length === 1 ? "camera" : "cameras";
  const connecting = wanted.some((camera) => camera.status.state === "connecting");
  const tone = recording === wanted.length ? "good" : recording === 0 && !connecting ? "bad" : "warn";
  return { words: `${recording} of ${wanted.length} ${noun} recording${waits && `, ${waits}`}`, tone };
}

function themeButton() {
  const names = Object.keys(THEMES);
  let theme = document.documentElement.dataset.theme ?? "auto";
  const button = h("button", { class: "button quiet icon-only", type: "button", data: { testid: "theme" } });
  const show = () => {
    button.replaceChildren(icon(THEMES[theme].icon));
    button.title = `Colours: ${THEMES[theme].words}`;
    setAttr(button, "aria-label", button.title);
  };
  button.addEventListener("click", () => {
    theme = names[(names.indexOf(theme) + 1) % names.length];
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("watchkeeper.theme", theme); } catch { /* storage may be forbidden: not remembered then */ }
    show();
  });
  show();
  return button;
}
