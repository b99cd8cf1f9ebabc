// The dashboard in Chromium against a running Watchkeeper with the cameras `front` and `yard`. See README.md here.

import assert from "node:assert/strict";
import { rename, rm, stat, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { api, card, inState, launch, link, onPage, picture, plays, shot, SLOW, strip, until, URL_BASE } from "./page.mjs";

let browser;
before(async () => { browser = await launch(); });
after(async () => {
  await browser?.close();
  await api("DELETE", "/cameras/spare");
});

test("both cameras appear with pictures, and the header says that they record", async () => {
  await onPage(browser, {}, async (page) => {
    for (const camera of ["front", "yard"]) {
      await inState(page, camera, "recording").waitFor({ timeout: SLOW });
      await picture(page, camera);
    }
    await page.getByTestId("health").getByText("2 of 2 cameras recording").waitFor();
    assert.match(await page.getByTestId("disk").innerText(), /\d.* free/);
    assert.equal(await page.getByTestId("connection-banner").isVisible(), false);
  });
});

test("a click on the strip plays what was recorded", async () => {
  await onPage(browser, {}, async (page) => {
    const ranges = (await strip(page, "front")).locator(".strip-range");
    const box = await ranges.last().boundingBox();
    await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    await plays(page);
    const shown = Date.parse(await page.getByTestId("player-time").getAttribute("datetime"));
    // A pixel is minutes wide, so beside a short recording its neighbour may be meant as well.
    const recorded = await ranges.evaluateAll((els) => els.map((el) => [Date.parse(el.dataset.from), Date.parse(el.dataset.to)]));
    assert.ok(recorded.some(([from, to]) => shown >= from - 1000 && shown <= to + 60_000), `the time shown, ${new Date(shown).toISOString()}, was recorded`);
    assert.match(await page.getByTestId("player-download").getAttribute("href"), /\/api\/v1\/segments\/\d+\.mp4$/);
    await shot(page, "player");
  });
});

test("the page of one camera shows how much moved, with one request for what is shown, and the wall asks for none", async () => {
  await onPage(browser, {}, async (page) => {
    const asked = [];
    page.on("request", (request) => { if (request.url().includes("/activity?")) asked.push(new URL(request.url()).searchParams); });
    await strip(page, "front");
    assert.equal(asked.length, 0);
    await card(page, "front").getByTestId("camera-name").click();
    const track = page.locator("[data-testid=camera-page] [data-testid=activity][data-state=ready]");
    await track.waitFor();
    assert.equal(new Set(asked.map(String)).size, 1, "for the day");
    assert.match(await track.getAttribute("aria-label"), /^Activity of Front door: something moves in \d+ % of the recorded time, most at \d\d:\d\d:\d\d$/);
    // Where something is recorded, something is drawn, under it.
    const range = await page.locator("[data-testid=camera-page] .strip-range").last().boundingBox();
    const drawn = await track.locator("path").boundingBox();
    const lane = await track.boundingBox();
    assert.ok(drawn.width > 0 && drawn.x <= range.x + range.width && drawn.x + drawn.width >= range.x, "at the same place");
    assert.ok(lane.y >= range.y + range.height, "below");
    for (const theme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: theme });
      const [fill, ground] = await track.evaluate((el) => [getComputedStyle(el.firstChild).fill, getComputedStyle(el).backgroundColor]);
      assert.ok(fill.startsWith("rgb(") && fill !== ground, `${fill} on ${ground}`);
    }
    await page.getByRole("button", { name: "Show less time" }).click();
    const narrower = ([query]) => Date.parse(query.get("to")) - Date.parse(query.get("from")) <= 6.5 * 3_600_000;
    await until("the part that is shown", () => asked.slice(-1), narrower);
    await shot(page, "activity");
  });
});

