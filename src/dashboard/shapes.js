// Points, polygons and lines of zones, in parts of a picture (0 to 1, down and to the right). Pure. Used by outline.js and
// zones.js; tested in tests/browser.

const DIGITS = 1e4; // finer than a pixel of any camera

/** A point within the picture, without needless digits. */
export function point(x, y) {
  const part = (value) => Math.round(Math.min(1, Math.max(0, value)) * DIGITS) / DIGITS;
  return [part(x), part(y)];
}

/** Halfway between two points. */
export const middle = ([ax, ay], [bx, by]) => point((ax + bx) / 2, (ay + by) / 2);

/** So many points as a kind of zone needs. */
export const least = (kind) => (kind === "line" ? 2 : 3);

/** The most that it may have. */
export const most = (kind) => (kind === "line" ? 2 : 64);

/**
 * The arrow across a line that shows which way is `forward`: from its left to its right, looking along it. In pixels of a
 * picture of this size: {from, to, wings: [[x, y], [x, y]]}.
 */
export function arrow([[ax, ay], [bx, by]], width, height, length = 34) {
  const [dx, dy] = [(bx - ax) * width, (by - ay) * height];
  const size = Math.hypot(dx, dy) || 1;
  // y goes down: to the right of one who goes along (1, 0) is (0, 1).
  const [rx, ry] = [-dy / size, dx / size];
  const [mx, my] = [((ax + bx) / 2) * width, ((ay + by) / 2) * height];
  const at = (along, across) => [mx + rx * along + (dx / size) * across, my + ry * along + (dy / size) * across];
  const head = length * 0.35;
  return { from: at(-length / 2, 0), to: at(length / 2, 0), wings: [at(length / 2 - head, -head * 0.7), at(length / 2 - head, head * 0.7)] };
}

/** Where a zone's name stands: under its highest point, so that it is not cut off at the top. */
export function highest(points) {
  return points.reduce((best, one) => (one[1] < best[1] ? one : best));
}
