// A schedule's rows as cells of a week, and back. Rows that do not fit into half hours stay what they are. Pure; used by
// schedule.js.

export const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/** Cells of a day: half hours. */
export const CELLS = 48;
const CELL = 30;
const DAY = CELLS * CELL;

/** Minutes of "08:30"; null for what is no time. */
export const minutes = (text) => (/^([01]\d|2[0-3]):[0-5]\d$/.test(text) ? Number(text.slice(0, 2)) * 60 + Number(text.slice(3)) : null);

/** "08:30" of minutes; midnight at a day's end is 00:00, as the API has it. */
export const time = (minute) => `${String(Math.floor(minute / 60) % 24).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;

/** Whether cells can say the same as this row. */
export const fits = (row) => row.enabled && [row.start, row.end].every((text) => (minutes(text) ?? 1) % CELL === 0);

/** The minutes of the week that a row covers, as [from, to] from Monday on; what goes over Sunday's end begins anew. */
function parts({ weekdays, start, end }) {
  let [from, to] = [minutes(start), minutes(end)];
  if (from === null || to === null) return [];
  if (from === to) [from, to] = [0, DAY];
  else if (from > to) to += DAY;
  return weekdays.flatMap((day) => {
    const [a, b] = [day * DAY + from, day * DAY + to];
    return b > 7 * DAY ? [[a, 7 * DAY], [0, b - 7 * DAY]] : [[a, b]];
  });
}

/** Which cells of the week rows touch: 7 × 48 of them, Monday's first. */
export function cellsOf(rows) {
  const cells = new Array(7 * CELLS).fill(false);
  for (const row of rows.filter(({ enabled }) => enabled)) {
    for (const [from, to] of parts(row)) cells.fill(true, Math.floor(from / CELL), Math.ceil(to / CELL));
  }
  return cells;
}

/** Rows that cover exactly these cells. Days that are alike share theirs; each row ends at midnight at the latest. */
export function rowsOf(cells) {
  const byTimes = new Map(); // "08:00 18:00" → weekdays
  for (let day = 0; day < 7; day += 1) {
    const today = cells.slice(day * CELLS, (day + 1) * CELLS);
    for (let from = today.indexOf(true); from !== -1;) {
      const gap = today.indexOf(false, from);
      const to = gap === -1 ? CELLS : gap;
      const key = `${time(from * CELL)} ${time(to * CELL)}`;
      byTimes.set(key, [...(byTimes.get(key) ?? []), day]);
      from = today.indexOf(true, to);
    }
  }
  return [...byTimes].map(([times, weekdays]) => {
    const [start, end] = times.split(" ");
    return { weekdays, start, end, enabled: true };
  });
}

/** "Mon–Fri", "Mon, Wed", "every day". */
function daysText(weekdays) {
  if (weekdays.length === 7) return "every day";
  const short = (day) => DAYS[day].slice(0, 3);
  const runs = [];
  for (const day of [...weekdays].sort((a, b) => a - b)) {
    if (runs.at(-1)?.at(-1) === day - 1) runs.at(-1).push(day);
    else runs.push([day]);
  }
  return runs.map((run) => (run.length > 2 ? `${short(run[0])}–${short(run.at(-1))}` : run.map(short).join(", "))).join(", ");
}

/** "Mon–Fri 08:00–18:00". */
export function rowText({ weekdays, start, end, enabled }) {
  const times = start === end ? "all day" : `${start}–${end}`;
  return `${daysText(weekdays)} ${times}${enabled ? "" : " (off)"}`;
}
