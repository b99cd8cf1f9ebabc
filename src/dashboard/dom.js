// DOM helpers: the only way this dashboard makes elements. Data becomes text nodes and attributes, never markup.
// Used by every view.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element. `props`: `class`, `text`, `data: {}`, `style: {}`, `on: {event: listener}`, other keys are
 * attributes (true = empty attribute; false, null and undefined = absent). Children: nodes, strings or null.
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(el, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") el.setAttribute("class", value);
    else if (key === "text") el.textContent = value;
    else if (key === "data") for (const [name, v] of Object.entries(value)) el.dataset[name] = v;
    else if (key === "style") for (const [name, v] of Object.entries(value)) el.style.setProperty(name, v);
    else if (key === "on") for (const [name, listener] of Object.entries(value)) el.addEventListener(name, listener);
    else el.setAttribute(key, value === true ? "" : String(value));
  }
  el.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return el;
}

/** Sets the text only if it differs, so that a ticking page causes no needless layout or announcement. */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

/** Sets an attribute only if it differs; null removes it. */
export function setAttr(el, name, value) {
  if (value === null || value === undefined || value === false) el.removeAttribute(name);
  else if (el.getAttribute(name) !== String(value)) el.setAttribute(name, String(value));
}

/** Makes `nodes` the children of `parent`, moving only what is out of place: what moves loses the focus. */
export function arrange(parent, nodes) {
  nodes.forEach((node, i) => { if (parent.children[i] !== node) parent.insertBefore(node, parent.children[i] ?? null); });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}

/** A line icon by path data, hidden from assistive technology. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }));
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  left: "M14.5 6l-6 6 6 6",
  right: "M9.5 6l6 6-6 6",
  back: "M19 12H5M11 6l-6 6 6 6",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5",
  list: "M4 6h16M4 12h16M4 18h10",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  auto: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 4v16M14 5v14M16 6v12M18 8v8",
  disk: "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3zM4 6v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3",
  mirror: "M4 8h11v11H4zM9 8V5h11v11h-5",
  record: "M12 5a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  play: "M7 4.5l12.5 7.5L7 19.5z",
  pause: "M8 5v14M16 5v14",
  skipBack: "M18 5l-9 7 9 7zM6 5v14",
  skipForward: "M6 5l9 7-9 7zM18 5v14",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  zoomIn: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.5L20 20M11 8.5v5M8.5 11h5",
  zoomOut: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.5 15.5L20 20M8.5 11h5",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  camera: "M3 7h12v10H3zM15 11l6-3v8l-6-3z",
};

/** What a view has to undo when it goes: listeners, timers, observers. */
export class Scope {
  #undo = [];
  add(undo) { this.#undo.push(undo); }
  end() { for (const undo of this.#undo.splice(0).reverse()) undo(); }
}

/** A short message in the corner that goes by itself. */
export function toast(text) {
  const el = h("div", { class: "toast", text });
  document.getElementById("toasts").append(el);
  setTimeout(() => el.remove(), 6000);
}
