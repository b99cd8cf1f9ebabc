// The strip's arithmetic (src/dashboard/ranges.js), without a browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// The folder of the dashboard has no package.json that would make its .js files modules for node.
const source = await readFile(new URL("../../src/dashboard/ranges.js", import.meta.url), "utf8");
const { addRange, cut, percent, rangeAt, snap, split, total } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

const range = (from, to) => ({ from, to });

test("a range that grows stays one, a hole under a second closes, a larger one stays", () => {
  assert.deepEqual(addRange([], 0, 10), [range(0, 10)]);
  assert.deepEqual(addRange([range(0, 10_000)], 0, 15_000), [range(0, 15_000)]);
  assert.deepEqual(addRange([range(0, 10_000)], 10_900, 20_000), [range(0, 20_000)]);
  assert.deepEqual(addRange([range(0, 10_000)], 12_000, 20_000), [range(0, 10_000), range(12_000, 20_000)]);
});

test("a range between two others joins what it touches and keeps the order", () => {
  const list = [range(0, 1000), range(10_000, 20_000), range(50_000, 60_000)];
  assert.deepEqual(addRange(list, 1500, 10_500), [range(0, 20_000), range(50_000, 60_000)]);
  assert.deepEqual(addRange(list, 30_000, 40_000), [range(0, 1000), range(10_000, 20_000), range(30_000, 40_000), range(50_000, 60_000)]);
  assert.equal(list.length, 3, "what was given is not changed");
});

test("a day's parts become recordings and gaps, and footage ends an open gap", () => {
  const part = (from, to, state, cause) => ({ from, to, state, cause });
  const parts = [part(0, 10_000, "not_wanted"), part(10_000, 40_000, "recorded"), part(40_000, 40_400, "missing", "operator"),
    part(40_400, 70_000, "recorded"), part(70_000, 80_000, "missing", "stalled")];
  const { recorded, gaps } = split(parts, 81_000);
  assert.deepEqual(recorded, [range(10_000, 70_000)]);
  assert.deepEqual(gaps, [parts[0], { ...parts[4], open: true }]);
  assert.equal(split(parts, 200_000).gaps.at(-1).open, undefined, "nothing is known of what came after");
  assert.equal(percent(recorded, gaps, 0, 80_000), "85.71 %");
  assert.equal(percent([], gaps.slice(0, 1), 0, 80_000), null);
  const [, ended] = cut(gaps, 78_000, 85_000);
  assert.deepEqual([ended.from, ended.to, ended.open], [70_000, 78_000, undefined]);
  assert.deepEqual(cut(gaps, 90_000, 95_000).at(-1), gaps[1], "footage that begins later than what is known of the gap");
});

test("what came from the camera's own storage is known apart, and what is to come keeps how it stands", () => {
  const parts = [
    { ...range(0, 10_000), state: "recorded" },
    { ...range(10_000, 14_000), state: "recorded", refill: "filled" },
    { ...range(14_000, 20_000), state: "missing", cause: "camera_offline", refill: "pending" },
    { ...range(20_000, 30_000), state: "recorded" },
  ];
  const { recorded, gaps, filled } = split(parts, 30_000);
  assert.deepEqual(recorded, [range(0, 14_000), range(20_000, 30_000)]);
  assert.deepEqual(filled, [range(10_000, 14_000)]);
  assert.equal(gaps[0].refill, "pending");
});

test("a pointer beside a recording means the recording, not its very end", () => {
  const list = [range(100_000, 200_000)];
  assert.equal(snap(list, 150_000, 60_000), 150_000);
  assert.equal(snap(list, 50_000, 60_000), 100_000);
  assert.equal(snap(list, 250_000, 60_000), 195_000);
  assert.equal(snap(list, 300_000, 60_000), 300_000, "too far away");
  assert.equal(snap([range(0, 2000)], 9000, 60_000), 0, "a short one plays from its start");
});

test("sums and hits", () => {
  const list = [range(0, 10), range(20, 30)];
  assert.equal(total(list, 5, 25), 10);
  assert.equal(rangeAt(list, 10), undefined);
  assert.equal(rangeAt(list, 20), list[1]);
});
