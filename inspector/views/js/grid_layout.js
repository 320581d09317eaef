// Where each head's small picture stands, which one is at a place, and where the arrow keys lead. Numbers alone.
// Layers stand from left to right in bands, heads downwards; with header.order one after the other, row by row.

import { inside } from "./canvas.js";

/** @import { GridHeader, GridLayout, Pair } from "./types.js" */

const SMALLEST = 24;
const LARGEST = 64;
const ORDERED = 46; // pixels of one picture, of heads in order
const LABEL = 15;

const name = (/** @type {Pair} */ [layer, head]) => `${layer} ${head}`;

/**
 * Return where the pictures stand in a canvas of this width, in CSS pixels.
 * @param {GridHeader} header
 * @param {number} width
 * @returns {GridLayout}
 */
export function layoutOf({ heads, groups, order }, width) {
  if (order) {
    const columns = Math.max(1, Math.floor(width / ORDERED));
    const rows = Math.ceil(order.length / columns);
    return {
      ...{ width, columns, size: ORDERED, gap: 6, left: 0, top: LABEL, split: 0, shared: false, alike: false },
      bandHeight: ORDERED + LABEL,
      height: rows * (ORDERED + LABEL) + 4,
      rank: new Map(order.map(([layer, head], i) => [name([layer, head]), i])),
    };
  }
  const most = Math.max(...heads);
  const shared = heads.some((count, i) => groups[i] < count);
  const alike = heads.every((count, i) => count === heads[0] && groups[i] === groups[0]);
  const left = shared && alike ? 58 : 30;
  const top = 20;
  const split = shared && alike ? 7 : 0;
  const perBand = Math.max(1, Math.min(heads.length, Math.floor((width - left) / SMALLEST)));
  const bands = Math.ceil(heads.length / perBand);
  const columns = Math.ceil(heads.length / bands); // bands of equal length look calmer than a short last one
  const room = Math.min(LARGEST, Math.floor((width - left) / columns), Math.floor(420 / most));
  const size = Math.max(SMALLEST, room);
  const bandHeight = top + most * size + (alike ? (groups[0] - 1) * split : 0) + 12;
  const height = bands * bandHeight;
  return { width, height, columns, size, gap: 2, left, top, split, shared, alike, bandHeight, rank: new Map() };
}

/**
 * Return the key/value head that a query head shares with others.
 * @param {GridHeader} header
 * @param {Pair} at
 */
export const groupOf = ({ heads, groups }, [layer, head]) => Math.floor(head / (heads[layer] / groups[layer]));

/**
 * Return the upper left corner of a head's picture.
 * @param {GridHeader} header
 * @param {GridLayout} layout
 * @param {Pair} at
 * @returns {Pair}
 */
export function placeOf(header, layout, at) {
  const { alike, left, top, split, columns, size, bandHeight } = layout;
  if (header.order) {
    const rank = rankOf(layout, at);
    return [(rank % columns) * size, Math.floor(rank / columns) * bandHeight + top];
  }
  const [layer, head] = at;
  const below = alike ? groupOf(header, at) * split : 0; // a gap to the next group
  return [left + (layer % columns) * size, Math.floor(layer / columns) * bandHeight + top + head * size + below];
}

const rankOf = (/** @type {GridLayout} */ { rank }, /** @type {Pair} */ at) => rank.get(name(at)) ?? 0;

/**
 * Return whether a head is among those shown.
 * @param {GridHeader} header
 * @param {GridLayout} layout
 * @param {Pair} at
 */
export function isShown(header, layout, at) {
  if (header.order) return layout.rank.has(name(at));
  return at[0] < header.heads.length && at[1] < header.heads[at[0]];
}

/**
 * Return the head at a place in the canvas, or null.
 * @param {GridHeader} header
 * @param {GridLayout} layout
 * @param {Pair} place
 * @returns {Pair | null}
 */
export function headAt(header, layout, [x, y]) {
  const { left, columns, size, bandHeight } = layout;
  const band = Math.floor(y / bandHeight);
  const column = Math.floor((x - left) / size);
  if (column < 0 || column >= columns) return null;
  if (header.order) {
    const found = header.order[band * columns + column];
    return found ? [found[0], found[1]] : null;
  }
  const layer = band * columns + column;
  for (let head = 0; head < (header.heads[layer] ?? 0); head++) {
    const top = placeOf(header, layout, [layer, head])[1];
    if (y >= top && y < top + size) return [layer, head];
  }
  return null;
}

/** @type {Record<string, Pair>} */
const MOVES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

/**
 * Return the head that an arrow key leads to, never beyond the edge; null for any other key.
 * @param {GridHeader} header
 * @param {GridLayout} layout
 * @param {Pair} at
 * @param {string} key
 * @returns {Pair | null}
 */
export function moved({ heads, order }, layout, at, key) {
  if (!Object.hasOwn(MOVES, key)) return null;
  const [across, down] = MOVES[key];
  if (order) {
    const [layer, head] = order[inside(rankOf(layout, at) + across + down * layout.columns, order.length)];
    return [layer, head];
  }
  const layer = inside(at[0] + across, heads.length);
  return [layer, inside(at[1] + down, heads[layer])];
}

/**
 * Return what is read of a head: its place, what it is ordered by, what it shares.
 * @param {GridHeader} header
 * @param {Pick<GridLayout, "rank">} layout
 * @param {Pair} at
 */
export function readingOf(header, { rank }, at) {
  const [layer, head] = at;
  const ranked = header.order?.[rank.get(name(at)) ?? -1];
  const share = header.heads[layer] / header.groups[layer];
  const others = `${share - 1} other${share > 2 ? "s" : ""}`;
  const shared = share > 1 ? ` · shares key/value head ${groupOf(header, at)} with ${others}` : "";
  return `layer ${layer}, head ${head}${ranked ? ` · ${ranked[2]}` : ""}${shared}${header.notes[layer]}`;
}