test("a stretch of the day is exported as a file, and its manifest says what it is", async () => {
  await onPage(browser, { route: "/#/cameras/yard", expected: ["POST /api/v1/cameras/yard/exports 400"] }, async (page) => {
    const ranges = page.locator("[data-testid=strip][data-state=ready] .strip-range");
    await ranges.last().waitFor({ state: "attached" });
    const recorded = await until("some seconds of footage", () => ranges.last().evaluate((el) => [Date.parse(el.dataset.from), Date.parse(el.dataset.to)]),
      ([from, to]) => to - from > 6000);
    const local = (ms) => page.evaluate((at) => new Date(at).toTimeString().slice(0, 8), ms);
    const start = Math.ceil(recorded[0] / 1000) * 1000, end = Math.floor(recorded[1] / 1000) * 1000;
    await page.getByTestId("export").locator("summary").click();
    assert.equal(await page.getByTestId("export-from").inputValue(), "00:00:00", "what the strip shows is offered");
    await page.getByTestId("export-from").fill(await local(end));
    await page.getByTestId("export-to").fill(await local(start));
    await page.getByTestId("export-start").click();
    await page.getByTestId("export-error").getByText("must be later than").waitFor();
    await page.getByTestId("export-from").fill(await local(start));
    await page.getByTestId("export-to").fill(await local(end));
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByTestId("export-start").click()]);
    const { size } = await stat(await download.path());
    assert.match(download.suggestedFilename(), /^yard_\d{8}_\d{6}_\d{8}_\d{6}\.mp4$/);
    await page.locator("[data-testid=export-row][data-state=done]").waitFor();
    await shot(page, "export");
    const manifest = await (await fetch(new URL(await page.getByTestId("export-manifest").getAttribute("href"), URL_BASE))).json();
    assert.equal(manifest.file.bytes, size);
    assert.ok(Math.abs(manifest.file.duration_s * 1000 - (end - start)) < 1, `${manifest.file.duration_s} s`);
    await page.getByLabel("Cancel and forget this export").click();
    await until("no export", () => api("GET", "/exports"), ({ body }) => body.exports.length === 0);
  });
});

test("playing goes on into the next segment", async () => {
  const range = () => `from=${new Date(Date.now() - 3_600_000).toISOString()}&to=${new Date().toISOString()}&limit=1000`;
  const { body: { segments } } = await until("two segments of yard, one of them complete", () => api("GET", `/cameras/yard/segments?${range()}`),
    ({ body }) => body.segments.length >= 2 && body.segments.some((segment) => segment.state === "closed"), 150_000);
  const whole = segments.findLast((segment, i) => segment.state === "closed" && i < segments.length - 1);
  await onPage(browser, { route: "/#/cameras/yard" }, async (page) => {
    await page.locator(`[data-testid=segments] tr[data-segment="${whole.id}"] button`).click();
    await plays(page);
    await page.getByTestId("player-speed").selectOption("8");
    await page.waitForFunction((id) => document.querySelector("[data-testid=player]").dataset.segment !== String(id), whole.id, { timeout: SLOW });
    await plays(page);
  });
});

test("the latest is played while it is being recorded", async () => {
  await onPage(browser, {}, async (page) => {
    await strip(page, "yard");
    await card(page, "yard").getByTestId("play-latest").click();
    await plays(page);
    const shown = () => page.evaluate(() => Date.parse(document.querySelector("[data-testid=player-time]").dateTime));
    const from = await shown();
    await page.evaluate(() => {
      const time = document.querySelector("[data-testid=player-time]");
      let last = Date.parse(time.dateTime);
      window.longestJumpMs = 0;
      new MutationObserver(() => {
        const now = Date.parse(time.dateTime);
        window.longestJumpMs = Math.max(window.longestJumpMs, now - last);
        last = now;
      }).observe(time, { attributes: true });
    });
    // More than lay there when the player was opened: the segment was read again as it grew, or the next one was.
    await page.waitForFunction((t) => Date.parse(document.querySelector("[data-testid=player-time]").dateTime) > t + 20_000, from, { timeout: SLOW });
    assert.ok(await shown() < Date.now() + 1000, "nothing is played that is still to come");
    const jump = await page.evaluate(() => window.longestJumpMs);
    assert.ok(jump < 2000, `nothing is skipped where a segment was still open; the longest jump was ${jump} ms`);
  });
});

test("seeking goes where it is told, and a hole is said", async () => {
  await until("half a minute of yard", () => api("GET", `/cameras/yard/segments?from=${new Date(Date.now() - 40_000).toISOString()}&limit=1`),
    ({ body }) => body.segments.length > 0 && Date.now() - Date.parse(body.segments[0].start) > 30_000, 60_000);
  await onPage(browser, {}, async (page) => {
    await card(page, "yard").getByTestId("play-latest").click();
    await plays(page);
    const shown = () => page.evaluate(() => Date.parse(document.querySelector("[data-testid=player-time]").dateTime));
    const from = await shown();
    await page.keyboard.press("ArrowLeft");
    await page.waitForFunction((t) => Date.parse(document.querySelector("[data-testid=player-time]").dateTime) < t - 5000, from);
    await plays(page);
    const back = await shown();
    assert.ok(back > from - 11_000, `ten seconds back and no more: from ${from} to ${back}`);
    assert.equal(await page.getByTestId("player-notice").isVisible(), false);
    // The player's strip shows the hour around; the cameras of the test are not that old.
    const box = await page.getByTestId("player").getByTestId("strip-track").boundingBox();
    await page.mouse.click(box.x + 5, box.y + box.height / 2);
    await page.getByTestId("player-notice").getByText("Nothing was recorded at").waitFor();
    await plays(page);
    const { body: { ranges } } = await api("GET", "/cameras/yard/timeline");
    assert.ok(Math.abs(await shown() - Date.parse(ranges[0].from)) < 5000, "what is played is the first that was recorded");
    await shot(page, "player-hole");
  });
});

