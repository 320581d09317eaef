// All heads of a model as small pictures on one canvas, of which one is chosen by a click or Enter.

import { onScreen, partsOf, placeTip, pointerIn, same, stateOf } from "./canvas.js";
import { element } from "./elements.js";
import { headAt, layoutOf, moved, placeOf, readingOf } from "./grid_layout.js";
import { drawGrid, drawHead, paintAtlas } from "./grid_picture.js";
import { decode } from "./payload.js";
import { context, readTheme } from "./theme.js";

/** @import { GridHeader, GridState, Host, Pair, Root } from "./types.js" */

const ZOOM = 112; // pixels of the picture in the tooltip

/**
 * Show a message in the canvas of a root.
 * @param {Root} root
 * @param {Uint8Array} data  as headers.grid_header and payload.encode make it
 * @param {Host<Pair>} host  onPick: told [layer, head]; selected: the chosen head, where the host knows it better
 */
export function grid(root, data, { onPick = () => {}, selected } = {}) {
  const state = stateOf(root, create, draw);
  /** @type {{ header: GridHeader, body: Uint8Array }} */
  const { header, body } = decode(data);
  const theme = readTheme(state.host);
  const look = `${header.pictures} ${header.scale} ${theme.dark}`;
  Object.assign(state, { header, body, theme, onPick, selected: selected ?? header.selected });
  if (look !== state.look) Object.assign(state, { look, atlas: paintAtlas(header, body, theme) });
  if (!state.hasFocus) state.cursor = null;
  draw(state);
}

/**
 * Return a new state and listen to the pointer and the keys.
 * @param {Root} root
 */
function create(root) {
  const state = /** @type {GridState} */ ({ ...partsOf(root, ".heads"), hasFocus: false });
  const { canvas } = state;
  canvas.onpointermove = (event) => hover(state, headAt(state.header, state.layout, pointerIn(canvas, event)));
  canvas.onpointerleave = () => hover(state, null);
  canvas.onclick = (event) => pick(state, headAt(state.header, state.layout, pointerIn(canvas, event)));
  canvas.onkeydown = (event) => press(state, event);
  canvas.onfocus = () => {
    state.hasFocus = true;
  };
  canvas.onblur = () => {
    state.hasFocus = false;
    hover(state, null);
  };
  return state;
}

/**
 * Draw the grid, and say what tests and screen readers look for.
 * @param {GridState} state
 */
function draw(state) {
  if (!onScreen(state)) return;
  const { canvas, header } = state;
  state.layout = layoutOf(header, state.width);
  drawGrid(state);
  const { size, columns, bandHeight, split, top, alike } = state.layout;
  const [x, y] = header.order ? [0, top] : placeOf(header, state.layout, [0, 0]);
  const painted = { selected: state.selected.join(), painted: header.pictures, order: header.ordered_by };
  Object.assign(canvas.dataset, { x, y, size, columns, bandHeight, split: alike ? split : 0, ...painted });
  canvas.setAttribute("aria-label", header.label);
  if (!state.cursor) state.readout.textContent = `Selected: ${readingOf(header, state.layout, state.selected)}`;
}

/**
 * Point at a head, or at none.
 * @param {GridState} state
 * @param {Pair | null} at
 */
function hover(state, at) {
  const { tip, header } = state;
  if (same(at, state.cursor)) return;
  state.cursor = at;
  state.canvas.style.cursor = at ? "pointer" : "default";
  draw(state);
  tip.hidden = true;
  if (!at) return;
  tip.replaceChildren();
  element("div", "number", tip, `layer ${at[0]}, head ${at[1]}`);
  const zoom = element("canvas", "", tip); // the same picture, large enough to recognise
  zoom.width = zoom.height = ZOOM;
  const ctx = context(zoom);
  ctx.imageSmoothingEnabled = false;
  drawHead(state, ctx, at, [0, 0], ZOOM);
  const [x, y] = placeOf(header, state.layout, at);
  placeTip(state, x + state.layout.size / 2, y);
  state.readout.textContent = readingOf(header, state.layout, at);
}

/**
 * Choose a head: on screen at once; the host answers a little later.
 * @param {GridState} state
 * @param {Pair | null} at
 */
function pick(state, at) {
  if (!at) return;
  state.selected = at;
  draw(state);
  state.onPick(at);
}

/**
 * Answer a key: arrows move between heads, Enter and space choose, Escape lets go.
 * @param {GridState} state
 * @param {KeyboardEvent} event
 */
function press(state, event) {
  const at = state.cursor || state.selected;
  const to = moved(state.header, state.layout, at, event.key);
  if (event.key === "Enter" || event.key === " ") pick(state, at);
  else if (to) hover(state, to);
  else if (event.key === "Escape") hover(state, null);
  else return;
  event.preventDefault();
}
