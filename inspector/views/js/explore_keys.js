// The Explore screen by keyboard: arrows in the grid and the text, Escape, and "?" for the list of keys. The map has keys
// of its own (heatmap.js).

import { find } from "./elements.js";
import { cornerOf, moved } from "./explore_layout.js";

/** @import { ExploreState, Pair } from "./types.js" */

/**
 * Listen to keys.
 * @param {ExploreState} state
 */
export function listenToKeys(state) {
  const { place, grid, strip } = state;
  grid.onkeydown = (event) => pressInGrid(state, event);
  strip.onkeydown = (event) => pressInText(state, event);
  place.onkeydown = (event) => pressAnywhere(state, event);
  find(place, "button.keys").onclick = () => openKeys(place);
}

const openKeys = (/** @type {HTMLElement} */ place) =>
  /** @type {HTMLDialogElement} */ (find(place, "dialog")).showModal();

/**
 * Answer a key that nothing else answers: Escape closes the menu, else lets the key token go; "?" lists the keys.
 * @param {ExploreState} state
 * @param {KeyboardEvent} event
 */
function pressAnywhere(state, event) {
  const { place } = state;
  if (event.target instanceof HTMLElement && event.target.closest("dialog")) return; // its own keys
  const menu = /** @type {HTMLDetailsElement} */ (find(place, "details.menu"));
  if (event.key === "Escape" && menu.open) {
    menu.open = false;
    find(menu, "summary").focus();
  } else if (event.key === "Escape" && state.key >= 0) state.acts.choose({ key: -1 });
  else if (event.key === "?" && !(event.target instanceof HTMLInputElement)) openKeys(place);
}

/**
 * Answer a key in the grid: an arrow chooses the head beside.
 * @param {ExploreState} state
 * @param {KeyboardEvent} event
 */
function pressInGrid(state, event) {
  const to = moved(state.prompt, state.layout, state.selected, event.key);
  if (!to) return;
  state.acts.choose({ layer: to[0], head: to[1] });
  scrollTo(state, to);
  event.preventDefault();
}

/**
 * Answer a key in the text: arrows, Home and End choose another token.
 * @param {ExploreState} state
 * @param {KeyboardEvent} event
 */
function pressInText(state, event) {
  const last = state.prompt.header.tokens.length - 1;
  const to = { ArrowLeft: state.query - 1, ArrowRight: state.query + 1, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  state.acts.choose({ query: Math.max(0, Math.min(last, to)) });
  state.tokens.get(state.query)?.focus({ preventScroll: true });
}

/**
 * Scroll the grid so that a head's picture is seen.
 * @param {ExploreState} state
 * @param {Pair} at
 */
function scrollTo({ prompt, layout, room }, at) {
  const [x, y] = cornerOf(prompt, layout, at);
  const below = y + layout.size + 26 - room.clientHeight;
  if (y < room.scrollTop) room.scrollTop = y - 24;
  else if (below > room.scrollTop) room.scrollTop = below;
  if (x < room.scrollLeft || x + layout.size > room.scrollLeft + room.clientWidth) room.scrollLeft = x - 40;
}
