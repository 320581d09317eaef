// The reading of numbers in line: a column's numbers, the ticks of bars, which column is at a place, where keys lead.

import { inside, show } from "./canvas.js";
import { SCALES } from "./colours.js";

/** @import { StripsHeader, StripsLayout, StripsPanel } from "./types.js" */

/**
 * Return one series' number in a column; NaN for none.
 * @param {Pick<StripsHeader, "count">} header
 * @param {Float32Array} numbers
 * @param {number} row
 * @param {number} column
 */
export const numberAt = ({ count }, numbers, row, column) => numbers[row * count + column];

/**
 * Return the height of a bar, from -1 to 1.
 * @param {Pick<StripsPanel, "scale" | "limit">} panel
 * @param {number} v
 */
export const heightOf = ({ scale, limit }, v) => (scale ? SCALES[scale].at(v) : v / limit);

/**
 * Return the heights at which lines are drawn behind bars, from the lowest on, each with its number.
 * @param {Pick<StripsPanel, "scale" | "limit" | "upward">} panel
 * @returns {[number, string][]}
 */
export function ticksOf({ scale, limit, upward }) {
  if (scale) return SCALES[scale].ticks.map((w) => [SCALES[scale].at(w), `${w}`]);
  /** @type {[number, string][]} */
  const up = [
    [0, "0"],
    [1, show(limit)],
  ];
  return upward ? up : [[-1, show(-limit)], ...up];
}

/**
 * Return the column at a place in the canvas, in CSS pixels; -1 beside the picture.
 * @param {Pick<StripsHeader, "count">} header
 * @param {Pick<StripsLayout, "left" | "step">} layout
 * @param {number} x
 */
export function columnAt({ count }, { left, step }, x) {
  const column = Math.floor((x - left) / step);
  return column >= 0 && column < count ? column : -1;
}

/** @type {Record<string, number>} */
const MOVES = { ArrowLeft: -1, ArrowRight: 1 };

/**
 * Return the column that a key leads to: arrows by one, Home and End to the ends; -1 for any other key.
 * @param {Pick<StripsHeader, "count" | "marked">} header
 * @param {number} at  -1 for none: an arrow then goes to the marked column, or the first
 * @param {string} key
 */
export function moved({ count, marked }, at, key) {
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  if (!Object.hasOwn(MOVES, key)) return -1;
  return at < 0 ? Math.max(marked, 0) : inside(at + MOVES[key], count);
}

/**
 * Return the lines that are read of a column: `words` (its name, its note) and `numbers`, those there are.
 * @param {StripsHeader} header
 * @param {Float32Array} numbers
 * @param {number} column
 */
export function readingOf(header, numbers, column) {
  const words = [header.names[column], header.notes?.[column] ?? ""].filter((word, i) => i === 0 || word);
  const found = header.series.map((series, row) => ({ series, v: numberAt(header, numbers, row, column) }));
  const read = found.filter(({ v }) => !Number.isNaN(v)).map(({ series, v }) => `${series} ${show(v)}`);
  return { words, numbers: read };
}
