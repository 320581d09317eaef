// The Explore screen: chips, all heads, one head's map, the text and the next tokens, on one choice. Choosing paints all
// of them here; the server is told afterwards, and asked for exact numbers alone.

import { forget, offPaper, onPaper, pointerIn } from "./canvas.js";
import { find } from "./elements.js";
import { take, want } from "./explore_ask.js";
import { begin } from "./explore_begin.js";
import { listenToChange } from "./explore_change.js";
import { choose, chooseOrder, peek, point } from "./explore_choose.js";
import { listenToKeys } from "./explore_keys.js";
import { headAt } from "./explore_layout.js";
import { listenToOptions } from "./explore_options.js";
import { heightAbove, paint, paintHead, scrollerOf } from "./explore_paint.js";
import { pageHost } from "./hub.js";
import { readTheme } from "./theme.js";

/** @import { ExploreHost, ExploreState, Root } from "./types.js" */

/** @type {WeakMap<Root, ExploreState>} */
const states = new WeakMap();

/**
 * Show a prompt's message.
 * @param {Root} root
 * @param {Uint8Array} data  as views/explore_message.py makes it
 * @param {ExploreHost} [host]  who answers its questions and remembers what is chosen; the app's page unless told
 */
export function explore(root, data, host = pageHost()) {
  let state = states.get(root);
  if (!state) {
    state = create(root, host);
    states.set(root, state);
  }
  dress(state);
  if (state.data !== data) begin(state, data);
  const { id } = state.prompt.header;
  const current = state;
  state.host.hub.hearers.delete(state.receive);
  state.receive = (answer, numbers) => {
    if (answer.id === id && take(current, answer, numbers)) paintHead(current);
  };
  state.host.hub.hearers.add(state.receive);
  paint(state);
  want(state);
}

/**
 * Take the theme's colours, which pictures that are painted already do not have.
 * @param {ExploreState} state
 */
function dress(state) {
  state.theme = readTheme(state.place);
  state.place.classList.toggle("dark", state.theme.dark);
  state.atlases = [null, null];
}

/**
 * Forget what a root showed.
 * @param {Root} root
 */
export function leave(root) {
  const state = states.get(root);
  if (!state) return;
  state.observer.disconnect();
  offPaper(root);
  clearTimeout(state.soon);
  state.waiting = "";
  forget(state.mapRoot);
  state.host.hub.hearers.delete(state.receive);
  states.delete(root);
}

/**
 * Return a new state, and listen.
 * @param {Root} root
 * @param {ExploreHost} host
 * @returns {ExploreState}
 */
function create(root, host) {
  const state = /** @type {ExploreState} */ ({ ...partsOf(root), ...nothingYet(), host });
  const alone = host.height !== undefined; // there are no other pages beside it
  for (const name of ["gone", "explain", "because"]) find(state.place, `button.${name}`).hidden = alone;
  state.acts = {
    choose: (changes) => choose(state, changes),
    chooseOrder: (measure) => chooseOrder(state, measure),
    point: (token) => point(state, token),
    hideBelow: (share) => {
      state.least = share;
      paintHead(state);
    },
  };
  const page = scrollerOf(state.place)?.firstElementChild;
  state.observer = new ResizeObserver((entries) => {
    // The page grows with the screen itself; above it a line may come late, or wrap when its font arrives.
    if (entries.every(({ target }) => target === page) && heightAbove(state.place) === state.above) return;
    cancelAnimationFrame(state.frame);
    state.frame = requestAnimationFrame(() => state.prompt && paint(state));
  });
  for (const each of [state.room, state.mapRoot, page]) if (each) state.observer.observe(each);
  onPaper(root, () => {
    if (!state.prompt) return;
    dress(state);
    paint(state);
  });
  listenToPointer(state);
  listenToKeys(state);
  listenToOptions(state);
  listenToChange(state);
  find(state.place, "button.astable").onclick = () => {
    state.place.classList.toggle("tabled");
    paintHead(state);
  };
  return state;
}

/**
 * Return the parts of the skeleton that are filled again and again.
 * @param {Root} root
 */
function partsOf(root) {
  const place = find(root, ".explore");
  const part = (/** @type {string} */ name) => find(place, name);
  return {
    place,
    grid: /** @type {HTMLCanvasElement} */ (part("canvas.grid")),
    chips: part(".chips"),
    meanings: part(".meanings"),
    room: part(".gridroom"),
    gridReading: part(".gridreading"),
    gridNote: part(".gridnote"),
    title: part(".title"),
    shares: part(".shares"),
    mapRoot: part(".maproom"),
    facts: part(".facts dl"),
    strip: part(".text .tokens"),
    reading: part(".text .reading"),
    next: part(".next ol"),
    nextTitle: part(".next h2"),
    table: part(".table"),
    order: /** @type {HTMLSelectElement} */ (part("select.order")),
    hide: /** @type {HTMLInputElement} */ (part("input.sink")),
    options: part(".options"),
  };
}

/** Return what a state knows before its first message. */
const nothingYet = () => ({
  ...{ peeked: null, pointed: null, exact: new Map(), tokens: new Map() },
  ...{ waiting: "", soon: 0, frame: 0, tries: 0, telling: 0 },
});

/**
 * Listen to the pointer in the grid: it previews, a click chooses.
 * @param {ExploreState} state
 */
function listenToPointer(state) {
  const { grid } = state;
  const headUnder = (/** @type {PointerEvent | MouseEvent} */ event) =>
    headAt(state.prompt, state.layout, pointerIn(grid, event));
  grid.onpointermove = (event) => {
    if (event.pointerType !== "touch") peek(state, headUnder(event));
  };
  grid.onpointerleave = () => peek(state, null);
  grid.onclick = (event) => {
    const at = headUnder(event);
    if (at) choose(state, { layer: at[0], head: at[1] });
  };
}
