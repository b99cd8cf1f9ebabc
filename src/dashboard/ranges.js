// Recorded time as a sorted list of {from, to} in milliseconds. Pure. Used by strip.js; tested in tests/browser.

/** Holes shorter than this are joined, as the server's timeline does. */
export const JOIN_MS = 1000;

/** Adds from..to to `ranges` (sorted, apart) and returns the new list; `ranges` stays as it is. */
export function addRange(ranges, from, to) {
  const before = [], after = [];
  for (const range of ranges) {
    if (range.to + JOIN_MS < from) before.push(range);
    else if (range.from - JOIN_MS > to) after.push(range);
    else { from = Math.min(from, range.from); to = Math.max(to, range.to); }
  }
  return [...before, { from, to }, ...after];
}

/** The range that holds `ms`, or undefined. */
export function rangeAt(ranges, ms) {
  return ranges.find((range) => range.from <= ms && ms < range.to);
}

/**
 * Where playing starts for a pointer at `ms`: a pixel of a day's strip is a minute or more, so a hit within
 * `tolerance` of something recorded means that, a little before its end so that there is something to see.
 */
export function snap(ranges, ms, tolerance) {
  if (rangeAt(ranges, ms)) return ms;
  let best = null, distance = tolerance;
  for (const range of ranges) {
    const d = ms < range.from ? range.from - ms : ms - range.to;
    if (d <= distance) { best = range; distance = d; }
  }
  return best ? Math.max(best.from, Math.min(ms, best.to - 5000)) : ms;
}

/**
 * Parts of a day as `recorded` ranges and the `gaps` between them of a second or more; a gap that goes on, for nothing
 * is known after it, is `open`. `filled` is what of the recorded time came from the camera's own storage.
 */
export function split(parts, now) {
  const recorded = parts.filter((part) => part.state === "recorded").reduce((list, { from, to }) => addRange(list, from, to), []);
  const gaps = parts.filter((part) => part.state !== "recorded" && part.to - part.from >= JOIN_MS);
  const filled = parts.filter((part) => part.state === "recorded" && part.refill === "filled").map(({ from, to }) => ({ from, to }));
  const last = parts.at(-1);
  if (last && last === gaps.at(-1) && last.state !== "unknown" && now - last.to < 10_000) gaps[gaps.length - 1] = { ...last, open: true };
  return { recorded, gaps, filled };
}

/** Takes footage from..to out of `gaps`: an open gap ends there. */
export function cut(gaps, from, to) {
  return gaps.flatMap((gap) => [
    ...(gap.from < from ? [{ ...gap, to: Math.min(gap.to, from), open: gap.open && gap.to <= from ? gap.open : undefined }] : []),
    ...(gap.to > to ? [{ ...gap, from: Math.max(gap.from, to) }] : []),
  ]);
}

/** Recorded part of the wanted time in percent, as text; rounded down, for what is not all is not 100 %. */
export function percent(recorded, gaps, from, to) {
  const got = total(recorded, from, to), missing = total(gaps.filter((gap) => gap.state === "missing"), from, to);
  return got + missing === 0 ? null : `${Math.floor((got / (got + missing)) * 10_000) / 100} %`;
}

/** Sum of what is recorded within from..to. */
export function total(ranges, from, to) {
  return ranges.reduce((sum, range) => sum + Math.max(0, Math.min(range.to, to) - Math.max(range.from, from)), 0);
}
