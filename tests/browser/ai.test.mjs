// What programs see on a camera's page: tasks and samplers, boxes over the very picture they were found in, zones that are
// drawn, and their events. The test is the worker. See README.md here.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { api, card, launch, onPage, plays, shot, SLOW, until, URL_BASE } from "./page.mjs";

let browser;
before(async () => { browser = await launch(); });
after(async () => {
  await browser?.close();
  for (const { id } of (await api("GET", "/ai/tasks")).body.tasks) await api("DELETE", `/ai/tasks/${id}`);
  for (const zone of await zones()) await api("DELETE", `/cameras/yard/zones/${zone.id}`);
  await api("PATCH", "/cameras/front", { sub_url: null });
});

// What a test that failed left behind is no concern of the next.
beforeEach(async () => { for (const zone of await zones()) await api("DELETE", `/cameras/yard/zones/${zone.id}`); });

const YARD = "/#/cameras/yard";
// A task that goes leaves the page asking for a picture that will not come, until it hears of it.
const GOES = ["GET /api/v1/cameras/yard/frame 409"];
const zones = async () => (await api("GET", "/cameras/yard/zones")).body.zones;
const tasks = async () => (await api("GET", "/ai/tasks")).body.tasks;

/** Where a box stands tells in which picture it was found. */
const placeOf = (number) => 0.05 + (number % 40) / 80;

/** The next picture of yard's main stream. */
async function pictureAfter(number) {
  const response = await fetch(`${URL_BASE}/api/v1/cameras/yard/frame?profile=main&wait=20${number === null ? "" : `&after=${number}`}`);
  await response.arrayBuffer();
  return response.status === 200 ? Number(response.headers.get("x-frame-number")) : null;
}

/** Runs `body(worker)` while a worker of its own has a task of yard, and finds in each picture what `worker.finds(number)` says. */
async function withWorker(type, body) {
  const added = await api("POST", "/ai/tasks", { camera_id: "yard", type, profile: "main", fps: 4, width: 320 });
  assert.equal(added.status, 201, JSON.stringify(added.body));
  const { body: { lease, tasks: [task] } } = await api("POST", "/ai/leases", { worker: `worker-${type}`, types: [type], ttl_seconds: 300 });
  const worker = { finds: () => [], ended: false };
  const work = async () => {
    let number = null;
    while (!worker.ended) {
      const next = await pictureAfter(number);
      if (next === null) continue;
      number = next;
      const detections = worker.finds(number);
      if (detections.length === 0) continue;
      const { status, body: said } = await api("POST", "/ai/detections", { lease, camera_id: "yard", task_id: task.id, frame: number, detections });
      assert.equal(status, 200, JSON.stringify(said));
    }
  };
  const working = work();
  try {
    await body(worker);
  } finally {
    worker.ended = true;
    await working;
    await api("DELETE", `/ai/leases/${lease}`);
    await api("DELETE", `/ai/tasks/${task.id}`);
  }
}

/** Presses on the picture, at parts of it. */
async function press(page, ...points) {
  for (const [x, y] of points) {
    const box = await page.getByTestId("zone-pad").boundingBox();
    await page.mouse.click(box.x + x * box.width, box.y + y * box.height);
  }
}

const drawn = (page) => page.locator("[data-testid=zone-shape]");
const near = (seen, wanted, what) => assert.ok(seen.length === wanted.length && seen.every(([x, y], i) => Math.hypot(x - wanted[i][0], y - wanted[i][1]) < 0.01), `${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`);

