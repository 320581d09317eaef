// A map of numbers on a canvas, with a crosshair and exact readings: one head's weights, vectors, any table.

import { onScreen, partsOf, placeTip, pointerIn, same, stateOf } from "./canvas.js";
import { offerTable, tableOfMap } from "./canvas_table.js";
import { element, find } from "./elements.js";
import { drawLegend, fillStrip, paintStrip } from "./heatmap_legend.js";
import { drawCrosshair, drawMap, drawRow, layoutOf } from "./heatmap_picture.js";
import { cellAt, moved, readingOf } from "./heatmap_reading.js";
import { decode } from "./payload.js";
import { context, readTheme } from "./theme.js";

/** @import { Host, MapHeader, MapHost, MapLayout, MapState, Pair, Root } from "./types.js" */

/**
 * Show a message in the canvas of a root.
 * @param {Root} root
 * @param {Uint8Array} data  as views/map_headers.py and payload.encode make it
 * @param {Host<Pair>} host  onPick: told [row, column] of a cell that is locked, [-1, -1] when it is let go
 */
export function heatmap(root, data, host = {}) {
  /** @type {{ header: MapHeader, body: Uint8Array<ArrayBuffer> }} */
  const { header, body } = decode(data);
  showMap(root, header, new Float32Array(body.buffer), host);
}

/**
 * Show a table of numbers in the canvas of a root.
 * @param {Root} root
 * @param {MapHeader} header
 * @param {Float32Array} numbers  as the header says they are packed
 * @param {MapHost} host  onPoint: told the cell pointed at, or null; row: one that is marked; height: of all, in pixels
 */
export function showMap(root, header, numbers, { onPick = () => {}, onPoint = () => {}, row = null, height = 0 } = {}) {
  const state = stateOf(root, create, draw);
  const again = state.header?.version === header.version; // only how it looks has changed: the pointer is where it was
  const theme = readTheme(state.host);
  Object.assign(state, { header, numbers, theme, onPick, onPoint, row, room: height });
  Object.assign(state, { active: again ? state.active : null, locked: header.selected });
  fillStrip(state);
  draw(state);
  offerTable(state.host, tableOfMap(header, numbers));
}

/**
 * Return a new state and listen to the pointer and the keys.
 * @param {Root} root
 */
function create(root) {
  const parts = partsOf(root, ".map");
  const base = document.createElement("canvas"); // the picture without crosshair
  const below = { legend: find(parts.host, ".legend"), strip: find(parts.host, ".strip") };
  const state = /** @type {MapState} */ ({ ...parts, ...below, base, token: null });
  const { canvas } = state;
  const cellOf = (/** @type {PointerEvent | MouseEvent} */ event) =>
    cellAt(state.header, state.layout, pointerIn(canvas, event));
  canvas.onpointermove = (event) => point(state, cellOf(event));
  canvas.onpointerleave = () => point(state, null);
  canvas.onclick = (event) => lock(state, cellOf(event));
  canvas.onkeydown = (event) => press(state, event);
  canvas.onblur = () => point(state, null);
  return state;
}

/**
 * Draw the map, and say what tests and screen readers look for.
 * @param {MapState} state
 */
function draw(state) {
  if (!onScreen(state)) return;
  const { canvas, header } = state;
  const { dpr } = paintAnew(state);
  const { x0, y0, stepX, stepY } = state.layout;
  Object.assign(canvas.dataset, { x: x0 / dpr, y: y0 / dpr, stepX, stepY, painted: header.version });
  canvas.setAttribute("aria-label", header.label);
  refresh(state);
}

/**
 * Lay the map out and paint its cells, unless they stand there already: another row or cell is chosen, no number changed.
 * @param {MapState} state
 * @returns {MapLayout}
 */
function paintAnew(state) {
  const { canvas, header, numbers, theme } = state;
  const dpr = window.devicePixelRatio || 1;
  const looks = [header.version, header.threshold, state.width, state.room, dpr, ...Object.values(theme)].join();
  if (state.painted?.numbers === numbers && state.painted.looks === looks) return state.layout;
  const ctx = context(canvas);
  ctx.font = `12px ${theme.font}`;
  const measure = (/** @type {string} */ text) => ctx.measureText(text).width;
  const layout = layoutOf(header, state.width, dpr, measure);
  const high = state.room ? Math.max(120, state.room - layout.y0 / dpr - 8) : header.max_height;
  state.layout =
    high < header.max_height ? layoutOf({ ...header, max_height: high }, state.width, dpr, measure) : layout;
  drawMap(state);
  drawLegend(state);
  state.painted = { numbers, looks };
  return state.layout;
}

/**
 * Point at a cell, or at none.
 * @param {MapState} state
 * @param {Pair | null} cell
 */
function point(state, cell) {
  if (same(state.active, cell)) return;
  state.active = cell;
  refresh(state);
  state.onPoint(cell);
}

/**
 * Lock the reading of a cell; a second time lets it go.
 * @param {MapState} state
 * @param {Pair | null} cell
 */
function lock(state, cell) {
  state.locked = same(cell, state.locked) ? null : cell;
  refresh(state);
  if (state.header.picks) state.onPick(state.locked || [-1, -1]);
}

/**
 * Answer a key: arrows, Home and End move, Enter and space lock, Escape lets go.
 * @param {MapState} state
 * @param {KeyboardEvent} event
 */
function press(state, event) {
  const to = moved(state.header, state.active || state.locked, event.key);
  if (to) point(state, to);
  else if (event.key === "Enter" || event.key === " ") lock(state, state.active);
  else if (event.key === "Escape") {
    const held = state.locked;
    state.locked = state.active = null;
    refresh(state);
    if (held && state.header.picks) state.onPick([-1, -1]);
  } else return;
  event.preventDefault();
}

/**
 * Draw the crosshair and write the reading of the cell pointed at, else of the locked one.
 * @param {MapState} state
 */
function refresh(state) {
  const { canvas, base, header, layout, tip, readout } = state;
  const ctx = context(canvas);
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(base, 0, 0);
  tip.hidden = true;
  paintStrip(state);
  const cell = state.active || state.locked;
  readout.textContent = header.hint;
  ctx.scale(layout.dpr, layout.dpr);
  if (state.row !== null && !state.active) drawRow(state, ctx, state.row);
  if (!cell) return;
  drawCrosshair(state, ctx, cell);
  const lines = readingOf(header, state.numbers, cell);
  readout.textContent = lines.join(" · ") + (state.active ? "" : " (locked)");
  if (!state.active) return;
  tip.replaceChildren();
  lines.forEach((line, i) => {
    element("div", i === 2 ? "number" : "", tip, line);
  });
  const { x0, y0, dpr, stepX, stepY } = layout;
  placeTip(state, x0 / dpr + (cell[1] + 0.5) * stepX, y0 / dpr + cell[0] * stepY);
}
