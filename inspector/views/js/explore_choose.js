// Choosing and pointing on the Explore screen: painted here at once; the tab and the server are told afterwards.

import { same } from "./canvas.js";
import { numbersOf, SOON, want } from "./explore_ask.js";
import { headAtPlace, ranked } from "./explore_numbers.js";
import { drawGrid, paint, paintHead } from "./explore_paint.js";
import { colourTokens, fillNext, fillTokens } from "./explore_text.js";
import { speaker } from "./hub.js";

/** @import { Chosen, ExploreMeasure, ExploreState, Pair } from "./types.js" */

/**
 * Choose something, paint it at once, and tell the tab and the server afterwards.
 * @param {ExploreState} state
 * @param {Partial<Chosen>} changes
 */
export function choose(state, { layer, head, query, key, sink, show, scale, unit }) {
  const n = state.prompt.header.tokens.length;
  if ((query ?? 0) >= n || (key ?? 0) >= n) return; // a click on what is going
  if (query !== undefined) state.picked = true;
  if (layer !== undefined && head !== undefined) state.selected = [layer, head];
  if (query !== undefined) state.query = query;
  if (key !== undefined) state.key = key;
  if (sink !== undefined) state.sink = sink;
  if (show !== undefined) state.look.show = show;
  if (scale !== undefined) state.look.scale = scale;
  if (unit !== undefined) state.look.unit = unit;
  state.peeked = state.pointed = null;
  if (query !== undefined && !state.tokens.has(query)) fillTokens(state);
  if (sink !== undefined) paint(state);
  else {
    drawGrid(state);
    paintHead(state);
  }
  want(state);
  tell(state);
}

/**
 * Choose an order of the heads; a role also chooses the head that has it most.
 * @param {ExploreState} state
 * @param {ExploreMeasure | null} measure  null: by layer
 */
export function chooseOrder(state, measure) {
  state.measure = measure;
  state.ranking = measure ? ranked(measure) : null;
  const shown = !measure?.role || measure.best >= 0; // else no head has it here
  if (state.ranking && shown) state.selected = headAtPlace(state.prompt, state.ranking[0]);
  state.peeked = null;
  state.room.scrollTop = 0;
  paint(state);
  want(state);
  tell(state);
}

/**
 * Point at a head, or at none: it is shown as long as the pointer is on it.
 * @param {ExploreState} state
 * @param {Pair | null} at
 */
export function peek(state, at) {
  if (same(at, state.peeked)) return;
  state.peeked = at && same(at, state.selected) ? null : at;
  state.grid.style.cursor = at ? "pointer" : "default";
  drawGrid(state);
  paintHead(state);
  clearTimeout(state.soon);
  if (at) state.soon = window.setTimeout(() => want(state), SOON);
  else want(state); // the chosen head's numbers may have made room for others'
}

/**
 * Point at a token, or at none: its row is shown as long as the pointer is on it.
 * @param {ExploreState} state
 * @param {number | null} token
 */
export function point(state, token) {
  if (state.pointed === token || (token ?? 0) >= state.prompt.header.tokens.length) return;
  state.pointed = token;
  colourTokens(state, numbersOf(state));
  fillNext(state);
}

/**
 * Remember what is chosen in this tab, and tell the server.
 * @param {ExploreState} state
 */
export function tell(state) {
  const [layer, head] = state.selected;
  const { key, sink, look, measure } = state;
  const query = state.picked ? state.query : -1; // none was chosen: other pages begin with a token of their own
  const { id } = state.prompt.header;
  const selection = {
    ...state.host.remembered().selection,
    layer,
    head,
    query,
    key,
    sink,
    ...look,
    order: measure?.name ?? "layers",
  };
  state.host.remember({ selection, shown: id });
  const server = speaker(state.host.hub);
  if (server) server.tell({ ...selection, shown: id });
  else {
    clearTimeout(state.telling);
    state.telling = window.setTimeout(
      () => state.prompt.header.id === id && state.place.isConnected && tell(state),
      SOON,
    );
  }
}
