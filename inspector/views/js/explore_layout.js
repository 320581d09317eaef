// Where each head's small picture stands on the Explore screen: layers as rows, in as many blocks side by side as give
// the largest pictures; or one after the other, each with its score. Numbers alone.

import { inside } from "./canvas.js";
import { headAtPlace, placeAmongAll } from "./explore_numbers.js";

/** @import { ExploreLayout, Pair, Prompt } from "./types.js" */

const LABEL = 26; // left of a block, for the layers' numbers
const TOP = 20; // above a block, for the heads' numbers
export const BLOCK_GAP = 14;
const LARGEST = 44;
const SMALLEST = 16; // below, the grid scrolls
const SCROLLED = 20;
const ORDERED = 52; // pixels of a picture with its score below
const MOST_BLOCKS = 6;

/**
 * Return where the pictures stand in a room of this size, in CSS pixels.
 * @param {Prompt} prompt
 * @param {number[] | null} order  all heads' places, one after the other; null: by layer
 * @param {{ width: number, height: number, narrow: boolean }} room  narrow: it may scroll, and pictures are small
 * @returns {ExploreLayout}
 */
export function exploreLayout({ header, count }, order, { width, height, narrow }) {
  if (order) {
    const columns = Math.max(4, Math.floor(width / (ORDERED + 6)));
    const step = width / columns;
    const size = Math.floor(step) - 6;
    const rank = new Map(order.map((place, i) => [place, i]));
    const high = 4 + Math.ceil(count / columns) * (size + 24);
    return {
      ordered: true,
      columns,
      size,
      cell: size,
      step,
      rank,
      width,
      height: high,
      blocks: 1,
      rows: 0,
      gap: 0,
      block: 0,
    };
  }
  const layers = header.heads.length;
  const most = Math.max(...header.heads);
  const grouped = header.groups.some((groups, i) => groups > 1 && groups < header.heads[i]);
  const gap = grouped ? 3 : 0;
  const between = gap * (Math.max(...header.groups) - 1);
  let [size, blocks] = [0, 1];
  for (let tried = 1; tried <= Math.min(MOST_BLOCKS, layers); tried++) {
    const across = (width - tried * (LABEL + between) - (tried - 1) * BLOCK_GAP) / (tried * most);
    const down = narrow ? 24 : (height - TOP - 2) / Math.ceil(layers / tried);
    const fits = Math.floor(Math.min(across, down, LARGEST));
    if (fits > size) [size, blocks] = [fits, tried];
  }
  if (size < SMALLEST) {
    size = SCROLLED;
    if (narrow) blocks = Math.min(2, layers);
  }
  const rows = Math.ceil(layers / blocks);
  const block = LABEL + size * most + between;
  const wide = blocks * block + (blocks - 1) * BLOCK_GAP;
  const shape = { size, cell: size - 2, blocks, rows, gap, block, width: wide, height: TOP + rows * size };
  return { ordered: false, columns: most, step: size, rank: new Map(), ...shape };
}

/**
 * Return the upper left corner of a head's picture.
 * @param {Prompt} prompt
 * @param {ExploreLayout} layout
 * @param {Pair} at
 * @returns {Pair}
 */
export function cornerOf(prompt, layout, at) {
  if (layout.ordered) {
    const rank = layout.rank.get(placeAmongAll(prompt, at)) ?? 0;
    return [2 + (rank % layout.columns) * layout.step, 3 + Math.floor(rank / layout.columns) * (layout.size + 24)];
  }
  const [layer, head] = at;
  const { heads, groups } = prompt.header;
  const block = Math.floor(layer / layout.rows);
  const group = Math.floor(head / (heads[layer] / groups[layer]));
  const x = block * (layout.block + BLOCK_GAP) + LABEL + head * layout.size + group * layout.gap;
  return [x, TOP + (layer % layout.rows) * layout.size];
}

/**
 * Return the head at a place in the canvas, or null.
 * @param {Prompt} prompt
 * @param {ExploreLayout} layout
 * @param {Pair} place
 * @returns {Pair | null}
 */
export function headAt(prompt, layout, [x, y]) {
  if (layout.ordered) {
    const column = Math.floor((x - 2) / layout.step);
    const rank = Math.floor((y - 3) / (layout.size + 24)) * layout.columns + column;
    if (column < 0 || column >= layout.columns || rank < 0) return null;
    for (const [place, at] of layout.rank) if (at === rank) return headAtPlace(prompt, place);
    return null;
  }
  const block = Math.floor(x / (layout.block + BLOCK_GAP));
  const row = Math.floor((y - TOP) / layout.size);
  const layer = block * layout.rows + row;
  if (row < 0 || row >= layout.rows || layer < 0) return null;
  for (let head = 0; head < (prompt.header.heads[layer] ?? 0); head++) {
    const left = cornerOf(prompt, layout, [layer, head])[0];
    if (x >= left && x < left + layout.size) return [layer, head];
  }
  return null;
}

/** @type {Record<string, Pair>} */
const MOVES = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

/**
 * Return the head that an arrow key leads to, never beyond the edge; null for any other key.
 * @param {Prompt} prompt
 * @param {ExploreLayout} layout
 * @param {Pair} at
 * @param {string} key
 * @returns {Pair | null}
 */
export function moved(prompt, layout, at, key) {
  if (!Object.hasOwn(MOVES, key)) return null;
  const [across, down] = MOVES[key];
  if (layout.ordered) {
    const from = layout.rank.get(placeAmongAll(prompt, at)) ?? 0;
    const to = inside(from + across + down * layout.columns, prompt.count);
    for (const [place, rank] of layout.rank) if (rank === to) return headAtPlace(prompt, place);
  }
  const layer = inside(at[0] + down, prompt.header.heads.length);
  return [layer, inside(at[1] + across, prompt.header.heads[layer])];
}
