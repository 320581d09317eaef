// The drawing of the grid: every head's small picture, labels of layers, heads and groups, rings around two of them.

import { sized } from "./canvas.js";
import { level, pixel, ramp, rgb, SCALES } from "./colours.js";
import { groupOf, isShown, placeOf } from "./grid_layout.js";
import { context } from "./theme.js";

/** @import { GridHeader, GridState, Pair, Theme } from "./types.js" */

/**
 * Return every head's cells once, side by side on a canvas: heads downwards, layers across. Pictures are drawn from it.
 * @param {GridHeader} header
 * @param {Uint8Array} body  a byte a cell: 0 masked, u in 1 to 255 the weight ((u - 1) / 254) squared
 * @param {Theme} theme
 */
export function paintAtlas({ side, heads, scale }, body, theme) {
  const colours = ramp(theme.sequential);
  const lookup = Uint32Array.from({ length: 256 }, (_, u) =>
    pixel(u === 0 ? rgb(theme.masked) : colours[level(SCALES[scale].at(((u - 1) / 254) ** 2))]),
  );
  const canvas = document.createElement("canvas");
  canvas.width = heads.length * side;
  canvas.height = Math.max(...heads) * side;
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  let at = 0;
  heads.forEach((count, layer) => {
    for (let head = 0; head < count; head++)
      for (let y = 0; y < side; y++)
        for (let x = 0; x < side; x++) pixels[(head * side + y) * canvas.width + layer * side + x] = lookup[body[at++]];
  });
  context(canvas).putImageData(image, 0, 0);
  return canvas;
}

/**
 * Draw the whole grid.
 * @param {GridState} state  laid out
 */
export function drawGrid(state) {
  const { canvas, header, layout, theme } = state;
  const dpr = window.devicePixelRatio || 1;
  const ctx = sized(canvas, { ...layout, dpr });
  ctx.scale(dpr, dpr);
  ctx.font = `11px ${theme.font}`;
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.text;
  ctx.imageSmoothingEnabled = header.side > (layout.size - layout.gap) * dpr;
  ctx.imageSmoothingQuality = "high";
  if (header.order) drawOrdered(state, ctx, header.order);
  else drawLayers(state, ctx);
  drawRing(state, ctx, state.selected, theme.accent, 3);
  if (state.cursor) drawRing(state, ctx, state.cursor, theme.text, 1.5);
}

/**
 * Draw one head's small picture in a square.
 * @param {GridState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {Pair} at
 * @param {Pair} place  its upper left corner
 * @param {number} size
 */
export function drawHead({ atlas, header: { side } }, ctx, [layer, head], [x, y], size) {
  ctx.drawImage(atlas, layer * side, head * side, side, side, x, y, size, size);
}

/**
 * Draw heads one after the other, each with its name.
 * @param {GridState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {[number, number, string][]} order
 */
function drawOrdered(state, ctx, order) {
  const { header, layout } = state;
  const wide = layout.size - layout.gap;
  ctx.textAlign = "center";
  for (const [layer, head] of order) {
    const place = placeOf(header, layout, [layer, head]);
    ctx.fillText(`${layer}.${head}`, place[0] + wide / 2, place[1] - 8);
    drawHead(state, ctx, [layer, head], place, wide);
  }
}

/**
 * Draw heads by layer, with the labels of layers, heads and groups.
 * @param {GridState} state
 * @param {CanvasRenderingContext2D} ctx
 */
function drawLayers(state, ctx) {
  const { header, layout } = state;
  const { heads } = header;
  const { left, top, gap, size, columns, bandHeight, shared, alike } = layout;
  const wide = size - gap;
  heads.forEach((count, layer) => {
    const [x, first] = placeOf(header, layout, [layer, 0]);
    ctx.textAlign = "center";
    ctx.fillText(`${layer}`, x + wide / 2, first - 9);
    for (let head = 0; head < count; head++) {
      const place = placeOf(header, layout, [layer, head]);
      drawHead(state, ctx, [layer, head], place, wide);
      if (!alike && head && groupOf(header, [layer, head]) !== groupOf(header, [layer, head - 1]))
        ctx.fillRect(place[0], place[1] - gap, wide, 1); // groups differ by layer: a line instead of a gap
    }
  });
  for (let first = 0; first < heads.length; first += columns) {
    ctx.textAlign = "right";
    ctx.fillText("layer", left - 6, (first / columns) * bandHeight + top - 9);
    for (let head = 0; head < heads[first]; head++)
      ctx.fillText(`${head}`, left - 6, placeOf(header, layout, [first, head])[1] + wide / 2);
    if (shared && alike) drawGroups(state, ctx, first);
  }
}

/**
 * Draw brackets around the heads of each group at the left of a band.
 * @param {GridState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} layer  the band's first
 */
function drawGroups({ header, layout, theme }, ctx, layer) {
  const { left, gap, size } = layout;
  const share = header.heads[0] / header.groups[0];
  for (let group = 0; group < header.groups[0]; group++) {
    const from = placeOf(header, layout, [layer, group * share])[1];
    const to = placeOf(header, layout, [layer, (group + 1) * share - 1])[1] + size - gap;
    ctx.strokeStyle = theme.border;
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.moveTo(left - 22, from + 1);
    ctx.lineTo(left - 26, from + 1);
    ctx.lineTo(left - 26, to - 1);
    ctx.lineTo(left - 22, to - 1);
    ctx.stroke();
    ctx.save();
    ctx.translate(left - 38, (from + to) / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.textAlign = "center";
    ctx.fillText(share * size > 46 ? `key/val ${group}` : `kv ${group}`, 0, 0);
    ctx.restore();
  }
}

/**
 * Draw a ring around a head's picture, where that is among those shown.
 * @param {GridState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {Pair} at
 * @param {string} colour
 * @param {number} width
 */
function drawRing({ header, layout, theme }, ctx, at, colour, width) {
  if (!isShown(header, layout, at)) return;
  const [x, y] = placeOf(header, layout, at);
  const wide = layout.size - layout.gap + 1;
  ctx.strokeStyle = theme.background;
  ctx.lineWidth = width + 2;
  ctx.strokeRect(x - 0.5, y - 0.5, wide, wide);
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.strokeRect(x - 0.5, y - 0.5, wide, wide);
}
