// A week that can be painted: half hours with the pointer, a finger or the keyboard, and below it the rows that half
// hours cannot say, as times. Used by form.js; the arithmetic is in week.js.

import { h, icon, setAttr } from "./dom.js";
import { CELLS, cellsOf, DAYS, fits, minutes, rowsOf, rowText, time } from "./week.js";

const CELL_MINUTES = 30;
// On a phone the days stand side by side and time goes down; schedule.css has the same width.
const upright = matchMedia("(max-width: 560px)");

export class Schedule {
  #given;
  #cells;
  #painted = false;
  #exact = []; // { el, read() }
  #stroke = null; // { from, value, before }: a rectangle of cells that grows and shrinks
  #at = 16; // the cell that Tab reaches: Monday, 8 o'clock

  /** `rows` as the API has them; `changed()` is called at every change. `id` names the grid's label and its hints. */
  constructor(rows, id, changed) {
    this.#given = rows;
    this.#cells = cellsOf(rows.filter(fits));
    this.changed = changed;
    this.grid = h("div", { class: "week", id, role: "grid", tabindex: "-1", "aria-labelledby": `${id}-label`, "aria-describedby": `${id}-hint ${id}-error`, data: { testid: id } });
    this.sum = h("ul", { class: "week-sum", "aria-live": "polite", data: { testid: "schedule-sum" } });
    this.exactList = h("div", { class: "exact-rows" });
    const button = (text, click, testid) => h("button", { class: "button small", type: "button", text, data: { testid }, on: { click } });
    this.el = h("div", { class: "schedule" }, this.grid,
      h("div", { class: "week-buttons" },
        button("Clear the week", () => this.#fill(0, 7 * CELLS, false), "schedule-clear"),
        button("Fill the week", () => this.#fill(0, 7 * CELLS, true), "schedule-fill"),
        button("Add exact times", () => { this.#addExact({ weekdays: [0, 1, 2, 3, 4], start: "", end: "", enabled: true }).querySelector("[type=time]").focus(); this.#show(); }, "schedule-add")),
      this.exactList, this.sum);
    this.#build();
    for (const row of rows.filter((row) => !fits(row))) this.#addExact(row);
    this.#show();
  }

  /** The rows as they are now. What was not touched is given back as it came. */
  rows() {
    const exact = this.#exact.map(({ read }) => read());
    if (!this.#painted && JSON.stringify(exact) === JSON.stringify(this.#given.filter((row) => !fits(row)))) return this.#given;
    return [...(this.#painted ? rowsOf(this.#cells) : this.#given.filter(fits)), ...exact];
  }

  /** What cannot be sent, in words. */
  complaint() {
    const exact = this.#exact.map(({ read }) => read());
    if (exact.some(({ weekdays }) => weekdays.length === 0)) return "Choose at least one day for each row of exact times.";
    if (exact.some(({ start, end }) => minutes(start) === null || minutes(end) === null)) return "Enter both times of each row of exact times.";
    return null;
  }

  #build() {
    const hours = Array.from({ length: 24 }, (_, hour) => h("span", { class: "week-hour", role: "columnheader", data: { third: hour % 3 === 0 ? "" : "no" } }, h("span", { text: `${String(hour).padStart(2, "0")}` })));
    this.grid.append(h("div", { class: "week-row", role: "row" }, h("span", { class: "week-corner", role: "columnheader" }, h("span", { class: "sr-only", text: "Day" })), ...hours));
    this.cellEls = [];
    DAYS.forEach((day, n) => {
      const head = h("span", { class: "week-day", role: "rowheader" },
        h("button", { type: "button", "aria-label": `${day}: the whole day`, data: { day: n }, text: day.slice(0, 3), on: { click: () => {
          const own = this.#cells.slice(n * CELLS, (n + 1) * CELLS);
          this.#fill(n * CELLS, (n + 1) * CELLS, !own.every(Boolean));
        } } }));
      const cells = Array.from({ length: CELLS }, (_, i) => h("span", { class: "week-cell", role: "gridcell", tabindex: "-1", "aria-label": `${day} ${time(i * CELL_MINUTES)}`, data: { cell: n * CELLS + i } }));
      this.cellEls.push(...cells);
      this.grid.append(h("div", { class: "week-row", role: "row" }, head, ...cells));
    });
    const cellOf = (target) => (target?.dataset?.cell === undefined || !this.grid.contains(target) ? null : Number(target.dataset.cell));
    this.grid.addEventListener("pointerdown", (event) => {
      const cell = cellOf(event.target);
      if (cell === null || event.button !== 0) return;
      event.preventDefault();
      this.grid.setPointerCapture(event.pointerId);
      this.#begin(cell, !this.#cells[cell]);
      this.#reach(cell);
    });
    this.grid.addEventListener("pointermove", (event) => {
      if (!this.grid.hasPointerCapture(event.pointerId) || this.#stroke === null) return;
      const cell = cellOf(document.elementFromPoint(event.clientX, event.clientY));
      if (cell !== null) this.#reach(cell);
    });
    for (const end of ["pointerup", "pointercancel"]) this.grid.addEventListener(end, () => { this.#stroke = null; });
    this.grid.addEventListener("keydown", (event) => {
      const cell = cellOf(event.target);
      if (cell !== null && this.#key(event, cell)) event.preventDefault();
    });
  }

  #key({ key, shiftKey }, cell) {
    if (key === " " || key === "Enter") {
      this.#begin(cell, !this.#cells[cell]);
      this.#reach(cell);
      return true;
    }
    const [later, earlier, nextDay, dayBefore] = upright.matches
      ? ["ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"] : ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"];
    const day = Math.floor(cell / CELLS), at = cell % CELLS;
    const to = { [later]: [day, at + 1], [earlier]: [day, at - 1], [nextDay]: [day + 1, at], [dayBefore]: [day - 1, at], Home: [day, 0], End: [day, CELLS - 1] }[key];
    if (!to) return false;
    const next = Math.min(Math.max(to[0], 0), 6) * CELLS + Math.min(Math.max(to[1], 0), CELLS - 1);
    if (shiftKey) {
      if (this.#stroke === null) this.#begin(cell, this.#cells[cell]);
      this.#reach(next);
    } else {
      this.#stroke = null;
      this.#focus(next);
    }
    return true;
  }

  #begin(from, value) { this.#stroke = { from, value, before: [...this.#cells] }; }

  /** Lets the stroke's rectangle end at a cell: the same times on every day between. */
  #reach(cell) {
    const { from, value, before } = this.#stroke;
    const span = (a, b) => [Math.min(a, b), Math.max(a, b)];
    const [firstDay, lastDay] = span(Math.floor(from / CELLS), Math.floor(cell / CELLS));
    const [first, last] = span(from % CELLS, cell % CELLS);
    this.#cells = [...before];
    for (let day = firstDay; day <= lastDay; day += 1) this.#cells.fill(value, day * CELLS + first, day * CELLS + last + 1);
    this.#focus(cell);
    this.#touched();
  }

  #fill(from, to, value) {
    this.#cells.fill(value, from, to);
    this.#touched();
  }

  #focus(cell) {
    this.#at = cell;
    this.#tabStop();
    this.cellEls[cell].focus({ preventScroll: true });
  }

  #tabStop() { this.cellEls.forEach((el, i) => { el.tabIndex = i === this.#at ? 0 : -1; }); }

  #touched() {
    this.#painted = true;
    this.#show();
    this.changed();
  }

  #show() {
    const exact = this.#exact.map(({ read }) => read());
    const hinted = cellsOf(exact);
    this.cellEls.forEach((el, i) => {
      setAttr(el, "aria-selected", this.#cells[i] ? "true" : "false");
      setAttr(el, "data-exact", hinted[i] ? "" : null);
    });
    this.#tabStop();
    const known = exact.filter(({ start, end }) => minutes(start) !== null && minutes(end) !== null);
    const texts = [...rowsOf(this.#cells), ...known].map(rowText);
    const never = texts.length === 0 || (known.every(({ enabled }) => !enabled) && !this.#cells.some(Boolean));
    this.sum.replaceChildren(...texts.map((text) => h("li", { text })),
      ...(never ? [h("li", { class: "week-never", text: "No time is chosen: the camera would never be recorded." })] : []));
  }

  #addExact(row) {
    const changed = () => { this.#show(); this.changed(); };
    const days = DAYS.map((day, n) => {
      const box = h("input", { type: "checkbox", "aria-label": day });
      box.checked = row.weekdays.includes(n);
      return { box, el: h("label", { class: "day-box", title: day }, box, h("span", { "aria-hidden": "true", text: day.slice(0, 2) })) };
    });
    const clock = (label, value) => { const input = h("input", { type: "time", class: "input", "aria-label": label }); input.value = value; return input; };
    const start = clock("From", row.start), end = clock("To", row.end);
    const on = h("input", { type: "checkbox", class: "check" });
    on.checked = row.enabled;
    const el = h("div", { class: "exact-row", role: "group", "aria-label": "Exact times", data: { testid: "exact-row" }, on: { input: changed } },
      h("div", { class: "day-boxes" }, days.map((day) => day.el)),
      h("div", { class: "exact-times" }, start, h("span", { text: "to" }), end, h("label", { class: "check-row" }, on, "counts"),
        h("button", { class: "button quiet icon-only small", type: "button", "aria-label": "Remove these times", on: { click: () => {
          this.#exact = this.#exact.filter((other) => other.el !== el);
          el.remove();
          changed();
        } } }, icon("trash"))));
    const read = () => {
      const chosen = days.flatMap(({ box }, n) => (box.checked ? [n] : []));
      // In the order they came, so that a row that was not touched is the same row.
      const same = chosen.length === row.weekdays.length && chosen.every((day) => row.weekdays.includes(day));
      return { weekdays: same ? row.weekdays : chosen, start: start.value, end: end.value, enabled: on.checked };
    };
    this.#exact.push({ el, read });
    this.exactList.append(el);
    return el;
  }
}

/** A schedule in words, for the camera's page. */
export const scheduleText = (rows) => rows.map(rowText).join("; ") || "no times";