test("changes arrive at once, pictures at their own modest pace", async () => {
  await onPage(browser, {}, async (page) => {
    const asked = [];
    page.on("request", (request) => { if (request.url().endsWith("/yard/snapshot.jpg")) asked.push(Date.now()); });
    await inState(page, "front", "recording").waitFor({ timeout: SLOW });
    try {
      const began = Date.now();
      assert.equal((await api("PATCH", "/cameras/front", { record_enabled: false })).status, 200);
      await inState(page, "front", "disabled").waitFor();
      const took = Date.now() - began;
      assert.ok(took < 2000, `the card said it after ${took} ms`);
    } finally {
      await api("PATCH", "/cameras/front", { record_enabled: true });
    }
    await inState(page, "front", "recording").waitFor({ timeout: SLOW });
    await until("three pictures", () => asked.length, (count) => count >= 3);
    const gaps = asked.slice(1).map((at, i) => at - asked[i]);
    assert.ok(Math.min(...gaps) > 4500, `pictures are asked for every 5 s at most; the gaps were ${gaps} ms`);
  });
});

test("a camera that falls silent is stalled, and comes back", async () => {
  await onPage(browser, {}, async (page) => {
    await inState(page, "front", "recording").waitFor({ timeout: SLOW });
    try {
      await link("front", "silent");
      await page.locator('[data-testid=camera][data-camera=front]:is([data-state="stalled"], [data-state="offline"])').waitFor();
      assert.match(await card(page, "front").getByTestId("trouble").innerText(), /sends nothing/);
      assert.equal(await inState(page, "yard", "recording").count(), 1, "the other camera is untouched");
      await shot(page, "stalled");
    } finally {
      await link("front", "whole");
    }
    await inState(page, "front", "recording").waitFor({ timeout: SLOW });
  });
});

