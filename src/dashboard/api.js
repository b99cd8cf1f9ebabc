// Calls of the HTTP API (docs/http-api.md). Every failure is an ApiError whose message is fit to be shown.
// Used by the views; nothing else calls fetch, except the picture loaders (picture.js, sight.js), which need the raw response.

export class ApiError extends Error {
  constructor(status, { code = "unknown", message, field = null, hint = null }) {
    super(message);
    Object.assign(this, { status, code, field, hint });
  }
}

async function call(method, path, { body, signal } = {}) {
  let response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method, signal, cache: "no-store",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "no_answer", message: "The server does not answer.",
      hint: "Check that the watchkeeper service runs and that this computer reaches it, then try again." });
  }
  if (response.status === 204) {
    await response.text(); // what is never read, Chromium may count as aborted
    return null;
  }
  const data = await response.json().catch(() => null);
  if (response.ok && data !== null) return data;
  throw new ApiError(response.status, data?.error ?? {
    message: `The server answered ${response.status} without a reason.`,
    hint: "The service's log says more: journalctl -u watchkeeper",
  });
}

const id = encodeURIComponent;
const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};
const at = (ms) => (ms === undefined ? undefined : new Date(ms).toISOString());

export const addCamera = (body) => call("POST", "/cameras", { body });
export const changeCamera = (camera, body) => call("PATCH", `/cameras/${id(camera)}`, { body });
export const removeCamera = (camera) => call("DELETE", `/cameras/${id(camera)}`);
export const trigger = (camera, reason) => call("POST", `/cameras/${id(camera)}/trigger`, { body: { reason } });
export const probeSaved = (camera, signal) => call("POST", `/cameras/${id(camera)}/probe`, { signal });
export const probe = (body, signal) => call("POST", "/probe", { body, signal });
export const addExport = (camera, from, to) => call("POST", `/cameras/${id(camera)}/exports`, { body: { from: at(from), to: at(to) } });
export const exports = async () => (await call("GET", "/exports")).exports;
export const cancelExport = (exportId) => call("DELETE", `/exports/${id(exportId)}`);
export const snapshotUrl = (camera) => `/api/v1/cameras/${id(camera)}/snapshot.jpg`;
export const retention = (volume = "primary") => call("GET", `/retention${query({ limit: 1, volume })}`);
export const holds = async (camera) => (await call("GET", `/cameras/${id(camera)}/holds`)).holds;
export const addHold = (camera, from, to, reason) => call("POST", `/cameras/${id(camera)}/holds`, { body: { from: at(from), to: at(to), reason } });
export const removeHold = (camera, hold) => call("DELETE", `/cameras/${id(camera)}/holds/${id(hold)}`);
export const segment = (segmentId) => call("GET", `/segments/${id(segmentId)}`);
export const samplers = async () => (await call("GET", "/ai/samplers")).samplers;
export const tasks = async (camera) => (await call("GET", "/ai/tasks")).tasks.filter((task) => task.camera_id === camera);
export const addTask = (body) => call("POST", "/ai/tasks", { body });
export const changeTask = (task, body) => call("PATCH", `/ai/tasks/${id(task)}`, { body });
export const removeTask = (task) => call("DELETE", `/ai/tasks/${id(task)}`);
export const workers = async () => (await call("GET", "/ai/leases")).workers;
export const frameUrl = (camera, profile, after, wait) => `/api/v1/cameras/${id(camera)}/frame${query({ profile, after, wait })}`;
export const zones = async (camera) => (await call("GET", `/cameras/${id(camera)}/zones`)).zones;
export const addZone = (camera, body) => call("POST", `/cameras/${id(camera)}/zones`, { body });
export const changeZone = (camera, zone, body) => call("PUT", `/cameras/${id(camera)}/zones/${id(zone)}`, { body });
export const removeZone = (camera, zone) => call("DELETE", `/cameras/${id(camera)}/zones/${id(zone)}`);

/** Frames from `from` on in which something was found, newest first, with `at` in milliseconds. */
export async function detections(camera, from, limit, signal) {
  const { frames } = await call("GET", `/cameras/${id(camera)}/detections${query({ from: at(from), limit })}`, { signal });
  return frames.map((frame) => ({ ...frame, at: Date.parse(frame.at) }));
}

/** In how many frames something was found, for each `step_seconds` of from..to. */
export async function detectionCounts(camera, from, to, step) {
  return (await call("GET", `/cameras/${id(camera)}/detections/counts${query({ from: at(from), to: at(to), step_seconds: step })}`)).counts;
}

/** Segments that touch from..to, oldest first. */
export async function segments(camera, from, to, limit) {
  const path = `/cameras/${id(camera)}/segments${query({ from: at(from), to: at(to), limit })}`;
  return (await call("GET", path)).segments;
}

/** Recorded time within from..to as [{from, to}] in milliseconds. */
export async function timeline(camera, from, to) {
  const { ranges } = await call("GET", `/cameras/${id(camera)}/timeline${query({ from: at(from), to: at(to) })}`);
  return ranges.map((range) => ({ from: Date.parse(range.from), to: Date.parse(range.to) }));
}

/** What became of from..to: parts {from, to, state, cause} without a hole, times in milliseconds. */
export async function coverage(camera, from, to) {
  const { ranges } = await call("GET", `/cameras/${id(camera)}/coverage${query({ from: at(from), to: at(to) })}`);
  return ranges.map((part) => ({ ...part, from: Date.parse(part.from), to: Date.parse(part.to) }));
}

/** How much moved within from..to: {from, step, values}, times in milliseconds, null where nothing is known. */
export async function activity(camera, from, to) {
  const found = await call("GET", `/cameras/${id(camera)}/activity${query({ from: at(from), to: at(to) })}`);
  return { from: Date.parse(found.from), step: found.seconds_per_value * 1000, values: found.values };
}

export async function events({ camera, severity, before, after, limit = 100 }) {
  return (await call("GET", `/events${query({ camera, severity, before, after, limit })}`)).events;
}

/**
 * The last `count` segments that begin before `ms`, newest first. The API lists oldest first, so this looks through
 * windows that widen, and finds the last recorded time from the timeline when the near past is empty.
 */
export async function segmentsBefore(camera, ms, count, segmentSeconds = 60) {
  const newest = (list) => list.filter((segment) => Date.parse(segment.start) < ms).reverse().slice(0, count);
  const near = Math.max(segmentSeconds, 10) * 1000 * (count + 2);
  let found = newest(await segments(camera, ms - near, ms, 1000));
  if (found.length > 0) return found;
  const last = (await timeline(camera, ms - 32 * 86_400_000, ms)).at(-1);
  if (!last) return [];
  found = newest(await segments(camera, last.to - near, last.to, 1000));
  return found;
}
