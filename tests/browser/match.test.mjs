// Which picture is shown with which boxes (src/dashboard/match.js), and which way a line's arrow points (shapes.js), without
// a browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

// The folder of the dashboard has no package.json that would make its .js files modules for node.
const load = async (name) => import(`data:text/javascript,${encodeURIComponent(await readFile(new URL(`../../src/dashboard/${name}`, import.meta.url), "utf8"))}`);
const { due, Found, LAG_MAX_MS } = await load("match.js");
const { arrow, point } = await load("shapes.js");

// A picture each 200 ms, that came 100 ms after it was taken.
const pictures = Array.from({ length: 20 }, (_, i) => ({ number: 100 + i, at: 1000 + i * 200, came: 1100 + i * 200 }));
const found = (frame, task_id = 1, profile = "main") => ({ profile, frame, task_id, at: 1000 + (frame - 100) * 200, detections: [] });

test("pictures are shown as much later as the worker needs, each with its own", () => {
  const known = new Found();
  assert.equal(due(pictures, known.lag(5000), 5000).number, 119, "nobody is waited for");
  // What was found in 110 is known 700 ms after that came.
  known.learn([found(110)], pictures, "main", pictures[10].came + 700);
  const now = pictures[10].came + 700;
  assert.equal(known.lag(now), 700);
  const shown = due(pictures, known.lag(now), now);
  assert.equal(shown.number, 110);
  assert.deepEqual(known.at(shown, "main").map(({ frame, exact }) => [frame, exact]), [[110, true]]);
  assert.deepEqual(known.at(pictures[9], "main"), [], "nothing is shown before it was there");
});

test("what a slow worker found stays over the next pictures for a moment, and is told from what was found in them", () => {
  const known = new Found();
  known.learn([found(100), found(103), found(101, 2), found(103, 3, "sub")], pictures, "main", 2000);
  assert.deepEqual(known.at(pictures[4], "main").map(({ task_id, frame, exact }) => [task_id, frame, exact]).sort(), [[1, 103, false], [2, 101, false], [3, 103, false]]);
  assert.deepEqual(known.at(pictures[3], "main").map(({ task_id, exact }) => [task_id, exact]).sort(), [[1, true], [2, false], [3, false]], "numbers of another stream mean other pictures");
  assert.deepEqual(known.at(pictures[19], "main"), []);
});

test("a worker that fell silent is not waited for, and no picture is held back for long", () => {
  const known = new Found();
  known.learn([found(100)], pictures, "main", pictures[0].came + 60_000);
  assert.equal(known.lag(pictures[0].came + 60_000), LAG_MAX_MS);
  assert.equal(known.lag(pictures[0].came + 66_000), 0);
  known.learn([found(100)], pictures, "main", pictures[0].came + 66_000);
  assert.equal(known.lag(pictures[0].came + 66_000), 0, "what is listed again is no news");
});

test("the arrow points to the right of one who goes along the line, whatever the picture's shape", () => {
  for (const [line, way] of [[[[0, 0.5], [1, 0.5]], [0, 1]], [[[1, 0.5], [0, 0.5]], [0, -1]], [[[0.5, 0], [0.5, 1]], [-1, 0]], [[[0.5, 1], [0.5, 0]], [1, 0]]]) {
    const { from, to } = arrow(line, 640, 360);
    assert.deepEqual([Math.sign(Math.round(to[0] - from[0])), Math.sign(Math.round(to[1] - from[1]))], way, JSON.stringify(line));
  }
  const { from, to } = arrow([[0, 0], [1, 1]], 640, 360);
  assert.ok(Math.abs((to[0] - from[0]) * 640 + (to[1] - from[1]) * 360) < 1e-6, "across the line as it is seen");
});

test("a point lies in the picture", () => {
  assert.deepEqual([point(-0.2, 1.5), point(0.123456, 0.5)], [[0, 1], [0.1235, 0.5]]);
});