test("a camera that goes and comes back is seen without a reload, and logged", async () => {
  await onPage(browser, {}, async (page) => {
    await inState(page, "front", "recording").waitFor({ timeout: SLOW });
    const logged = page.locator("[data-testid=event][data-kind=camera_offline][data-camera=front]");
    await page.locator("[data-testid=event-log][data-state=ready]").waitFor();
    const before = await logged.count();
    await page.evaluate(() => { window.notReloaded = true; });
    try {
      await link("front", "cut");
      await page.locator('[data-testid=camera][data-camera=front]:not([data-state="recording"])').waitFor({ timeout: SLOW });
      await page.waitForFunction((n) => document.querySelectorAll("[data-testid=event][data-kind=camera_offline][data-camera=front]").length > n, before, { timeout: SLOW });
      await page.getByTestId("health").getByText("1 of 2 cameras recording").waitFor();
      assert.equal(await inState(page, "yard", "recording").count(), 1, "the other camera is untouched");
      await inState(page, "front", "offline").waitFor({ timeout: SLOW });
      assert.ok((await card(page, "front").getByTestId("trouble").innerText()).length > 10, "the card says why");
      await shot(page, "offline");
    } finally {
      await link("front", "whole");
    }
    await inState(page, "front", "recording").waitFor({ timeout: SLOW });
    // What was missed is on the strip, with its cause, for pointer and keyboard alike.
    await card(page, "front").locator('.strip-gap[data-cause="camera_offline"]').last().waitFor({ state: "attached" });
    await card(page, "front").getByTestId("camera-name").click();
    const own = page.locator("[data-testid=camera-page] [data-testid=strip][data-state=ready]");
    await own.getByTestId("strip-legend").getByText("camera offline").waitFor();
    assert.match(await own.getByTestId("strip-sum").innerText(), /recorded, [\d.]+ % of what was wanted/);
    const track = own.getByTestId("strip-track");
    await track.focus();
    await page.keyboard.press("End");
    await page.keyboard.press("Shift+G");
    assert.match(await track.getAttribute("aria-valuetext"), /missing: .+, [\d.]+ s \(/);
    assert.equal(await page.evaluate(() => window.notReloaded), true);
  });
});

for (const [what, url] of [["a scheme that is not RTSP", "http://x/"], ["spaces and quotes", 'rtsp://192.0.2.7/a "b" c']]) {
  test(`an address with ${what} is refused at its field`, async () => {
    await onPage(browser, { expected: ["POST /api/v1/cameras 400"] }, async (page) => {
      await page.getByTestId("add-camera").click();
      await page.getByTestId("field-name").fill("Spare");
      await page.getByTestId("field-main_url").fill(url);
      await page.getByTestId("save").click();
      const field = page.getByTestId("field-main_url");
      await page.locator("[data-testid=field-main_url][aria-invalid=true]").waitFor();
      const reason = page.getByTestId("field-main_url-error");
      assert.ok((await reason.innerText()).length > 10);
      assert.ok((await field.getAttribute("aria-describedby")).split(" ").includes(await reason.getAttribute("id")));
      assert.ok(await field.evaluate((el) => el === document.activeElement), "the field has the focus");
      await shot(page, `form-error-${url.startsWith("http") ? "scheme" : "spaces"}`);
      await page.keyboard.press("Escape");
      assert.equal(await card(page, "spare").count(), 0);
    });
  });
}

test("a camera is added, shows its trouble, and is removed; the question says that footage stays", async () => {
  await onPage(browser, {}, async (page) => {
    await card(page, "front").waitFor();
    await page.getByTestId("add-camera").click();
    await page.getByTestId("field-name").fill("Spare");
    assert.equal(await page.getByTestId("field-id").inputValue(), "spare");
    await page.getByTestId("field-main_url").fill("rtsp://127.0.0.1:1/nothing");
    await page.getByTestId("save").click();
    await page.getByTestId("camera-form").waitFor({ state: "detached" });
    await inState(page, "spare", "offline").waitFor({ timeout: SLOW });
    await card(page, "spare").getByTestId("trouble").waitFor();
    await card(page, "spare").getByTestId("camera-name").click();
    await page.getByTestId("edit-camera").click();
    await page.getByTestId("remove").click();
    await page.getByText("The footage stays").waitFor();
    await page.getByTestId("confirm-remove").click();
    await page.getByTestId("wall").waitFor();
    await card(page, "spare").waitFor({ state: "detached" });
  });
});

test("a connection test says what is wrong before anything is saved", async () => {
  await onPage(browser, { route: "/#/add" }, async (page) => {
    await page.getByTestId("field-main_url").fill("rtsp://127.0.0.1:1/nothing");
    await page.getByTestId("probe").click();
    await page.locator('[data-testid=probe-report] [data-ok="false"]').waitFor({ timeout: SLOW });
  });
});

test("a new name shows on the card without a reload, and only the name is sent", async () => {
  const { body: { name: old } } = await api("GET", "/cameras/yard");
  const fresh = `${old} <b>2</b>`;
  await onPage(browser, {}, async (page) => {
    await card(page, "yard").waitFor();
    await page.evaluate(() => { window.notReloaded = true; });
    await card(page, "yard").getByTestId("camera-name").click();
    await page.getByTestId("edit-camera").click();
    await page.getByTestId("field-name").fill(fresh);
    const [request] = await Promise.all([page.waitForRequest((sent) => sent.method() === "PATCH"), page.getByTestId("save").click()]);
    assert.deepEqual(request.postDataJSON(), { name: fresh });
    await page.getByTestId("camera-title").getByText(fresh, { exact: true }).waitFor();
    await page.locator("[data-nav=wall]").click();
    await card(page, "yard").getByTestId("camera-name").getByText(fresh, { exact: true }).waitFor();
    assert.equal((await api("PATCH", "/cameras/yard", { name: old })).status, 200);
    await card(page, "yard").getByTestId("camera-name").getByText(old, { exact: true }).waitFor();
    assert.equal(await inState(page, "yard", "recording").count(), 1);
    assert.equal(await page.evaluate(() => window.notReloaded), true);
  });
});

test("the keyboard alone reaches a strip and plays", async () => {
  await onPage(browser, {}, async (page) => {
    await strip(page, "front");
    const onStrip = () => page.evaluate(() => document.activeElement.closest("[data-testid=strip]")?.dataset.camera ?? null);
    for (let presses = 0; await onStrip() !== "front"; presses += 1) {
      assert.ok(presses < 40, "the strip of front is within 40 presses of Tab");
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("End");
    const slider = card(page, "front").getByTestId("strip-track");
    assert.match(await slider.getAttribute("aria-valuetext"), /^\d\d:\d\d:\d\d, recorded$/);
    await page.keyboard.press("Enter");
    await plays(page);
    await page.keyboard.press("Escape");
    await page.getByTestId("player").waitFor({ state: "hidden" });
    assert.equal(await onStrip(), "front", "the focus is back where it was");
  });
});

test("days on which the clocks change have 23 and 25 hours", async () => {
  await onPage(browser, { timezoneId: "Europe/Berlin" }, async (page) => {
    const el = card(page, "front").getByTestId("strip");
    for (const [day, hours] of [["2025-03-30", "23"], ["2025-10-26", "25"], ["2025-11-01", "24"]]) {
      await page.getByTestId("day-input").fill(day);
      await page.locator(`[data-camera=front] [data-testid=strip][data-day="${day}"]`).waitFor();
      assert.equal(await el.getAttribute("data-hours"), hours);
      assert.equal(await el.locator(".strip-tick").count(), Number(hours) + 1);
    }
    await page.getByTestId("day-today").click();
    await strip(page, "front");
  });
});

test("events can be filtered", async () => {
  await onPage(browser, { route: "/#/events" }, async (page) => {
    await page.locator("[data-testid=event]").first().waitFor();
    const gap = page.locator("[data-testid=event][data-kind=recording_gap] .event-detail").first();
    assert.match(await gap.textContent(), /^[A-Z][a-z ]+: nothing was recorded for [\d.]+ s, from (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.$/);
    await page.getByTestId("event-camera").selectOption("front");
    await page.locator('[data-testid=event][data-camera="yard"]').first().waitFor({ state: "detached" });
    await page.getByTestId("event-severity").selectOption("warning");
    await page.locator("[data-testid=event][data-severity=info]").first().waitFor({ state: "detached" });
    await page.locator("[data-testid=event][data-kind=camera_offline]").first().waitFor();
  });
});

test("a lost connection is said, and mended by itself", async () => {
  const { body: { cameras } } = await api("GET", "/cameras");
  const { body: system } = await api("GET", "/system");
  const snapshot = `event: snapshot\ndata: ${JSON.stringify({ cameras, system })}\n\n`;
  // A stream that ends after its snapshot, until the test lets the page through to the real one.
  const broken = async (context) => {
    await context.route("**/api/v1/live", (route) => route.fulfill({ contentType: "text/event-stream", body: snapshot }));
  };
  await onPage(browser, { prepare: broken }, async (page, context) => {
    await card(page, "front").waitFor();
    await page.evaluate(() => { window.notReloaded = true; });
    await page.getByTestId("connection-banner").waitFor();
    await shot(page, "connection-lost");
    await context.unrouteAll();
    await page.locator("html[data-connection=live]").waitFor();
    await page.getByTestId("connection-banner").waitFor({ state: "hidden" });
    await page.getByTestId("connection").getByText("Live").waitFor();
    assert.equal(await page.evaluate(() => window.notReloaded), true);
  });
});

test("the theme is remembered", async () => {
  await onPage(browser, { colorScheme: "light" }, async (page, context) => {
    const ground = (on = page) => on.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.getByTestId("theme").click();
    await page.getByTestId("theme").click();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    const dark = await ground();
    assert.notEqual(dark, light);
    const second = await context.newPage();
    await second.goto(page.url());
    assert.equal(await ground(second), dark);
  });
});

/** Runs `body` with a camera `spare` that nobody answers for, and these settings. */
async function withSpare(settings, body) {
  const added = await api("POST", "/cameras", { id: "spare", main_url: "rtsp://127.0.0.1:1/nothing", ...settings });
  assert.equal(added.status, 201, JSON.stringify(added.body));
  try { await body(); } finally { await api("DELETE", "/cameras/spare"); }
}

const ODD = { weekdays: [6, 0], start: "08:10", end: "08:10", enabled: false };
const row = (weekdays, start, end) => ({ weekdays, start, end, enabled: true });
const cell = (page, day, hour) => page.locator(`[data-cell="${day * 48 + hour * 2}"]`);
const sums = (page) => page.getByTestId("schedule-sum").locator("li").allInnerTexts();
const saved = async (page) => {
  const [request] = await Promise.all([page.waitForRequest((sent) => sent.method() === "PATCH"), page.getByTestId("save").click()]);
  await page.getByTestId("camera-form").waitFor({ state: "detached" });
  return request.postDataJSON();
};

test("a week is painted with the mouse, and rows that do not fit into it stay as they are", async () => {
  const schedule = [ODD, row([2], "22:00", "06:00")];
  await withSpare({ record_mode: "scheduled", schedule }, () => onPage(browser, { route: "/#/cameras/spare/settings" }, async (page) => {
    assert.deepEqual(await sums(page), ["Wed 22:00–00:00", "Thu 00:00–06:00", "Mon, Sun all day (off)"]);
    await page.getByTestId("field-name").fill("Spare");
    assert.deepEqual(await saved(page), { name: "Spare" }, "what is only looked at is not sent");
    await page.getByTestId("edit-camera").click();
    // The week is laid out anew while the pointer goes there the first time.
    await cell(page, 0, 8).hover();
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    await cell(page, 0, 8).hover();
    await page.mouse.down();
    await cell(page, 6, 20).hover();
    await cell(page, 4, 17).hover();
    await page.mouse.up();
    await page.getByRole("button", { name: "Thursday: the whole day" }).click();
    await page.getByRole("button", { name: "Thursday: the whole day" }).click();
    await shot(page, "schedule");
    const body = await saved(page);
    assert.deepEqual(body, { schedule: [row([0, 1, 2, 4], "08:00", "17:30"), row([2], "22:00", "00:00"), ODD] });
    assert.deepEqual((await api("GET", "/cameras/spare")).body.schedule, body.schedule);
  }));
});

test("a week is painted with the keyboard", async () => {
  await withSpare({ record_mode: "scheduled_event" }, () => onPage(browser, { route: "/#/cameras/spare/settings" }, async (page) => {
    await page.getByText("No time is chosen: the camera would never be recorded.").waitFor();
    await page.getByTestId("field-record_mode").focus();
    for (let presses = 0; !await page.evaluate(() => document.activeElement.matches("[role=gridcell]")); presses += 1) {
      assert.ok(presses < 12, "the week is within 12 presses of Tab");
      await page.keyboard.press("Tab");
    }
    assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Monday 08:00");
    await page.keyboard.press("Space");
    for (const key of ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp"]) await page.keyboard.press(`Shift+${key}`);
    assert.deepEqual(await sums(page), ["Mon, Tue 08:00–10:00"]);
    for (const key of ["End", "Space", "ArrowUp", "Home"]) await page.keyboard.press(key);
    assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Monday 00:00");
    assert.deepEqual((await saved(page)).schedule, [row([0, 1], "08:00", "10:00"), row([1], "23:30", "00:00")]);
  }));
});

test("a finger paints the week on a phone, and exact times are typed", async () => {
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, route: "/#/cameras/spare/settings" };
  await withSpare({ record_mode: "scheduled" }, () => onPage(browser, phone, async (page, context) => {
    await cell(page, 1, 9).scrollIntoViewIfNeeded();
    const at = async (day, hour) => {
      const box = await cell(page, day, hour).boundingBox();
      return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
    };
    const touch = await context.newCDPSession(page);
    const send = (type, ...touchPoints) => touch.send("Input.dispatchTouchEvent", { type, touchPoints });
    await send("touchStart", await at(1, 9));
    await send("touchMove", await at(1, 11));
    await send("touchMove", await at(3, 13));
    await send("touchEnd");
    assert.deepEqual(await sums(page), ["Tue–Thu 09:00–13:30"]);
    await page.getByTestId("schedule-add").click();
    await page.getByTestId("save").click();
    await page.getByTestId("field-schedule-error").getByText("Enter both times").waitFor();
    const exact = page.getByTestId("exact-row");
    await exact.getByLabel("From").fill("18:05");
    await exact.getByLabel("To").fill("02:00");
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "no wider than the window");
    await shot(page, "schedule-phone");
    assert.deepEqual((await saved(page)).schedule, [row([1, 2, 3], "09:00", "13:30"), row([0, 1, 2, 3, 4], "18:05", "02:00")]);
  }));
});

test("a time zone that there is not is refused at its field", async () => {
  await withSpare({ record_mode: "scheduled" }, () => onPage(browser, { route: "/#/cameras/spare/settings", expected: ["PATCH /api/v1/cameras/spare 400"] }, async (page) => {
    await page.getByTestId("field-time_zone").fill("europe/berlin");
    await page.getByTestId("save").click();
    await page.getByTestId("field-time_zone-error").getByText("Europe/Berlin").waitFor();
    await page.getByTestId("field-time_zone").fill("Europe/Berlin");
    assert.deepEqual(await saved(page), { time_zone: "Europe/Berlin" });
  }));
});

test("a camera outside its schedule says until when, and is no trouble", async () => {
  const today = (new Date().getUTCDay() + 6) % 7;
  const schedule = [row([(today + 3) % 7], "08:30", "09:00")];
  await withSpare({ record_mode: "scheduled", schedule, time_zone: "UTC" }, () => onPage(browser, { timezoneId: "UTC" }, async (page) => {
    await inState(page, "spare", "idle").waitFor();
    assert.match(await card(page, "spare").getByTestId("trouble").innerText(), /Outside its schedule\. The next window opens .*08:30/);
    await page.getByTestId("health").getByText("2 of 2 cameras recording, 1 waiting").waitFor();
    await shot(page, "idle");
    await card(page, "spare").getByTestId("camera-name").click();
    await page.getByText("(UTC)").waitFor();
    assert.equal(await page.getByTestId("trigger").isVisible(), false);
  }));
});

test("a trigger is given, and until when it records is shown", async () => {
  await withSpare({ record_mode: "event", event_idle_session: false, post_roll_seconds: 4 }, () => onPage(browser, { route: "/#/cameras/spare" }, async (page) => {
    await page.getByTestId("trouble").getByText("Waits for a trigger").waitFor();
    await page.getByTestId("trigger").click();
    await page.getByTestId("window").getByText(/to be recorded until \d\d:\d\d:\d\d/).waitFor();
    await page.locator("[data-testid=event][data-kind=trigger]").getByText("dashboard").waitFor();
    await shot(page, "trigger");
    await page.locator("[data-testid=camera-page][data-state=offline]").waitFor();
    await page.locator("[data-testid=camera-page][data-state=idle]").waitFor();
    await page.getByTestId("window").waitFor({ state: "hidden" });
  }));
});

test("what receives a camera is chosen in the form, and how long the first frame may take", async () => {
  await withSpare({ source: "rtspsrc" }, () => onPage(browser, { route: "/#/cameras/spare/settings" }, async (page) => {
    await page.getByText("More connection settings").click();
    assert.deepEqual([await page.getByTestId("field-source").inputValue(), await page.getByTestId("field-connect_seconds").inputValue()], ["rtspsrc", "15"]);
    await page.getByTestId("field-source").selectOption("");
    await page.getByTestId("field-connect_seconds").fill("30");
    assert.deepEqual(await saved(page), { source: null, connect_seconds: 30 });
  }));
});

test("the mirror's copy is chosen in the form, and its mode only where it says something", async () => {
  await withSpare({ record_mode: "event" }, () => onPage(browser, { route: "/#/cameras/spare/settings" }, async (page) => {
    const mode = page.getByTestId("field-mirror_mode");
    assert.deepEqual([await page.getByTestId("field-mirror_enabled").isChecked(), await mode.inputValue()], [true, "recorded"]);
    await page.getByTestId("field-record_mode").selectOption("continuous");
    assert.equal(await mode.isVisible(), false);
    await page.getByTestId("field-record_mode").selectOption("event");
    await mode.selectOption("continuous");
    assert.deepEqual(await saved(page), { mirror_mode: "continuous" });
  }));
  await withSpare({}, () => onPage(browser, { route: "/#/cameras/spare/settings" }, async (page) => {
    await page.getByText("Second copy on the mirror").click();
    assert.deepEqual(await saved(page), { mirror_enabled: false });
  }));
});

test("the mirror is seen in the header, also when it goes and comes back by itself", async () => {
  const dir = process.env.WATCHKEEPER_MIRROR ?? assert.fail("WATCHKEEPER_MIRROR is not set");
  const mirror = (page, state) => page.locator(`[data-testid=mirror][data-state=${state}]`);
  await onPage(browser, { route: "/#/cameras/yard" }, async (page, context) => {
    await mirror(page, "ok").getByText("Mirror ok", { exact: true }).waitFor({ timeout: SLOW });
    assert.ok((await mirror(page, "ok").getAttribute("title")).startsWith(`${dir}: `));
    await page.locator("[data-testid=segments] td.segments-copies").getByText("both").first().waitFor();
    await page.getByTestId("kept").getByText("On the mirror").waitFor();
    await page.getByTestId("kept").getByText("Oldest there").waitFor({ timeout: SLOW });
    await shot(page, "mirror-ok");
    const phone = await context.newPage();
    await phone.setViewportSize({ width: 390, height: 844 });
    await phone.emulateMedia({ colorScheme: "dark" });
    await phone.goto(`${URL_BASE}/#/cameras/yard`);
    await mirror(phone, "ok").waitFor();
    await shot(phone, "mirror-ok-phone");
    // Its directory is gone, and something else in its place keeps it from being made anew.
    await rename(dir, `${dir}-gone`);
    try {
      await writeFile(dir, "");
      await mirror(page, "degraded").getByText("Mirror degraded", { exact: true }).waitFor();
      await page.getByTestId("announcer").getByText("Mirror degraded").waitFor();
      await page.getByTestId("kept").getByText(/^Mirror degraded\. \S/).waitFor();
      await page.locator("[data-testid=camera-page][data-state=recording]").waitFor();
      await page.locator("[data-testid=segments] td.segments-copies").getByText("disk", { exact: true }).first().waitFor();
      await shot(page, "mirror-degraded");
      await mirror(phone, "degraded").waitFor();
      assert.ok(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "no wider than the window");
      await shot(phone, "mirror-degraded-phone");
      await phone.getByTestId("kept").evaluate((el) => el.scrollIntoView());
      await shot(phone, "mirror-degraded-phone-kept");
      await page.goto(`${URL_BASE}/#/`);
      await page.locator("[data-testid=event][data-kind=mirror_degraded]").first().waitFor();
      await shot(page, "mirror-degraded-wall");
    } finally {
      await rm(dir);
    }
    await mirror(page, "ok").waitFor({ timeout: SLOW });
    await page.locator("[data-testid=event][data-kind=mirror_restored]").first().waitFor();
    await phone.close();
  });
});

for (const [width, height] of [[390, 844], [1440, 900]]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`fits ${width} px in ${colorScheme}`, async () => {
      await onPage(browser, { viewport: { width, height }, colorScheme }, async (page) => {
        await strip(page, "front");
        await picture(page, "front");
        const fits = async (where) => assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${where} is no wider than the window`);
        await fits("the wall");
        await shot(page, `wall-${width}-${colorScheme}`);
        await card(page, "front").getByTestId("camera-name").click();
        await page.locator("[data-testid=camera-page] [data-testid=strip][data-state=ready]").waitFor();
        await page.locator("[data-testid=segments] tbody tr").first().waitFor();
        await fits("the camera's page");
        await shot(page, `camera-${width}-${colorScheme}`);
        await page.getByTestId("edit-camera").click();
        await page.getByTestId("field-record_mode").selectOption("scheduled_event");
        await page.getByTestId("schedule-fill").click();
        await page.getByTestId("schedule-add").click();
        await page.getByTestId("field-record_mode").evaluate((el) => el.scrollIntoView());
        await fits("the form");
        await shot(page, `form-${width}-${colorScheme}`);
      });
    });
  }
}

test("footage is protected and let go, and a limit is written in gigabytes", async () => {
  await onPage(browser, { route: "/#/cameras/front" }, async (page) => {
    page.on("dialog", (dialog) => dialog.accept());
    const kept = page.getByTestId("kept");
    await kept.getByText(/in [\d,]+ segments/).first().waitFor({ timeout: SLOW });
    await kept.getByText("Protect footage from being deleted").click();
    await page.getByTestId("hold-reason").fill("Theft at the gate");
    await page.getByTestId("hold-add").click();
    const row = page.getByTestId("holds").getByText("Theft at the gate");
    await row.waitFor();
    const { body: { holds } } = await api("GET", "/cameras/front/holds");
    assert.equal(holds.length, 1);
    assert.ok(holds[0].bytes > 0, JSON.stringify(holds));
    await page.getByRole("button", { name: /End the protection/ }).click();
    await row.waitFor({ state: "detached" });
    assert.deepEqual((await api("GET", "/cameras/front/holds")).body.holds, []);
  });
  await onPage(browser, { route: "/#/cameras/front/settings" }, async (page) => {
    await page.getByTestId("field-quota_bytes").fill("2.5");
    await page.getByTestId("field-retention_hours").fill("72");
    await page.getByTestId("save").click();
    await page.getByTestId("camera-form").waitFor({ state: "detached" });
    const { body } = await api("GET", "/cameras/front");
    assert.deepEqual([body.quota_bytes, body.retention_hours], [2_500_000_000, 72]);
    await api("PATCH", "/cameras/front", { quota_bytes: null, retention_hours: null });
  });
});
