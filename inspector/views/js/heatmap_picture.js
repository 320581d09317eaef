// The drawing of a map: how large its cells are, their colours, the labels around them.

import { fit, sized } from "./canvas.js";
import { colourOf, pixel } from "./colours.js";
import { columnLabel, rowLabel, valueAt } from "./heatmap_reading.js";
import { context } from "./theme.js";

/** @import { MapHeader, MapLayout, MapState, Pair, Theme } from "./types.js" */

/**
 * Return how large the cells are and where they stand, in a canvas of this width.
 * @param {MapHeader} header
 * @param {number} width  in CSS pixels
 * @param {number} dpr  device pixels in a CSS pixel
 * @param {(text: string) => number} measure  a label's width in CSS pixels
 * @returns {MapLayout}
 */
export function layoutOf(header, width, dpr, measure) {
  const [rows, columns] = header.shape;
  const widest = (/** @type {number} */ count, /** @type {(i: number) => string} */ label) => {
    let most = 0; // of some, the last ones among them: they have the longest numbers
    const stride = Math.ceil(count / 400);
    for (let i = count - 1; i >= 0; i -= stride) most = Math.max(most, measure(label(i)));
    return Math.ceil(most) + 2;
  };
  const left = Math.min(widest(rows, (row) => rowLabel(header, row)) + 10, Math.max(64, width * 0.24), 150);
  const slanted = header.columns !== null && (width >= 420 || header.max_height < width / 2); // upright ones are higher
  const room = Math.min(
    widest(columns, (column) => columnLabel(header, column)),
    120,
  );
  const top = header.columns ? Math.ceil(slanted ? room * 0.71 + 14 : room + 14) : 20;
  const right = slanted ? Math.ceil(room * 0.6) : 6;
  const across = Math.max(40, width - left - right) * dpr; // device pixels for the cells
  const square = header.cell === "square";
  const high = (square ? header.max_height : Math.min(header.max_height, rows * 26)) * dpr;
  let [cellX, poolX] = cellsIn(square ? Math.min(across, high) : across, columns);
  let [cellY, poolY] = cellsIn(high, rows);
  if (square) {
    cellX = cellY = Math.min(cellX, Math.round(58 * dpr));
    poolY = poolX;
  } else cellY = Math.min(cellY, Math.round(26 * dpr));
  const plotX = Math.round(Math.ceil(columns / poolX) * cellX);
  const plotY = Math.round(Math.ceil(rows / poolY) * cellY);
  return {
    ...{ dpr, width, slanted, left, top, room, poolX, poolY, plotX, plotY, cellX, cellY },
    x0: Math.round(left * dpr),
    y0: Math.round(top * dpr),
    stepX: cellX / poolX / dpr, // CSS pixels from one cell to the next
    stepY: cellY / poolY / dpr,
    height: Math.ceil(top + plotY / dpr + 6),
  };
}

/**
 * Return the size of cells in a space, and how many numbers share one. Cells have whole device pixels where a pixel more
 * or less would be seen; where they are smaller than a pixel, some share one and the largest number shows.
 * @param {number} space  in device pixels
 * @param {number} count
 * @returns {Pair}
 */
function cellsIn(space, count) {
  const pool = Math.ceil(count / space);
  const size = space / Math.ceil(count / pool);
  return [size < 4 ? size : Math.floor(size), pool];
}

/**
 * Return the colours of the cells as the pixels of an image; where cells share a pixel, that of their largest number.
 * @param {MapHeader} header
 * @param {Float32Array} numbers
 * @param {Pick<MapLayout, "poolX" | "poolY">} layout
 * @param {Theme} theme
 */
export function cellColours(header, numbers, { poolX, poolY }, theme) {
  const [rows, columns] = header.shape;
  const wide = Math.ceil(columns / poolX);
  const high = Math.ceil(rows / poolY);
  const pixels = new Uint32Array(wide * high);
  const colour = colourOf(header, theme);
  const strength = header.palette === "diverging" ? Math.abs : (/** @type {number} */ v) => v;
  for (let y = 0; y < high; y++)
    for (let x = 0; x < wide; x++) {
      let best = NaN;
      for (let r = y * poolY; r < Math.min((y + 1) * poolY, rows); r++)
        for (let c = x * poolX; c < Math.min((x + 1) * poolX, columns); c++) {
          const v = valueAt(header, numbers, [r, c]);
          if (Number.isNaN(best) || strength(v) > strength(best)) best = v;
        }
      pixels[y * wide + x] = pixel(colour(best));
    }
  return { wide, high, pixels };
}

/**
 * Return a small canvas with a pixel for each cell.
 * @param {MapState} state
 */
function paintCells({ header, numbers, layout, theme }) {
  const { wide, high, pixels } = cellColours(header, numbers, layout, theme);
  const image = new ImageData(wide, high);
  new Uint32Array(image.data.buffer).set(pixels);
  const small = document.createElement("canvas");
  small.width = wide;
  small.height = high;
  context(small).putImageData(image, 0, 0);
  return small;
}

/**
 * Draw the map without crosshair on the state's `base`.
 * @param {MapState} state  laid out
 */
