// The chosen local day and its picker. A day is the span between two local midnights as instants, so it has 23 or 25
// hours when the clocks change. One Day is shared by the wall and the camera page; the player has its own.

import { dateKey, dateShort } from "./format.js";
import { h, icon, setText } from "./dom.js";
import { store } from "./store.js";

/** Tells `change` when another day is chosen, or when today becomes yesterday while today is shown. */
export class Day extends EventTarget {
  constructor(ms = store.now()) {
    super();
    this.#span(dateKey(ms));
    this.following = this.isToday();
  }

  #span(key) {
    const [year, month, day] = key.split("-").map(Number);
    this.key = key;
    this.start = new Date(year, month - 1, day).getTime();
    this.end = new Date(year, month - 1, day + 1).getTime();
  }

  get hours() { return (this.end - this.start) / 3_600_000; }
  isToday() { return this.key === dateKey(store.now()); }
  has(ms) { return this.start <= ms && ms < this.end; }

  set(key) {
    if (!/^\d{4}-\d{2}-\d{2}$/.test(key) || key === this.key) return;
    this.#span(key);
    this.following = this.isToday();
    this.dispatchEvent(new Event("change"));
  }

  shift(days) {
    const [year, month, day] = this.key.split("-").map(Number);
    this.set(dateKey(new Date(year, month - 1, day + days).getTime()));
  }

  /** Called each second: midnight has passed while the page stood open. */
  roll() {
    if (this.following && !this.has(store.now())) this.set(dateKey(store.now()));
  }

  on(listener, scope) {
    this.addEventListener("change", listener);
    scope.add(() => this.removeEventListener("change", listener));
  }
}

/** Previous, date, next, today. */
export function dayPicker(day, scope) {
  const input = h("input", { type: "date", class: "input", "aria-label": "Day shown", data: { testid: "day-input" },
    on: { change: () => day.set(input.value) } });
  const words = h("span", { class: "day-words", "aria-live": "polite" });
  const next = h("button", { class: "button icon-only", type: "button", "aria-label": "Next day",
    on: { click: () => day.shift(1) } }, icon("right"));
  const today = h("button", { class: "button", type: "button", text: "Today", data: { testid: "day-today" },
    on: { click: () => day.set(dateKey(store.now())) } });
  const show = () => {
    input.value = day.key;
    input.max = dateKey(store.now());
    const isToday = day.isToday();
    setText(words, isToday ? `Today, ${dateShort(day.start)}` : dateShort(day.start));
    next.disabled = day.key >= dateKey(store.now());
    today.disabled = isToday;
  };
  day.on(show, scope);
  show();
  return h("div", { class: "day-picker", role: "group", "aria-label": "Day of the recordings" },
    words,
    h("div", { class: "joined" },
      h("button", { class: "button icon-only", type: "button", "aria-label": "Previous day", data: { testid: "day-previous" },
        on: { click: () => day.shift(-1) } }, icon("left")),
      input, next),
    today);
}