test("a task is added, shown with its sampler and its worker, switched off, and removed; without one no picture is asked for", async () => {
  await onPage(browser, { route: YARD, expected: [...GOES, "POST /api/v1/ai/tasks 400"] }, async (page) => {
    page.on("dialog", (dialog) => dialog.accept());
    const asked = [];
    page.on("request", (request) => { if (/\/(frame|frames|detections)\?/.test(request.url())) asked.push(request.url()); });
    await page.getByTestId("ai-empty").getByText("docs/workers.md").waitFor();
    await page.locator("[data-testid=sight] .picture[data-state=ready]").waitFor();
    assert.deepEqual(asked, []);
    await shot(page, "ai-empty");
    await page.getByTestId("task-fold").locator("summary").click();
    await page.getByTestId("task-type").fill("people");
    await page.getByTestId("task-fps").fill("31");
    await page.getByTestId("task-add").click();
    await page.locator("#task-fps-error").getByText("0.1 to 30").waitFor();
    await page.getByTestId("task-fps").fill("4");
    await page.getByTestId("task-add").click();
    const sampler = page.getByTestId("sampler");
    await page.locator("[data-testid=sampler][data-state=sampling]").waitFor();
    await sampler.getByText("no worker").waitFor();
    await page.locator("[data-testid=sight-frame] img").waitFor();
    const [task] = await tasks();
    assert.deepEqual([task.camera_id, task.type, task.profile, task.fps, task.width, task.enabled], ["yard", "people", "sub", 4, 640, true]);
    await api("POST", "/ai/leases", { worker: "finder", types: ["people"], ttl_seconds: 15 });
    await sampler.getByText("worker finder").waitFor();
    await sampler.getByText("4.0 fps").first().waitFor();
    await shot(page, "ai-sampling");
    await page.getByTestId("task-enabled").uncheck();
    await page.locator("[data-testid=sampler][data-profile=off]").getByText("Stopped").waitFor();
    assert.equal((await tasks())[0].enabled, false);
    await page.getByTestId("sight-frame").waitFor({ state: "hidden" });
    await page.getByTestId("task-remove").click();
    await page.getByTestId("ai-empty").waitFor();
    assert.deepEqual(await tasks(), []);
  });
});

test("what a worker finds is drawn over the very picture it was found in, and goes with it", async () => {
  await withWorker("boxes", (worker) => onPage(browser, { route: YARD, expected: GOES }, async (page) => {
    worker.finds = (number) => [
      { label: "person", confidence: 0.914, box: [placeOf(number), 0.3, 0.1, 0.5], track_id: "7" },
      { label: "car", confidence: 0.55, box: [0.8, 0, 0.2, 0.2] },
    ];
    await page.getByTestId("sight").scrollIntoViewIfNeeded();
    // Picture and boxes as they stand together on the page, for three pictures.
    const seen = new Map();
    await until("boxes over three pictures", async () => {
      const now = await page.evaluate(() => {
        const image = document.querySelector("[data-testid=sight-frame] img"), box = document.querySelector("[data-testid=box][data-exact=yes]");
        if (!image || !box || document.querySelector("[data-testid=boxes]").hidden) return null;
        const [a, b] = [image, box].map((el) => el.getBoundingClientRect());
        // The picture stands in its element as large as it fits.
        const scale = Math.min(a.width / image.naturalWidth, a.height / image.naturalHeight);
        const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
        const [left, top] = [a.left + (a.width - width) / 2, a.top + (a.height - height) / 2];
        return { picture: Number(document.querySelector("[data-testid=sight-frame]").dataset.frame), frame: Number(box.dataset.frame),
          box: [(b.left - left) / width, (b.top - top) / height, b.width / width, b.height / height], words: box.innerText };
      });
      if (now) seen.set(now.picture, now);
      return seen.size;
    }, (size) => size >= 3);
    for (const { picture, frame, box, words } of seen.values()) {
      assert.equal(picture, frame);
      assert.equal(words, "person 91 %, 7");
      [placeOf(picture), 0.3, 0.1, 0.5].forEach((wanted, i) => assert.ok(Math.abs(box[i] - wanted) < 0.01, `box ${box} in picture ${picture}`));
    }
    assert.match(await page.getByTestId("boxes").getAttribute("aria-label"), /person 91 %, 7, car 55 %/);
    await shot(page, "ai-boxes");
    worker.finds = () => [];
    await page.getByTestId("boxes").waitFor({ state: "hidden" });
    assert.equal(await page.locator("[data-testid=sight-frame] img").count(), 1, "the pictures go on");
    // Nobody who does not look asks for any: while the page is hidden, and after it was left.
    const askedWhile = async () => {
      let asked = 0;
      const listener = (request) => { if (/\/(frame|detections)\?/.test(request.url())) asked += 1; };
      page.on("request", listener);
      let number = await pictureAfter(null);
      for (let n = 0; n < 5; n += 1) number = await pictureAfter(number) ?? number;
      page.off("request", listener);
      return asked;
    };
    const hide = (hidden) => page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
    await hide(true);
    await page.getByTestId("sight-frame").waitFor({ state: "hidden" });
    assert.equal(await askedWhile(), 0, "hidden");
    await hide(false);
    await page.locator("[data-testid=sight-frame] img").waitFor();
    assert.ok(await askedWhile() > 0, "seen again");
    await page.getByRole("link", { name: "Back to all cameras" }).click();
    await page.getByTestId("wall").waitFor();
    assert.equal(await askedWhile(), 0, "left");
  }));
});

