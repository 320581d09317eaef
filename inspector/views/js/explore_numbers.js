// What a prompt's message holds: every head's scores, small picture and, of a short prompt, weights. Numbers alone.

import { decode } from "./payload.js";

/** @import { ExploreHeader, ExploreMeasure, HeadNumbers, Pair, Prompt, Scale } from "./types.js" */

/**
 * Return a prompt's message, its parts apart.
 * @param {Uint8Array} data  as views/explore_message.py makes it
 * @returns {Prompt}
 */
export function promptOf(data) {
  /** @type {{ header: ExploreHeader, body: Uint8Array<ArrayBuffer> }} */
  const { header, body } = decode(data);
  const first = []; // the place among all heads of each layer's first one
  let count = 0;
  for (const heads of header.heads) {
    first.push(count);
    count += heads;
  }
  const one = count * header.side ** 2;
  const small = /** @type {[Uint8Array, Uint8Array]} */ ([body.subarray(0, one), body.subarray(one, 2 * one)]);
  const at = 2 * one;
  const halves = header.map ? new Uint16Array(body.buffer, body.byteOffset + at, (body.length - at) >> 1) : null;
  return { header, first, count, small, halves };
}

/**
 * Return a head's place among all heads.
 * @param {Pick<Prompt, "first">} prompt
 * @param {Pair} at
 */
export const placeAmongAll = ({ first }, [layer, head]) => first[layer] + head;

/**
 * Return the layer and number of the head at a place among all heads.
 * @param {Pick<Prompt, "first">} prompt
 * @param {number} place
 * @returns {Pair}
 */
export function headAtPlace({ first }, place) {
  let layer = first.length - 1;
  while (first[layer] > place) layer--;
  return [layer, place - first[layer]];
}

/**
 * Return all heads' places in the order of a measure, the most telling first; equal ones by layer and head, and last
 * those that have no score.
 * @param {ExploreMeasure} measure
 */
export function ranked({ scores, ascending }) {
  const sign = ascending ? 1 : -1;
  const of = (/** @type {number} */ place) => scores[place] ?? sign * Infinity;
  return scores.map((_, place) => place).sort((a, b) => sign * (of(a) - of(b)) || a - b);
}

/**
 * Return a number written in 16 bits (IEEE 754 binary16).
 * @param {number} bits
 */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : (2 ** -14 * fraction) / 1024);
}

/**
 * Return a head's weights as the prompt's message has them, or null where it has none.
 * @param {Prompt} prompt
 * @param {Pair} at
 * @param {Scale} [scale]  of the colours
 * @returns {HeadNumbers | null}
 */
export function roughNumbers(prompt, at, scale = "sqrt") {
  const { header, halves } = prompt;
  if (!header.map || !halves) return null;
  const n = header.tokens.length;
  const size = (n * (n + 1)) / 2;
  const place = placeAmongAll(prompt, at);
  const numbers = Float32Array.from(halves.subarray(place * size, (place + 1) * size), half);
  const changed = {
    scale,
    legend: header.legends[scale],
    label: `${header.map.label} of layer ${at[0]}, head ${at[1]}`,
    version: `rough ${at} ${scale} ${header.id}`,
  };
  return { header: { ...header.map, ...changed }, numbers };
}

/**
 * Return a head's weights without the first token, the rest of each row scaled up to the row's sum.
 * @param {HeadNumbers} head  of weights, a cell for each pair of tokens
 * @param {number} most  the largest factor: a remainder near zero is no pattern
 * @returns {HeadNumbers}
 */
export function withoutFirst({ header, numbers }, most) {
  const hidden = numbers.slice();
  const [rows, columns] = header.shape;
  for (let row = 0, at = 0; row < rows; row++) {
    const length = header.packing === "lower" ? row + 1 : columns;
    const seen = hidden.subarray(at, at + length);
    at += length;
    const whole = seen.reduce((sum, w) => sum + (w || 0), 0);
    if (seen[0] > 0) seen[0] = 0;
    const rest = seen.reduce((sum, w) => sum + (w || 0), 0);
    const factor = rest > 0 ? Math.min(whole / rest, most) : 1;
    for (let i = 0; i < length; i++) seen[i] *= factor;
  }
  const changed = {
    version: `${header.version} without the first token`,
    legend: `${header.legend}, without the first token`,
  };
  return { header: { ...header, ...changed }, numbers: hidden };
}

/**
 * Return one query token's numbers, a number for each key token: NaN where masked. Where cells stand for several tokens,
 * each of them has its cell's.
 * @param {HeadNumbers} head
 * @param {number} query
 * @returns {(key: number) => number}
 */
export function rowOf({ header, numbers }, query) {
  const row = Math.floor(query / header.pool[0]);
  const lower = header.packing === "lower";
  const start = lower ? (row * (row + 1)) / 2 : row * header.shape[1];
  return (key) => {
    const column = Math.floor(key / header.pool[1]);
    return lower && column > row ? NaN : numbers[start + column];
  };
}

/**
 * Return the largest numbers of a head, the largest first, with their rows and columns.
 * @param {HeadNumbers} head
 * @param {number} count
 * @returns {{ row: number, column: number, value: number }[]}
 */
export function strongest({ header, numbers }, count) {
  /** @type {{ row: number, column: number, value: number }[]} */
  const found = [];
  const [rows, columns] = header.shape;
  for (let row = 0, at = 0; row < rows; row++) {
    const length = header.packing === "lower" ? row + 1 : columns;
    for (let column = 0; column < length; column++, at++) {
      const value = numbers[at];
      if (Number.isNaN(value) || (found.length === count && value <= found[count - 1].value)) continue;
      let i = found.length;
      while (i > 0 && found[i - 1].value < value) i--;
      found.splice(i, 0, { row, column, value });
      if (found.length > count) found.pop();
    }
  }
  return found;
}
