// The reading of a map: the number of a cell, what rows and columns are called, which cell is at a place, where keys lead.

import { inside, show } from "./canvas.js";

/** @import { MapHeader, MapLayout, Pair } from "./types.js" */

/**
 * Return a cell's number; NaN where it is masked.
 * @param {Pick<MapHeader, "packing" | "shape">} header
 * @param {Float32Array} numbers
 * @param {Pair} cell
 */
export function valueAt({ packing, shape }, numbers, [row, column]) {
  if (packing === "lower") return column > row ? NaN : numbers[(row * (row + 1)) / 2 + column];
  return numbers[row * shape[1] + column];
}

/**
 * Return what a row is called: position and token, or the positions of those it stands for.
 * @param {Pick<MapHeader, "bare" | "rows" | "pool">} header
 * @param {number} row
 */
export function rowLabel({ bare, rows, pool }, row) {
  return bare ? rows[row] : pooled(rows, pool[0], row); // a bare one says its position itself
}

/**
 * Return what a column is called.
 * @param {Pick<MapHeader, "bare" | "columns" | "pool">} header
 * @param {number} column
 */
export function columnLabel({ bare, columns, pool }, column) {
  if (!columns) return `${column}`;
  return bare ? columns[column] : pooled(columns, pool[1], column);
}

/**
 * Return the name of a cell that stands for `pool` labels.
 * @param {string[]} labels
 * @param {number} pool
 * @param {number} at
 */
function pooled(labels, pool, at) {
  const first = at * pool;
  const last = Math.min(first + pool, labels.length) - 1;
  return first === last ? `${first} ${labels[first]}` : `${first}–${last}`;
}

/**
 * Return the cell at a place in the canvas, in CSS pixels; null beside the map.
 * @param {Pick<MapHeader, "shape">} header
 * @param {Pick<MapLayout, "x0" | "y0" | "dpr" | "stepX" | "stepY">} layout
 * @param {Pair} place
 * @returns {Pair | null}
 */
export function cellAt({ shape: [rows, columns] }, { x0, y0, dpr, stepX, stepY }, [x, y]) {
  const row = Math.floor((y - y0 / dpr) / stepY);
  const column = Math.floor((x - x0 / dpr) / stepX);
  return row >= 0 && column >= 0 && row < rows && column < columns ? [row, column] : null;
}

/** @type {Record<string, Pair>} */
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * Return the cell that a key leads to: arrows by one, Home and End to the row's ends; null for any other key.
 * @param {Pick<MapHeader, "shape">} header
 * @param {Pair | null} at  none: an arrow goes to the first cell
 * @param {string} key
 * @returns {Pair | null}
 */
export function moved({ shape: [rows, columns] }, at, key) {
  const [row, column] = at || [0, 0];
  if (key === "Home") return [row, 0];
  if (key === "End") return [row, columns - 1];
  if (!Object.hasOwn(MOVES, key)) return null;
  const [down, across] = at ? MOVES[key] : [0, 0];
  return [inside(row + down, rows), inside(column + across, columns)];
}

/**
 * Return a number as it is read: with the digits that it has, three where it came in 16 bits.
 * @param {Pick<MapHeader, "version">} header
 * @param {number} value
 */
export const written = ({ version }, value) =>
  version.startsWith("rough") && value !== 0 ? `≈ ${value.toPrecision(3)}` : show(value);

/**
 * Return the three lines that are read of a cell: its row, its column, its number.
 * @param {MapHeader} header
 * @param {Float32Array} numbers
 * @param {Pair} cell
 */
export function readingOf(header, numbers, [row, column]) {
  const value = valueAt(header, numbers, [row, column]);
  return [
    `${header.row_name} ${rowLabel(header, row)}`,
    `${header.column_name} ${columnLabel(header, column)}`,
    Number.isNaN(value) ? header.masked_reading : `${header.value_name} ${written(header, value)}`,
  ];
}