test("a region is drawn with the mouse, is there when the page is opened anew, is changed and removed", async () => {
  const corners = [[0.2, 0.3], [0.7, 0.25], [0.8, 0.8], [0.25, 0.9]];
  await onPage(browser, { route: YARD, expected: ["POST /api/v1/cameras/yard/zones 400"] }, async (page) => {
    await page.getByTestId("draw-region").click();
    await press(page, ...corners);
    await page.locator(".handle.closes").waitFor();
    await shot(page, "zone-drawing");
    await press(page, corners[0]);
    await page.getByTestId("zone-ask").getByText("Drag a corner").waitFor();
    await page.getByTestId("zone-save").click();
    // Without a name it is refused, at the field.
    await page.locator("[name=name][aria-invalid=true]").waitFor();
    await page.locator("[name=name]").fill("porch");
    await page.locator("[name=labels]").fill("person, dog");
    await page.locator("[name=min_confidence]").fill("60");
    await page.locator("[name=dwell_seconds]").fill("20");
    await shot(page, "zone-region");
    await page.getByTestId("zone-save").click();
    await page.getByTestId("zone").getByText("porch").waitFor();
    const [zone] = await zones();
    near(zone.points, corners, "what was pressed");
    assert.deepEqual([zone.name, zone.kind, zone.labels, zone.min_confidence, zone.confirm_frames, zone.dwell_seconds], ["porch", "region", ["person", "dog"], 0.6, 2, 20]);

  });
  await onPage(browser, { route: YARD }, async (page) => {
    page.on("dialog", (dialog) => dialog.accept());
    const [zone] = await zones();
    await page.getByTestId("zone").getByText("porch").waitFor();
    const shape = drawn(page).and(page.locator(`[data-zone="${zone.id}"]`));
    await shape.waitFor();
    const area = await page.getByTestId("sight-area").boundingBox();
    const shown = (await shape.getAttribute("points")).split(" ").map((pair) => pair.split(",").map(Number)).map(([x, y]) => [x / area.width, y / area.height]);
    near(shown, corners, "what is drawn over the picture");
    await page.getByTestId("zones-shown").uncheck();
    assert.equal(await shape.count(), 0);
    await page.getByTestId("zones-shown").check();

    await page.getByTestId("zone-change").click();
    const pad = await page.getByTestId("zone-pad").boundingBox();
    const at = ([x, y]) => [pad.x + x * pad.width, pad.y + y * pad.height];
    await page.mouse.move(...at(corners[1]));
    await page.mouse.down();
    await page.mouse.move(...at([0.6, 0.2]), { steps: 4 });
    await page.mouse.up();
    await page.keyboard.press("ArrowDown");
    await page.getByTestId("zone-save").click();
    await page.getByTestId("zone-form").waitFor({ state: "detached" });
    near((await zones())[0].points, [corners[0], [0.6, 0.21], corners[2], corners[3]], "one corner was dragged, and moved on by a key");
    assert.equal((await zones())[0].dwell_seconds, 20, "what was not touched is as it was");
    await page.getByTestId("zone-remove").click();
    await page.getByTestId("zone").waitFor({ state: "detached" });
    assert.deepEqual(await zones(), []);
  });
});