export function drawMap(state) {
  const { canvas, base, header, theme, layout } = state;
  const { dpr, x0, y0, plotX, plotY, cellX, cellY, stepX, stepY } = layout;
  sized(canvas, layout);
  const ctx = sized(base, layout);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(paintCells(state), x0, y0, plotX, plotY);
  ctx.fillStyle = theme.background; // hair lines between cells large enough to be looked at one by one
  if (cellX >= 12 * dpr) for (let x = x0 + cellX; x < x0 + plotX; x += cellX) ctx.fillRect(x, y0, 1, plotY);
  if (cellY >= 12 * dpr) for (let y = y0 + cellY; y < y0 + plotY; y += cellY) ctx.fillRect(x0, y, plotX, 1);
  ctx.strokeStyle = theme.border;
  ctx.lineWidth = 1;
  ctx.strokeRect(x0 - 0.5, y0 - 0.5, plotX + 1, plotY + 1);
  if (header.join) {
    ctx.strokeStyle = theme.accent; // from here on the model wrote the tokens itself
    ctx.setLineDash([4 * dpr, 3 * dpr]);
    ctx.strokeRect(x0, y0 + header.join * stepY * dpr, plotX, 0);
    ctx.strokeRect(x0 + header.join * stepX * dpr, y0, 0, plotY);
    ctx.setLineDash([]);
  }
  ctx.scale(dpr, dpr);
  drawLabels(state, ctx);
}

/**
 * Draw the labels of rows and columns, as many as there is room for.
 * @param {MapState} state
 * @param {CanvasRenderingContext2D} ctx
 */
function drawLabels(state, ctx) {
  const { header, layout } = state;
  const [rows, columns] = header.shape;
  const every = (/** @type {number} */ step, /** @type {number} */ gap) => Math.max(1, Math.ceil(gap / step));
  const across = header.columns ? every(layout.stepX, 16) : 8 * every(layout.stepX * 8, 26);
  for (let r = 0; r < rows; r += every(layout.stepY, 15)) rowName(state, ctx, r, false);
  for (let c = 0; c < columns; c += across) columnName(state, ctx, c, false);
}

/**
 * Draw a frame around a row, and its label in the accent's colour.
 * @param {MapState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} row
 */
export function drawRow(state, ctx, row) {
  const { x0, y0, dpr, stepY, plotX } = state.layout;
  ctx.strokeStyle = state.theme.accent;
  ctx.lineWidth = 2;
  ctx.strokeRect(x0 / dpr - 1, y0 / dpr + row * stepY - 1, plotX / dpr + 2, Math.max(stepY, 3) + 1);
  rowName(state, ctx, row, true);
}

/**
 * Draw the crosshair of a cell, and its row's and column's label in the accent's colour.
 * @param {MapState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {Pair} cell
 */
export function drawCrosshair(state, ctx, [row, column]) {
  const { x0, y0, dpr, stepX, stepY, plotX, plotY } = state.layout;
  const x = x0 / dpr + column * stepX;
  const y = y0 / dpr + row * stepY;
  const wide = Math.max(stepX, 3);
  const high = Math.max(stepY, 3);
  ctx.strokeStyle = state.theme.accent;
  ctx.globalAlpha = 0.55;
  ctx.strokeRect(x0 / dpr, y, plotX / dpr, high);
  ctx.strokeRect(x, y0 / dpr, wide, plotY / dpr);
  ctx.globalAlpha = 1;
  ctx.lineWidth = 2;
  ctx.strokeRect(x, y, wide, high);
  rowName(state, ctx, row, true);
  columnName(state, ctx, column, true);
}

/**
 * Draw a row's label.
 * @param {MapState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} row
 * @param {boolean} active
 */
function rowName(state, ctx, row, active) {
  const { left, top, stepY } = state.layout;
  const place = {
    x: left - 6,
    y: top + (row + 0.5) * stepY,
    turn: 0,
    room: left - 8,
    align: /** @type {const} */ ("right"),
  };
  label(state, ctx, rowLabel(state.header, row), place, active);
}

/**
 * Draw a column's label: token texts slanted or upright, numbers level.
 * @param {MapState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} column
 * @param {boolean} active
 */
function columnName(state, ctx, column, active) {
  const { header, layout } = state;
  const { left, top, stepX, slanted, room } = layout;
  const x = left + (column + 0.5) * stepX;
  const turn = slanted ? -Math.PI / 4 : -Math.PI / 2;
  const place = header.columns
    ? { x, y: top - 6, turn, room, align: /** @type {const} */ ("left") }
    : { x, y: top - 9, turn: 0, room: 60, align: /** @type {const} */ ("center") };
  label(state, ctx, columnLabel(header, column), place, active);
}

/**
 * Draw a label, on a ground of the accent's colour where it is active.
 * @param {MapState} state
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} text
 * @param {{ x: number, y: number, turn: number, room: number, align: "left" | "right" | "center" }} place
 * @param {boolean} active
 */
function label({ theme }, ctx, text, { x, y, turn, room, align }, active) {
  ctx.save();
  ctx.font = `12px ${theme.font}`;
  ctx.textBaseline = "middle";
  ctx.translate(x, y);
  ctx.rotate(turn);
  ctx.textAlign = align;
  const fitted = fit(ctx, text, room);
  if (active) {
    const wide = ctx.measureText(fitted).width + 6;
    ctx.fillStyle = theme.accent;
    ctx.fillRect(align === "right" ? 3 - wide : align === "center" ? -wide / 2 : -3, -9, wide, 18);
  }
  ctx.fillStyle = active ? theme.background : theme.text;
  ctx.fillText(fitted, 0, 0);
  ctx.restore();
}
