// Which of the pictures at hand is shown, and what was found in it. A worker needs a while to look at a picture; so pictures
// are shown that much later, each with what was found in that same one. Pure. Used by sight.js; tested in tests/browser.
//
// A picture is {number, at, came}: when it was taken, and when it came here. What was found is {profile, frame, task_id, at,
// detections}, `at` being when its picture was taken. All in milliseconds.

/** No picture is held back for longer, however slow a worker is. */
export const LAG_MAX_MS = 2500;
/** A worker that told nothing for so long is not waited for. */
const SILENT_MS = 5000;
/** What was found in a picture is shown over the next ones for so long, when a worker does not look at each. */
const HELD_MS = 1500;

/** What was found lately, by task and picture, and how long it took to be known. */
export class Found {
  #known = new Map(); // by task and frame
  #late = []; // {at: when it was known here, ms: how long after its picture}

  /** Takes in what was listed; `pictures` are those at hand. */
  learn(list, pictures, profile, now) {
    for (const one of list) {
      const key = `${one.task_id} ${one.profile} ${one.frame}`;
      if (this.#known.has(key)) continue;
      this.#known.set(key, one);
      const picture = one.profile === profile && pictures.find(({ number }) => number === one.frame);
      if (picture) this.#late.push({ at: now, ms: now - picture.came });
    }
    const newest = Math.max(...[...this.#known.values()].map(({ at }) => at));
    for (const [key, { at }] of this.#known) if (at < newest - 10 * SILENT_MS) this.#known.delete(key);
    this.#late = this.#late.filter(({ at }) => now - at < SILENT_MS);
  }

  /** How much later than they come pictures are to be shown. */
  lag(now) {
    return Math.min(LAG_MAX_MS, Math.max(0, ...this.#late.filter(({ at }) => now - at < SILENT_MS).map(({ ms }) => ms)));
  }

  /** What each task found last, up to this picture: `exact`, if it was in this very one. */
  at(picture, profile) {
    const last = new Map();
    for (const one of this.#known.values()) {
      if (one.at > picture.at || picture.at - one.at > HELD_MS) continue;
      if (one.at >= (last.get(one.task_id)?.at ?? 0)) last.set(one.task_id, one);
    }
    return [...last.values()].map((one) => ({ ...one, exact: one.profile === profile && one.frame === picture.number }));
  }
}

/** The picture to be shown: the last that came so long ago; of those that are all newer, the first. */
export function due(pictures, lag, now) {
  return pictures.findLast(({ came }) => came <= now - lag) ?? pictures[0];
}