test("a polygon that crosses itself is refused where it is drawn, and Escape gives it up", async () => {
  await onPage(browser, { route: YARD, expected: ["POST /api/v1/cameras/yard/zones 400"] }, async (page) => {
    await page.getByTestId("draw-region").click();
    await press(page, [0.2, 0.2], [0.8, 0.8], [0.8, 0.2], [0.2, 0.8]);
    await page.keyboard.press("Enter");
    await page.locator("[name=name]").fill("bow tie");
    await page.getByTestId("zone-save").click();
    await page.getByTestId("zone-error").getByText("crosses itself").waitFor();
    await page.locator(".outline.draft.bad").waitFor();
    await shot(page, "zone-crossing");
    await page.keyboard.press("Escape");
    await page.getByTestId("zone-form").waitFor({ state: "detached" });
    assert.equal(await drawn(page).count(), 0);
    assert.deepEqual(await zones(), []);
  });
});

test("a line says which way is forward; who crosses it is a mark on the day and an event that plays", async () => {
  await withWorker("line", (worker) => onPage(browser, { route: YARD, expected: GOES }, async (page) => {
    page.on("dialog", (dialog) => dialog.accept());
    await page.getByTestId("draw-line").click();
    await press(page, [0.9, 0.5], [0.1, 0.5]);
    await page.locator("[name=name]").fill("gate");
    const points = async () => {
      const { from, to } = await page.getByTestId("zone-arrow").evaluate((el) => el.dataset);
      return [from, to].map((pair) => pair.split(",").map(Number)[1]);
    };
    let [from, to] = await points();
    assert.ok(to < from, "from right to left, forward is up");
    await page.getByTestId("zone-turn").click();
    [from, to] = await points();
    assert.ok(to > from, "turned round, it is down");
    await shot(page, "zone-line");
    await page.getByTestId("zone-save").click();
    await page.getByTestId("zone").getByText("gate").waitFor();
    near((await zones())[0].points, [[0.1, 0.5], [0.9, 0.5]], "from left to right");

    // Somebody walks down the picture: where the arrow points.
    let step = 0;
    worker.finds = () => { step += 1; return [{ label: "person", confidence: 0.9, box: [0.45, Math.min(0.75, step * 0.08), 0.1, 0.2], track_id: "7" }]; };
    const event = page.locator("[data-testid=event][data-kind=line_cross]");
    await event.getByText("forward").waitFor();
    worker.finds = () => [];
    const mark = page.locator("[data-testid=mark][data-kind=line_cross]");
    await mark.waitFor();
    await page.getByTestId("marks-words").getByText("1 zone event").waitFor();
    assert.match(await mark.getAttribute("aria-label"), /\d\d:\d\d:\d\d, Crossed a line: gate: person 7, forward\. Play/);
    // The row of a segment that begins just then may come after the event.
    const { at } = await until("where the crossing is recorded", async () => (await api("GET", "/events?camera=yard&limit=1000")).body.events.find(({ kind }) => kind === "line_cross"),
      (crossed) => crossed.sight.segment_id !== null);
    await until("a second more of it on disk", () => api("GET", "/cameras/yard/timeline"), ({ body }) => Date.parse(body.ranges.at(-1).to) > Date.parse(at) + 1000);
    await page.getByTestId("marks").scrollIntoViewIfNeeded();
    await shot(page, "ai-marks");

    const shows = async (button) => {
      await page.evaluate(() => {
        const time = document.querySelector("[data-testid=player-time]");
        window.playsFrom = null;
        new MutationObserver(() => { window.playsFrom ??= time.dateTime; }).observe(time, { attributes: true });
      });
      await button.click();
      await plays(page);
      const from = Date.parse(await page.evaluate(() => window.playsFrom)) - Date.parse(at);
      assert.ok(from >= -2000 && from <= 0, `plays from ${from} ms of the crossing`);
      assert.doesNotMatch(await page.getByTestId("player-notice").innerText(), /Nothing was recorded/);
      await page.keyboard.press("Escape");
    };
    await shows(mark);
    await shows(event.getByTestId("event-play"));
    await page.getByTestId("zone-remove").click();
    await page.getByTestId("zone").waitFor({ state: "detached" });
  }));
});

