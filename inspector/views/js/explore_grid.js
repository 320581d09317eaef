// The drawing of all heads on the Explore screen: small pictures, labels or scores, rings around two of them.

import { sized } from "./canvas.js";
import { level, pixel, ramp, rgb, SCALES } from "./colours.js";
import { cornerOf } from "./explore_layout.js";
import { headAtPlace, placeAmongAll } from "./explore_numbers.js";
import { context } from "./theme.js";

/** @import { ExploreState, Pair, Prompt, Theme } from "./types.js" */

const ACROSS = 32; // pictures in a row of the atlas
const FAINT = 0.2; // a head whose score is below is pale while a role is chosen

/**
 * Return every head's cells once, on one canvas from which the pictures are drawn.
 * @param {Prompt} prompt
 * @param {Uint8Array} cells  a byte a cell: 0 masked, u in 1 to 255 the weight ((u - 1) / 254) squared
 * @param {Theme} theme
 */
export function exploreAtlas({ header: { side }, count }, cells, theme) {
  const colours = ramp(theme.sequential);
  const lookup = Uint32Array.from({ length: 256 }, (_, u) =>
    pixel(u === 0 ? rgb(theme.masked) : colours[level(SCALES.sqrt.at(((u - 1) / 254) ** 2))]),
  );
  const canvas = document.createElement("canvas");
  canvas.width = ACROSS * side;
  canvas.height = Math.ceil(count / ACROSS) * side;
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0, at = 0; i < count; i++) {
    const corner = Math.floor(i / ACROSS) * side * canvas.width + (i % ACROSS) * side;
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) pixels[corner + y * canvas.width + x] = lookup[cells[at++]];
  }
  context(canvas).putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draw all heads.
 * @param {ExploreState} state  laid out
 */
export function drawHeads(state) {
  const { prompt, layout, theme, grid, atlas } = state;
  const { side } = prompt.header;
  const dpr = window.devicePixelRatio || 1;
  const ctx = sized(grid, { width: Math.ceil(layout.width) + 2, height: Math.ceil(layout.height) + 2, dpr });
  ctx.scale(dpr, dpr);
  ctx.font = `12px ${theme.font}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "center";
  ctx.imageSmoothingEnabled = side > layout.cell * dpr;
  ctx.imageSmoothingQuality = "high";
  const { measure } = state;
  for (let place = 0; place < prompt.count; place++) {
    const at = headAtPlace(prompt, place);
    const [x, y] = cornerOf(prompt, layout, at);
    const score = measure ? measure.scores[place] : 1;
    ctx.globalAlpha = measure?.role && !layout.ordered && (score ?? 0) < FAINT ? 0.4 : 1;
    const from = [(place % ACROSS) * side, Math.floor(place / ACROSS) * side];
    ctx.drawImage(atlas, from[0], from[1], side, side, x, y, layout.cell, layout.cell);
    if (!layout.ordered || !measure) continue;
    ctx.fillStyle = theme.text;
    ctx.fillText(`${at[0]}.${at[1]} ${written(score)}`, x + layout.cell / 2, y + layout.cell + 11);
  }
  ctx.globalAlpha = 1;
  if (!layout.ordered) drawNames(state, ctx);
  drawRing(state, ctx, state.selected, theme.accent, 3);
  if (state.peeked) drawRing(state, ctx, state.peeked, theme.text, 1.5);
}

/**
 * Return a score as it stands below a picture.
 * @param {number | null} score  null: not known
 */
export const written = (score) => (score === null ? "–" : score.toFixed(score >= 10 ? 0 : 2));

/**
 * Draw the numbers of layers and heads beside the blocks.
 * @param {ExploreState} state
 * @param {CanvasRenderingContext2D} ctx
 */
function drawNames({ prompt, layout, theme }, ctx) {
  ctx.fillStyle = theme.text;
  const { heads } = prompt.header;
  const every = layout.size < 15 ? 2 : 1;
  for (let first = 0; first < heads.length; first += layout.rows)
    for (let head = 0; head < heads[first]; head += every)
      ctx.fillText(`${head}`, cornerOf(prompt, layout, [first, head])[0] + layout.cell / 2, 10);
  ctx.textAlign = "right";
  for (let layer = 0; layer < heads.length; layer += every) {
    const [x, y] = cornerOf(prompt, layout, [layer, 0]);
    ctx.fillText(`${layer}`, x - 7, y + layout.cell / 2);
  }
}

/**
 * Draw a ring around a head's picture.
 * @param {ExploreState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {Pair} at
 * @param {string} colour
 * @param {number} width
 */
function drawRing({ prompt, layout, theme }, ctx, at, colour, width) {
  if (placeAmongAll(prompt, at) >= prompt.count) return;
  const [x, y] = cornerOf(prompt, layout, at);
  const wide = layout.cell + 1;
  ctx.strokeStyle = theme.background;
  ctx.lineWidth = width + 2;
  ctx.strokeRect(x - 0.5, y - 0.5, wide, wide);
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.strokeRect(x - 0.5, y - 0.5, wide, wide);
}
