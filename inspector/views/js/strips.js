// Numbers in line on a canvas: strips of colour and bars over the same columns, with one cursor and exact readings.

import { onScreen, partsOf, placeTip, pointerIn, stateOf } from "./canvas.js";
import { offerTable, tableOfStrips } from "./canvas_table.js";
import { element } from "./elements.js";
import { decode } from "./payload.js";
import { drawMark, drawStrips, layoutOf } from "./strips_picture.js";
import { columnAt, moved, readingOf } from "./strips_reading.js";
import { context, readTheme } from "./theme.js";

/** @import { Host, Root, StripsHeader, StripsState } from "./types.js" */

/**
 * Show a message in the canvas of a root.
 * @param {Root} root
 * @param {Uint8Array} data  as views/strips_headers.py and payload.encode make it
 * @param {Host<number>} host  onPick: told the number that header.picks has for a column
 */
export function strips(root, data, { onPick = () => {} } = {}) {
  const state = stateOf(root, create, draw);
  /** @type {{ header: StripsHeader, body: Uint8Array<ArrayBuffer> }} */
  const { header, body } = decode(data);
  const changed = state.header?.version !== header.version;
  Object.assign(state, { header, numbers: new Float32Array(body.buffer), theme: readTheme(state.host), onPick });
  if (changed) state.active = state.locked = -1;
  draw(state);
  offerTable(state.host, tableOfStrips(header, state.numbers));
}

/**
 * Return a new state and listen to the pointer and the keys.
 * @param {Root} root
 */
function create(root) {
  const base = document.createElement("canvas"); // the picture without cursor
  const state = /** @type {StripsState} */ ({ ...partsOf(root, ".columns"), base, active: -1, locked: -1 });
  const { canvas } = state;
  const columnOf = (/** @type {PointerEvent | MouseEvent} */ event) =>
    columnAt(state.header, state.layout, pointerIn(canvas, event)[0]);
  canvas.onpointermove = (event) => point(state, columnOf(event));
  canvas.onpointerleave = () => point(state, -1);
  canvas.onclick = (event) => choose(state, columnOf(event));
  canvas.onkeydown = (event) => press(state, event);
  canvas.onblur = () => point(state, -1);
  return state;
}

/**
 * Draw the panels, and say what tests and screen readers look for.
 * @param {StripsState} state
 */
function draw(state) {
  if (!onScreen(state)) return;
  const { canvas, header, readout, theme } = state;
  const ctx = context(canvas);
  ctx.font = `12px ${theme.font}`;
  const measure = (/** @type {string} */ text) => ctx.measureText(text).width;
  state.layout = layoutOf(header, state.width, window.devicePixelRatio || 1, measure);
  drawStrips(state);
  const { left, step, places } = state.layout;
  canvas.dataset.testid = header.test_id;
  readout.dataset.testid = `${header.test_id}-readout`;
  const y = places[0].top + places[0].high / 2;
  Object.assign(canvas.dataset, { x: left, y, step, painted: header.version });
  canvas.setAttribute("aria-label", header.label);
  refresh(state);
}

/**
 * Point at a column, or (-1) at none.
 * @param {StripsState} state
 * @param {number} column
 */
function point(state, column) {
  if (state.active === column) return;
  state.active = column;
  refresh(state);
}

/**
 * Choose a column where the host asks for that, else lock its reading; a second time lets it go.
 * @param {StripsState} state
 * @param {number} column
 */
function choose(state, column) {
  const { picks } = state.header;
  if (!picks) {
    state.locked = state.locked === column ? -1 : column;
    refresh(state);
  } else if (column >= 0 && column < picks.length) state.onPick(picks[column]);
}

/**
 * Answer a key: arrows, Home and End move, Enter and space choose, Escape lets go.
 * @param {StripsState} state
 * @param {KeyboardEvent} event
 */
function press(state, event) {
  const at = state.active >= 0 ? state.active : state.locked;
  const to = moved(state.header, at, event.key);
  if (to >= 0) point(state, to);
  else if (event.key === "Enter" || event.key === " ") choose(state, at);
  else if (event.key === "Escape") {
    state.locked = state.active = -1;
    refresh(state);
  } else return;
  event.preventDefault();
}

/**
 * Draw the cursor and write the reading of the column pointed at, else of the locked one.
 * @param {StripsState} state
 */
function refresh(state) {
  const { canvas, base, header, layout, theme, tip, readout } = state;
  const ctx = context(canvas);
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  ctx.drawImage(base, 0, 0);
  tip.hidden = true;
  const column = state.active >= 0 ? state.active : state.locked;
  const choosable = header.picks && column >= 0 && column < header.picks.length;
  canvas.style.cursor = choosable ? "pointer" : "crosshair";
  readout.textContent = header.hint;
  if (column < 0) return;
  ctx.scale(layout.dpr, layout.dpr);
  drawMark(state, ctx, column, theme.text);
  const partner = header.partner?.[column] ?? -1;
  if (partner >= 0) drawMark(state, ctx, partner, theme.text, true);
  const { words, numbers } = readingOf(header, state.numbers, column);
  readout.textContent = [...words, ...numbers].join(" · ") + (state.active < 0 ? " (locked)" : "");
  if (state.active < 0) return;
  tip.replaceChildren();
  for (const line of words) element("div", "", tip, line);
  for (const line of numbers) element("div", "number", tip, line);
  placeTip(state, layout.left + (column + 0.5) * layout.step, layout.places[0].top);
}
