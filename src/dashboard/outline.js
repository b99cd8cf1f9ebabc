// Zones over a camera's picture, and the one that is being drawn: with the mouse or a finger (press for each corner, drag a
// corner to move it), its handles also with the arrow keys. Used by zones.js, which has the form beside it.

import { h, setAttr, svg } from "./dom.js";
import { arrow, highest, least, middle, most, point } from "./shapes.js";

// A finger that moves less than this meant to press.
const PRESS_PX = 6;
const STEP = 0.01;

export class Outline {
  #size = [640, 360];
  #zones = [];
  #draft = null; // {kind, points, closed, id, bad}
  #drag = null; // {pointer, index, x, y, moved}
  #focus = null; // index of the handle that is to have the focus

  /** `sight` is the picture; `changed()` is called whenever the draft has changed, `cancelled()` on Escape. */
  constructor(sight, { changed, cancelled }) {
    Object.assign(this, { sight, changed, cancelled });
    this.lines = svg("svg", { class: "outlines", "aria-hidden": "true" });
    this.names = h("div", { class: "outline-names", "aria-hidden": "true" });
    this.handles = h("div", { class: "outline-handles" });
    this.pad = h("div", { class: "outline-pad", hidden: true, data: { testid: "zone-pad" }, on: {
      pointerdown: (event) => this.#down(event), pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#up(event), pointercancel: () => { this.#drag = null; },
      // What the press would focus by itself is the page, and keys would go there.
      mousedown: (event) => event.preventDefault(), dblclick: () => this.close(), keydown: (event) => this.#key(event) } }, this.handles);
    sight.area.append(this.lines, this.names, this.pad);
    sight.onFit((width, height) => { this.#size = [width, height]; this.#draw(); });
  }

  /** The zones to be shown; none, if they are not to be. */
  show(zones) {
    this.#zones = zones;
    this.#draw();
  }

  get draft() { return this.#draft; }

  /** Begins to draw, or to change, a zone. Null ends it. */
  edit(draft) {
    this.#draft = draft;
    this.#drag = null;
    this.pad.hidden = draft === null;
    this.sight.el.classList.toggle("drawing", draft !== null);
    this.#draw();
  }

  /** Takes points that were typed, or says that they are `bad`. */
  set(values) {
    Object.assign(this.#draft, values);
    this.#draw();
  }

  /** No further corners. */
  close() {
    const { kind, points, closed } = this.#draft;
    if (closed || points.length < least(kind)) return;
    this.#draft.closed = true;
    this.#told();
  }

  #told() {
    this.#draft.bad = false;
    this.#draw();
    this.changed();
  }

  #at({ clientX, clientY }) {
    const box = this.pad.getBoundingClientRect();
    return point((clientX - box.left) / box.width, (clientY - box.top) / box.height);
  }

  #down(event) {
    if (event.button !== 0 || this.#drag) return;
    event.preventDefault(); // no text is selected, and the page does not scroll
    const handle = event.target.closest("[data-corner]");
    const { points } = this.#draft;
    let index = handle ? Number(handle.dataset.corner) : null;
    if (event.target.closest("[data-edge]")) {
      index = Number(event.target.closest("[data-edge]").dataset.edge) + 1;
      points.splice(index, 0, middle(points[index - 1], points[index % points.length]));
      this.#told();
    }
    this.pad.setPointerCapture(event.pointerId);
    this.#drag = { pointer: event.pointerId, index, x: event.clientX, y: event.clientY, moved: false };
    this.#focus = index;
    this.#draw();
  }

  #move(event) {
    const drag = this.#drag;
    if (drag?.pointer !== event.pointerId) {
      this.#hint(event);
      return;
    }
    if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > PRESS_PX) drag.moved = true;
    if (drag.index === null || !drag.moved) return;
    this.#draft.points[drag.index] = this.#at(event);
    this.#told();
  }

  #up(event) {
    const drag = this.#drag;
    if (drag?.pointer !== event.pointerId) return;
    this.#drag = null;
    if (drag.moved && drag.index !== null) return;
    const { kind, points, closed } = this.#draft;
    if (drag.index === 0 && !closed && points.length >= least(kind)) return this.close();
    if (drag.index !== null || closed || points.length >= most(kind)) return;
    const at = this.#at(event);
    // The second press of a double one is no further corner.
    const last = points.at(-1), [width, height] = this.#size;
    if (last && Math.hypot((at[0] - last[0]) * width, (at[1] - last[1]) * height) <= PRESS_PX) return;
    points.push(at);
    if (kind === "line" && points.length === 2) this.#draft.closed = true;
    this.#focus = points.length - 1;
    this.#told();
  }

  /** The edge that would come next, to the pointer. */
  #hint(event) {
    const { points, closed } = this.#draft;
    if (closed || points.length === 0 || event.pointerType === "touch") return;
    const [x, y] = this.#at(event), [ax, ay] = points.at(-1), [width, height] = this.#size;
    this.hint ??= this.lines.appendChild(svg("line", { class: "outline-hint" }));
    for (const [key, value] of Object.entries({ x1: ax * width, y1: ay * height, x2: x * width, y2: y * height })) setAttr(this.hint, key, value);
  }

  #key(event) {
    const { points, closed, kind } = this.#draft;
    const index = Number(event.target.dataset?.corner ?? NaN);
    if (event.key === "Escape") this.cancelled();
    else if (event.key === "Enter" && !closed) this.close();
    else if ((event.key === "Delete" || event.key === "Backspace") && index in points && (!closed || points.length > least(kind))) {
      points.splice(index, 1);
      this.#focus = Math.min(index, points.length - 1);
      this.#told();
    } else if (event.key.startsWith("Arrow") && index in points) {
      const step = STEP * (event.shiftKey ? 5 : 1), [x, y] = points[index];
      const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      points[index] = point(x + dx, y + dy);
      this.#focus = index;
      this.#told();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #draw() {
    const [width, height] = this.#size;
    const draft = this.#draft;
    this.hint = null;
    setAttr(this.lines, "viewBox", `0 0 ${width} ${height}`);
    const shown = this.#zones.filter(({ id }) => draft === null || id !== draft.id);
    this.lines.replaceChildren(...shown.flatMap((zone) => this.#paths(zone, draft ? "outline dim" : "outline", true)), ...(draft ? this.#paths(draft, draft.bad ? "outline draft bad" : "outline draft", draft.closed) : []));
    this.names.replaceChildren(...(draft ? [] : shown.map((zone) => {
      const [x, y] = highest(zone.points);
      return h("span", { class: x > 0.7 ? "outline-name right" : "outline-name", style: { left: `${x * 100}%`, top: `${y * 100}%` }, text: zone.name });
    })));
    if (draft) this.#drawHandles(draft);
    else this.handles.replaceChildren();
  }

  #paths({ kind, points, id }, cls, closed) {
    const [width, height] = this.#size;
    const px = ([x, y]) => `${x * width},${y * height}`;
    const list = points.map(px).join(" ");
    const shape = svg(kind === "region" && closed ? "polygon" : "polyline", { class: `${cls} ${kind}`, points: list, data: { testid: "zone-shape", zone: id ?? "", kind } });
    if (kind !== "line" || points.length < 2) return [shape];
    const { from, to, wings: [left, right] } = arrow(points, width, height);
    return [shape, svg("path", { class: `${cls} arrow`, d: `M${from}L${to}M${left}L${to}L${right}`, data: { testid: "zone-arrow", from: from.join(), to: to.join() } })];
  }

  #drawHandles({ kind, points, closed }) {
    const { activeElement: active } = document;
    const wanted = this.#focus ?? (this.handles.contains(active) ? Number(active.dataset.corner) : null);
    this.#focus = null;
    const at = ([x, y]) => ({ left: `${x * 100}%`, top: `${y * 100}%` });
    const words = (i) => (kind === "line" ? ["Start of the line", "End of the line"][i] : `Corner ${i + 1}`);
    const corners = points.map((place, i) => h("button", { class: `handle${i === 0 && !closed && points.length >= least(kind) ? " closes" : ""}`, type: "button", style: at(place),
      "aria-label": `${words(i)}, ${Math.round(place[0] * 100)} % from the left, ${Math.round(place[1] * 100)} % from the top`, data: { corner: i, testid: "zone-handle" } }));
    const edges = kind === "region" && closed && points.length < most(kind)
      ? points.map((place, i) => h("span", { class: "handle-edge", style: at(middle(place, points[(i + 1) % points.length])), data: { edge: i } })) : [];
    const ways = kind === "line" && closed ? [this.#way(points)] : [];
    this.handles.replaceChildren(...edges, ...corners, ...ways);
    if (wanted !== null) corners[wanted]?.focus({ preventScroll: true });
  }

  /** The word at the arrow's tip. */
  #way(points) {
    const [width, height] = this.#size;
    const { to: [x, y] } = arrow(points, width, height, 64);
    return h("span", { class: "outline-way", style: { left: `${(x / width) * 100}%`, top: `${(y / height) * 100}%` }, text: "forward" });
  }
}
