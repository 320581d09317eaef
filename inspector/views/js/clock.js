// The arithmetic of RoPE's clock: two dimensions turn together, by position times speed.

/** @import { Plane } from "./types.js" */

/**
 * Return a vector of two numbers, turned.
 * @param {readonly [number, number]} vector
 * @param {number} degrees
 * @returns {[number, number]}
 */
export function turned([x, y], degrees) {
  const angle = (degrees * Math.PI) / 180;
  return [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];
}

/**
 * Return the score of a query and a key at two positions: the dot product of both, turned, plane by plane.
 * @param {{ planes: Plane[], rest: number, factor: number }} pair  rest: what dimensions that do not turn add
 * @param {number} query  the query's position
 * @param {number} key  the key's position
 */
export function scoreAt({ planes, rest, factor }, query, key) {
  let score = rest;
  for (const plane of planes) {
    const [qx, qy] = turned(plane.query, query * plane.speed);
    const [kx, ky] = turned(plane.key, key * plane.speed);
    score += factor ** 2 * (qx * kx + qy * ky);
  }
  return score;
}

/**
 * Return which planes to draw: from the first to the last, evenly spaced.
 * @param {number} planes  how many there are
 * @param {number} most  how many are drawn
 */
export function drawnOf(planes, most) {
  const count = Math.min(planes, most);
  return Array.from({ length: count }, (_, at) => Math.round((at * (planes - 1)) / Math.max(1, count - 1)));
}
