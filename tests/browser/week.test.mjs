// The week grid's arithmetic (src/dashboard/week.js), without a browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// The folder of the dashboard has no package.json that would make its .js files modules for node.
const source = await readFile(new URL("../../src/dashboard/week.js", import.meta.url), "utf8");
const { CELLS, cellsOf, fits, rowsOf, rowText } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const row = (weekdays, start, end, enabled = true) => ({ weekdays, start, end, enabled });
const painted = (cells) => cells.flatMap((on, i) => (on ? [i] : []));

test("what is painted is what the rows say, for every set of cells", () => {
  let seed = 7;
  const random = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648; };
  for (let n = 0; n < 500; n += 1) {
    const density = random();
    const cells = Array.from({ length: 7 * CELLS }, () => random() < density);
    const rows = rowsOf(cells);
    assert.deepEqual(painted(cellsOf(rows)), painted(cells));
    assert.ok(rows.every(fits) && rows.length <= 200, `${rows.length} rows`);
  }
  assert.deepEqual(rowsOf(cellsOf([])), []);
});

test("alike days share a row, whole days are whole", () => {
  const rows = [row([0, 1, 2, 3, 4], "08:00", "18:00"), row([5, 6], "00:00", "00:00")];
  assert.deepEqual(rowsOf(cellsOf(rows)), rows);
  assert.deepEqual(rows.map(rowText), ["Mon–Fri 08:00–18:00", "Sat, Sun all day"]);
  assert.equal(rowText(row([0, 2, 3, 4], "22:00", "06:00", false)), "Mon, Wed–Fri 22:00–06:00 (off)");
});

test("a night belongs to the day it begins, and Sunday's goes on into Monday", () => {
  assert.deepEqual(painted(cellsOf([row([6], "23:00", "01:00")])), [0, 1, 7 * CELLS - 2, 7 * CELLS - 1]);
  assert.deepEqual(painted(cellsOf([row([0], "23:30", "00:30")])), [CELLS - 1, CELLS]);
  assert.deepEqual(painted(cellsOf([row([0], "23:30", "00:00")])), [CELLS - 1]);
});

test("what half hours cannot say does not fit, and is only hinted at", () => {
  for (const odd of [row([0], "08:10", "09:00"), row([0], "08:00", "08:59"), row([0], "08:00", "09:00", false), row([0], "", "09:00")]) {
    assert.equal(fits(odd), false);
  }
  assert.deepEqual(painted(cellsOf([row([0], "00:10", "00:40")])), [0, 1]);
  assert.deepEqual(painted(cellsOf([row([0], "00:00", "01:00", false)])), []);
});
