// A page of the dashboard under watch: opens it in Chromium, notes everything that went wrong behind its back, and has
// the few gestures that several tests share. Used by dashboard.test.mjs and ai.test.mjs.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { chromium } from "playwright-core";

const need = (name) => process.env[name]?.replace(/\/$/, "")
  ?? assert.fail(`${name} is not set; tests/browser/README.md says how these tests are run`);
export const URL_BASE = need("WATCHKEEPER_URL");
const CONTROL = need("WATCHKEEPER_CONTROL");
const SCREENSHOTS = process.env.SCREENSHOTS;

/** A camera may wait up to 30 s for its next attempt before it is back, and a busy machine takes its time. */
export const SLOW = 150_000;
const TIMEOUT = 60_000;

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
}

/** Tells the rig to change the wire to a camera: `cut`, `silent` or `whole`. */
export async function link(camera, wire) {
  const response = await fetch(`${CONTROL}/link/${camera}/${wire}`, { method: "POST" });
  assert.ok(response.ok, `control: ${wire} ${camera}: ${response.status}`);
}

export async function api(method, route, body) {
  const response = await fetch(`${URL_BASE}/api/v1${route}`, {
    method, body: body && JSON.stringify(body), headers: body ? { "content-type": "application/json" } : {},
  });
  return { status: response.status, body: response.status === 204 ? null : await response.json() };
}

/** Asks again until `check` holds; fails with what was last seen. */
export async function until(what, ask, check, timeout = TIMEOUT) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const seen = await ask();
    if (check(seen)) return seen;
    if (Date.now() > deadline) assert.fail(`still waiting for ${what}; last saw ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 200)); // the poll's pace, not a wait for time to pass
  }
}

/**
 * Runs `body(page)` in a fresh browser context and then fails if there were console errors, page errors, failed
 * requests, or answers of 400 and above that `expected` (["POST /api/v1/cameras 400"]) does not name.
 * `prepare(context)` runs before the page is opened.
 */
export async function onPage(browser, { expected = [], prepare = async () => {}, route = "/", ...options }, body) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  await prepare(context);
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  const problems = [];
  let watching = true;
  const note = (text) => { if (watching) problems.push(text); };
  const known = (method, url, status) => expected.includes(`${method} ${new URL(url).pathname} ${status}`);
  page.on("pageerror", (error) => note(`page error: ${error.stack}`));
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    // The browser's own line about a 4xx; the response below is judged in its place.
    if (message.text().startsWith("Failed to load resource: the server responded")) return;
    note(`console ${message.type()}: ${message.text()} (${message.location().url})`);
  });
  page.on("response", (response) => {
    const method = response.request().method();
    if (response.status() >= 400 && !known(method, response.url(), response.status())) note(`${method} ${response.url()}: ${response.status()}`);
  });
  page.on("requestfailed", (request) => {
    const why = request.failure()?.errorText;
    // The player gives up what is left of a segment when it goes elsewhere, a camera's page the picture that it waits for.
    const given = request.resourceType() === "media" || /\/(frame|detections)\?/.test(request.url());
    if (given && why === "net::ERR_ABORTED") return;
    note(`request failed: ${request.method()} ${request.url()}: ${why}`);
  });
  try {
    await page.goto(`${URL_BASE}${route}`);
    await body(page, context);
  } catch (error) {
    if (problems.length) error.message += `\nmeanwhile: ${problems.join("\n")}`;
    await shot(page, `failed-${Date.now()}`);
    throw error;
  } finally {
    watching = false; // closing the page breaks off what it was reading
    await context.close();
  }
  assert.deepEqual(problems, []);
}

/** Saves a picture of the page where `SCREENSHOTS` says, if it does. */
export async function shot(page, name) {
  if (!SCREENSHOTS) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
}

export const card = (page, camera) => page.locator(`[data-testid=camera][data-camera="${camera}"]`);
export const inState = (page, camera, state) => page.locator(`[data-testid=camera][data-camera="${camera}"][data-state="${state}"]`);

/** Waits until the card of `camera` shows a picture that was really decoded. */
export async function picture(page, camera) {
  const image = card(page, camera).getByTestId("picture");
  await image.waitFor({ state: "visible" });
  const width = await image.evaluate((img) => img.naturalWidth);
  assert.ok(width > 0, `the picture of ${camera} is ${width} wide`);
}

/** The strip of a camera on the wall, once it shows something recorded. */
export async function strip(page, camera) {
  const el = card(page, camera).locator("[data-testid=strip][data-state=ready]");
  await el.locator(".strip-range").last().waitFor({ state: "attached" });
  return el;
}

/** The player plays: the time goes on, and the frames that are drawn have something in them. */
export async function plays(page) {
  await page.waitForFunction(() => {
    const el = document.querySelector("[data-testid=player-video]");
    return el.readyState >= 2 && !el.seeking && !el.paused;
  });
  // Not by the video's own time, which begins anew where the next segment follows.
  const from = await page.evaluate(() => Date.parse(document.querySelector("[data-testid=player-time]").dateTime));
  await page.waitForFunction((t) => Date.parse(document.querySelector("[data-testid=player-time]").dateTime) > t + 500, from);
  // While a segment is read again as it grew, nothing is there to be drawn.
  const drawn = await page.waitForFunction(() => {
    const el = document.querySelector("[data-testid=player-video]");
    if (el.readyState < 2 || el.seeking) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [64, 36];
    const context = canvas.getContext("2d");
    context.drawImage(el, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    const light = Array.from({ length: 64 * 36 }, (_, i) => data[i * 4] + data[i * 4 + 1] + data[i * 4 + 2]);
    return { spread: Math.max(...light) - Math.min(...light) };
  });
  const { spread } = await drawn.jsonValue();
  assert.ok(spread > 60, `the drawn frame is one colour (spread ${spread} of 765)`);
}