test("a finger draws on a phone, and numbers alone do as well", async () => {
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme: "dark", route: YARD };
  await onPage(browser, phone, async (page) => {
    page.on("dialog", (dialog) => dialog.accept());
    await page.getByTestId("draw-region").tap();
    for (const [x, y] of [[0.2, 0.2], [0.8, 0.2], [0.5, 0.9], [0.2, 0.2]]) {
      const box = await page.getByTestId("zone-pad").boundingBox();
      await page.touchscreen.tap(box.x + x * box.width, box.y + y * box.height);
    }
    await page.getByTestId("zone-ask").getByText("Drag a corner").waitFor();
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "no wider than the window");
    await shot(page, "zone-phone");
    await page.locator("[name=name]").fill("drive");
    await page.getByTestId("zone-save").tap();
    await page.getByTestId("zone").getByText("drive").waitFor();
    near((await zones())[0].points, [[0.2, 0.2], [0.8, 0.2], [0.5, 0.9]], "where the finger was");
    await page.getByTestId("zone-remove").tap();
    await page.getByTestId("zone").waitFor({ state: "detached" });
  });
  await onPage(browser, { route: YARD }, async (page) => {
    await page.getByTestId("draw-line").focus();
    await page.keyboard.press("Enter");
    await page.getByTestId("zone-numbers").locator("summary").focus();
    await page.keyboard.press("Enter");
    for (const [i, x, y] of [[0, "12.5", "40"], [1, "90", "60"]]) {
      await page.getByTestId("zone-add-point").focus();
      await page.keyboard.press("Enter");
      await page.getByTestId(`zone-x-${i}`).fill(x);
      await page.getByTestId(`zone-y-${i}`).fill(y);
    }
    await page.locator("[name=name]").fill("kerb");
    await page.keyboard.press("Enter");
    await page.getByTestId("zone").getByText("kerb").waitFor();
    const [zone] = await zones();
    assert.deepEqual([zone.kind, zone.points], ["line", [[0.125, 0.4], [0.9, 0.6]]]);
    await api("DELETE", `/cameras/yard/zones/${zone.id}`);
  });
});

test("a sampler in trouble is a mark on its card, and says why on its camera's page", async () => {
  assert.equal((await api("PATCH", "/cameras/front", { sub_url: "rtsp://127.0.0.1:1/nothing" })).status, 200);
  const { body: task } = await api("POST", "/ai/tasks", { camera_id: "front", type: "people", profile: "sub" });
  try {
    await onPage(browser, {}, async (page) => {
      await card(page, "front").getByTestId("ai-mark").getByText("AI: no pictures").waitFor({ timeout: SLOW });
      await card(page, "yard").waitFor();
      assert.equal(await card(page, "yard").getByTestId("ai-mark").isVisible(), false);
      await shot(page, "ai-mark");
      await card(page, "front").getByTestId("camera-name").click();
      await page.locator("[data-testid=sampler][data-state=offline]").getByText("The sub stream does not come.").waitFor();
      await shot(page, "ai-offline");
    });
  } finally {
    await api("DELETE", `/ai/tasks/${task.id}`);
    await api("PATCH", "/cameras/front", { sub_url: null });
  }
});

test("a sampler that was shed says why, on its card and on its camera's page", async () => {
  // What the service says when the limit is used up, for which it would take more streams than there are here.
  const shed = (sampler) => ({ ...sampler, state: "budget_exhausted", granted_fps: 0, measured_fps: 0 });
  const { body: task } = await api("POST", "/ai/tasks", { camera_id: "yard", type: "people" });
  const prepare = async (context) => {
    const change = (path, of) => context.route(`**/api/v1/ai/${path}`, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: of(await response.json()) });
    });
    await change("samplers", ({ samplers }) => ({ samplers: samplers.map(shed) }));
    await change("tasks", (all) => ({ tasks: all.tasks.map((one) => ({ ...one, sampler: one.sampler && shed(one.sampler) })) }));
  };
  try {
    await onPage(browser, { prepare }, async (page) => {
      await card(page, "yard").getByTestId("ai-mark").getByText("AI: no budget left").waitFor();
      await card(page, "yard").getByTestId("camera-name").click();
      await page.locator("[data-testid=sampler][data-state=budget_exhausted]").getByText("No budget left").waitFor();
      await page.getByTestId("sampler-trouble").getByText("ai_max_total_fps").waitFor();
    });
  } finally {
    await api("DELETE", `/ai/tasks/${task.id}`);
  }
});
