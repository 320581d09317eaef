// The Explore screen: chips, all heads, one head's map, the text and the next tokens, on one choice. Choosing paints all
// of them here; the server is told afterwards, and asked for exact numbers alone.

import { forget, pointerIn, same } from "./canvas.js";
import { find } from "./elements.js";
import { drawHeads, exploreAtlas, written } from "./explore_grid.js";
import { BLOCK_GAP, cornerOf, exploreLayout, headAt, moved } from "./explore_layout.js";
import { headAtPlace, placeAmongAll, promptOf, ranked, roughNumbers, withoutFirst } from "./explore_numbers.js";
import { colourTokens, fillChips, fillFacts, fillNext, fillTable, fillTokens } from "./explore_text.js";
import { showMap } from "./heatmap.js";
import { hub, speaker } from "./hub.js";
import { ANY, remember, remembered } from "./remembered.js";
import { readTheme } from "./theme.js";

/** @import { Chosen, ExploreMeasure, ExploreState, HeadNumbers, Pair, Root } from "./types.js" */

const NARROW = 820; // CSS pixels of the window below which everything stands in one column
const SOON = 80; // ms that the pointer rests before a head's numbers are asked for
const AGAIN = 1500; // ms after which a question without an answer is asked again, each time twice as long
const MOST_TRIES = 6;
const REMEMBERED_HEADS = 60; // exact numbers kept here
const LEAST = 540; // CSS pixels of the screen's height; a lower window scrolls
const BELOW = 26; // CSS pixels of the page below the screen
const BELOW_MAP = 66; // CSS pixels for the reading and the legend

/** @type {WeakMap<Root, ExploreState>} */
const states = new WeakMap();

/**
 * Show a prompt's message.
 * @param {Root} root
 * @param {Uint8Array} data  as views/explore_message.py makes it
 */
export function explore(root, data) {
  let state = states.get(root);
  if (!state) {
    state = create(root);
    states.set(root, state);
  }
  const theme = readTheme(state.place);
  state.place.classList.toggle("dark", theme.dark);
  state.theme = theme;
  state.atlases = [null, null];
  if (state.data !== data) load(state, data);
  const { id } = state.prompt.header;
  const current = state;
  hub().hearers.delete(state.receive);
  state.receive = (answer, numbers) => {
    if (answer.id !== id) return;
    current.exact.set(answer.asked, numbers);
    current.tries = 0;
    if (current.exact.size > REMEMBERED_HEADS) current.exact.delete(current.exact.keys().next().value ?? "");
    if (current.waiting === answer.asked) current.waiting = "";
    if (answer.asked === question(current)) paintHead(current);
  };
  hub().hearers.add(state.receive);
  fillChips(state, (measure) => chooseOrder(current, measure));
  paint(state);
  want(state);
}

/**
 * Forget what a root showed.
 * @param {Root} root
 */
export function leave(root) {
  const state = states.get(root);
  if (!state) return;
  state.observer.disconnect();
  clearTimeout(state.soon);
  state.waiting = "";
  forget(state.mapRoot);
  hub().hearers.delete(state.receive);
  states.delete(root);
}

/**
 * Return a new state, and listen.
 * @param {Root} root
 * @returns {ExploreState}
 */
function create(root) {
  const place = find(root, ".explore");
  const part = (/** @type {string} */ name) => find(place, name);
  const grid = /** @type {HTMLCanvasElement} */ (part("canvas.grid"));
  const state = /** @type {ExploreState} */ ({
    ...{ place, grid, chips: part(".chips"), room: part(".gridroom"), gridReading: part(".gridreading") },
    ...{ title: part(".title"), shares: part(".shares"), mapRoot: part(".maproom"), facts: part(".facts dl") },
    ...{
      strip: part(".text .tokens"),
      reading: part(".text .reading"),
      next: part(".next ol"),
      nextTitle: part(".next h2"),
    },
    ...{ table: part(".table"), order: /** @type {HTMLSelectElement} */ (part("select.order")) },
    ...{ hide: /** @type {HTMLInputElement} */ (part("input.sink")), options: part(".options") },
    ...{
      peeked: null,
      pointed: null,
      exact: new Map(),
      waiting: "",
      tokens: new Map(),
      soon: 0,
      frame: 0,
      tries: 0,
      telling: 0,
    },
  });
  state.observer = new ResizeObserver(() => {
    cancelAnimationFrame(state.frame);
    state.frame = requestAnimationFrame(() => state.prompt && paint(state));
  });
  for (const each of [state.room, state.mapRoot]) state.observer.observe(each);
  grid.onpointermove = (event) => {
    if (event.pointerType !== "touch") peek(state, headAt(state.prompt, state.layout, pointerIn(grid, event)));
  };
  grid.onpointerleave = () => peek(state, null);
  grid.onclick = (event) => {
    const at = headAt(state.prompt, state.layout, pointerIn(grid, event));
    if (at) choose(state, { layer: at[0], head: at[1] });
  };
  grid.onkeydown = (event) => {
    const to = moved(state.prompt, state.layout, state.selected, event.key);
    if (!to) return;
    choose(state, { layer: to[0], head: to[1] });
    scrollTo(state, to);
    event.preventDefault();
  };
  state.hide.onchange = () => choose(state, { sink: state.hide.checked ? "without" : "with" });
  state.order.onchange = () =>
    chooseOrder(state, state.prompt.header.measures[Number(state.order.value)] ?? null, true);
  for (const field of state.options.querySelectorAll("select"))
    field.onchange = () => choose(state, { [field.name]: field.value });
  const least = /** @type {HTMLInputElement} */ (find(state.options, "input.least"));
  least.oninput = () => {
    state.least = Number(least.value);
    paintHead(state);
  };
  state.strip.onkeydown = (event) => pressInText(state, event);
  find(place, "button.astable").onclick = () => {
    state.place.classList.toggle("tabled");
    paintHead(state);
  };
  place.onkeydown = (event) => {
    if (event.target instanceof HTMLElement && event.target.closest("dialog")) return; // its own keys
    const menu = /** @type {HTMLDetailsElement} */ (find(place, "details.menu"));
    if (event.key === "Escape" && menu.open) menu.open = false;
    else if (event.key === "Escape" && state.key >= 0) choose(state, { key: -1 });
    else if (event.key === "?" && !(event.target instanceof HTMLInputElement)) openKeys(place);
  };
  find(place, "button.keys").onclick = () => openKeys(place);
  return state;
}

const openKeys = (/** @type {HTMLElement} */ place) =>
  /** @type {HTMLDialogElement} */ (find(place, "dialog")).showModal();

/**
 * Take a new message, with what was chosen in this tab as far as it fits.
 * @param {ExploreState} state
 * @param {Uint8Array} data
 */
function load(state, data) {
  const prompt = promptOf(data);
  const { header } = prompt;
  const was = remembered();
  if (state.prompt?.header.id === header.id && was.shown !== "") {
    Object.assign(state, { data, prompt }); // the same prompt, perhaps with better small pictures: all else stays
    return;
  }
  const kept = was.shown === "" ? {} : (was.selection ?? {}); // empty: an example, which has a head of its own
  const here = was.shown === header.id || was.shown === ANY; // else tokens were chosen in another prompt
  const before = was.selection ?? {};
  const number = (/** @type {unknown} */ said, /** @type {number} */ most) =>
    typeof said === "number" && Number.isInteger(said) && said >= 0 && said < most ? said : -1;
  const layer = number(kept.layer, header.heads.length);
  const head = layer < 0 ? -1 : number(kept.head, header.heads[layer]);
  const query = here ? number(kept.query, header.tokens.length) : -1;
  Object.assign(state, { data, prompt, exact: new Map(), waiting: "", least: 0, peeked: null, pointed: null });
  state.mapRoot.style.visibility = "hidden"; // what it shows is another prompt's
  state.table.replaceChildren();
  state.selected = head < 0 ? header.selected : [layer, head];
  state.picked = query >= 0;
  state.query = query < 0 ? header.tokens.length - 1 : query;
  state.key = here ? number(kept.key, header.tokens.length) : -1;
  state.sink = before.sink === "without" ? "without" : "with";
  state.look = {
    show: said(before.show, ["weights", "scaled_scores", "weighted_values"]),
    scale: said(before.scale, ["sqrt", "linear", "log"]),
    unit: said(before.unit, ["tokens", "words"]),
  };
  state.measure = header.measures.find(({ name, best, role }) => name === before.order && (!role || best >= 0)) ?? null;
  state.ranking = state.measure ? ranked(state.measure) : null;
  state.order.replaceChildren(
    new Option("by layer", "-1"),
    ...header.measures.map(({ title }, i) => new Option(title, `${i}`)),
  );
  /** @type {HTMLInputElement} */ (find(state.options, "input.least")).value = "0";
  fillTokens(
    state,
    (query) => choose(state, { query }),
    (token) => point(state, token),
  );
  tell(state); // tab and server have what is on screen, not what was chosen in another prompt
}

/**
 * Return a text that is among those there are, else the first of them.
 * @param {unknown} text
 * @param {string[]} known
 */
const said = (text, known) => (typeof text === "string" && known.includes(text) ? text : known[0]);

// ---- choosing ----------------------------------------------------------------------------------------

/**
 * Choose something, paint it at once, and tell the tab and the server afterwards.
 * @param {ExploreState} state
 * @param {Partial<Chosen>} changes
 */
function choose(state, { layer, head, query, key, sink, show, scale, unit }) {
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
  if (query !== undefined && !state.tokens.has(query))
    fillTokens(
      state,
      (each) => choose(state, { query: each }),
      (token) => point(state, token),
    );
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
 * @param {boolean} [focused]  the field that sorts keeps the focus
 */
function chooseOrder(state, measure, focused = false) {
  state.measure = measure;
  state.ranking = measure ? ranked(measure) : null;
  const shown = !measure?.role || measure.best >= 0; // else no head has it here
  if (state.ranking && shown) state.selected = headAtPlace(state.prompt, state.ranking[0]);
  state.peeked = null;
  const held = state.chips.contains(state.chips.ownerDocument.activeElement) || !focused;
  fillChips(state, (each) => chooseOrder(state, each));
  if (held)
    /** @type {HTMLElement | null} */ (state.chips.querySelector('[aria-pressed="true"]'))?.focus({
      preventScroll: true,
    });
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
function peek(state, at) {
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
function point(state, token) {
  if (state.pointed === token || (token ?? 0) >= state.prompt.header.tokens.length) return;
  state.pointed = token;
  colourTokens(state, numbersOf(state));
  fillNext(state);
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
  choose(state, { query: Math.max(0, Math.min(last, to)) });
  state.tokens.get(state.query)?.focus({ preventScroll: true });
}

/**
 * Remember what is chosen in this tab, and tell the server.
 * @param {ExploreState} state
 */
function tell(state) {
  const [layer, head] = state.selected;
  const { key, sink, look, measure } = state;
  const query = state.picked ? state.query : -1; // none was chosen: other pages begin with a token of their own
  const { id } = state.prompt.header;
  const selection = {
    ...remembered().selection,
    layer,
    head,
    query,
    key,
    sink,
    ...look,
    order: measure?.name ?? "layers",
  };
  remember({ selection, shown: id });
  const server = speaker();
  if (server) server.tell({ ...selection, shown: id });
  else {
    clearTimeout(state.telling);
    state.telling = window.setTimeout(
      () => state.prompt.header.id === id && state.place.isConnected && tell(state),
      SOON,
    );
  }
}

/**
 * Return the question for the shown head's exact numbers.
 * @param {ExploreState} state
 */
function question(state) {
  const [layer, head] = state.peeked ?? state.selected;
  const { show, scale, unit } = state.look;
  const pooled = state.prompt.header.tokens.length > 1024 || unit === "words" || show === "weighted_values";
  return `${layer}.${head} ${show} ${scale} ${pooled ? state.sink : "with"} ${unit}`; // else left out here
}

/**
 * Return whether a layer's weights cannot be shown; its note then says why.
 * @param {ExploreState} state
 * @param {number} layer
 */
const unknown = ({ prompt }, layer) => prompt.header.notes[layer].startsWith("its weights cannot be shown");

/**
 * Ask for the shown head's exact numbers, if they are not here.
 * @param {ExploreState} state
 */
function want(state) {
  const asked = question(state);
  const [layer] = state.peeked ?? state.selected;
  if (state.exact.has(asked) || unknown(state, layer)) return;
  if (state.peeked && state.prompt.halves && state.look.show === "weights") return; // a look in passing
  const server = speaker();
  if (!server) {
    clearTimeout(state.soon);
    state.soon = window.setTimeout(() => want(state), SOON); // the other component is not here yet
    return;
  }
  if (state.waiting === asked) return;
  const { id } = state.prompt.header;
  state.waiting = asked; // and no longer for an earlier one: while it is busy, the server keeps the last question alone
  server.ask(id, asked);
  setTimeout(
    () => {
      // A question that meets a run of the whole page is lost: ask again, as long as it is still the question.
      if (state.waiting !== asked || state.prompt.header.id !== id || !state.place.isConnected) return;
      state.waiting = "";
      state.tries += 1;
      if (asked === question(state) && state.tries < MOST_TRIES) want(state);
    },
    AGAIN * 2 ** state.tries,
  );
}

/**
 * Return the shown head's numbers: the exact ones, else those of the prompt's message, else none.
 * @param {ExploreState} state
 * @returns {HeadNumbers | null}
 */
function numbersOf(state) {
  const asked = question(state);
  if (unknown(state, (state.peeked ?? state.selected)[0])) return null;
  const plain = state.look.show === "weights" && state.look.unit === "tokens";
  const scale = /** @type {import("./types.js").Scale} */ (state.look.scale);
  const here =
    state.exact.get(asked) ?? (plain ? roughNumbers(state.prompt, state.peeked ?? state.selected, scale) : null);
  if (!here) return null;
  return state.sink === "without" && asked.includes(" with ") && plain ? withoutFirst(here) : here;
}

// ---- painting ----------------------------------------------------------------------------------------

/**
 * Paint everything.
 * @param {ExploreState} state
 */
function paint(state) {
  const { prompt, place, room } = state;
  if (!place.clientWidth) return;
  const narrow = window.innerWidth <= NARROW;
  const above = place.getBoundingClientRect().top + (scrolled(place) ?? window.scrollY);
  place.style.height = narrow ? "auto" : `${Math.max(LEAST, window.innerHeight - above - BELOW)}px`;
  const width = narrow ? place.clientWidth - 4 : Math.floor(place.clientWidth * 0.56);
  const order = state.ranking;
  const least = Math.min(430, width);
  const byLayer = exploreLayout(prompt, null, { width, height: room.clientHeight, narrow });
  const wide = Math.min(width, Math.max(least, Math.ceil(byLayer.width) + 4)); // what does not fit scrolls
  state.layout = order
    ? exploreLayout(prompt, order, { width: wide - 14, height: room.clientHeight, narrow })
    : byLayer;
  place.style.setProperty("--grid-width", narrow ? "100%" : `${wide}px`);
  const hidden = state.sink === "without" ? 1 : 0;
  state.atlases[hidden] ??= exploreAtlas(prompt, prompt.small[hidden], state.theme);
  state.atlas = /** @type {HTMLCanvasElement} */ (state.atlases[hidden]);
  state.hide.checked = hidden === 1;
  const order_at = state.measure ? prompt.header.measures.indexOf(state.measure) : -1;
  state.order.value = String(order_at);
  for (const field of state.options.querySelectorAll("select"))
    field.value = /** @type {Record<string, string>} */ (state.look)[field.name];
  drawGrid(state);
  paintHead(state);
}

/**
 * Return how far the part of the page around an element is scrolled; undefined where no part of it scrolls.
 * @param {HTMLElement} place
 */
function scrolled(place) {
  for (
    let at = /** @type {Node | null} */ (place);
    at;
    at = at.parentNode ?? (at instanceof ShadowRoot ? at.host : null)
  )
    if (at instanceof HTMLElement && at !== place && /auto|scroll/.test(getComputedStyle(at).overflowY))
      return at.scrollTop;
  return undefined;
}

/**
 * Draw all heads, and say which one is chosen.
 * @param {ExploreState} state
 */
function drawGrid(state) {
  const { prompt, grid, measure, selected, peeked, layout } = state;
  drawHeads(state);
  const [layer, head] = peeked ?? selected;
  const place = placeAmongAll(prompt, [layer, head]);
  const score = measure ? `${measure.title}: ${written(measure.scores[place])}` : "";
  const how = "rows are layers, columns are heads; point to preview, click to choose";
  state.gridReading.textContent = `Layer ${layer}, head ${head}${score ? ` · ${score}` : peeked ? "" : ` chosen: ${how}`}`;
  const [x, y] = cornerOf(prompt, layout, [0, 0]);
  const dataset = { selected: selected.join(), order: measure?.name ?? "layers", painted: prompt.header.id };
  Object.assign(grid.dataset, dataset, { x, y, size: layout.size, hidden: state.sink === "without" });
  Object.assign(grid.dataset, { rows: layout.rows, block: layout.block + BLOCK_GAP, gap: layout.gap });
  const reading = `Layer ${selected[0]}, head ${selected[1]} of ${prompt.count} heads is chosen. Arrow keys choose another.`;
  grid.setAttribute("aria-label", `Attention weights of every head. ${reading}`);
}

/**
 * Paint the shown head: its name, what it does, its map, the text and the next tokens.
 * @param {ExploreState} state
 */
function paintHead(state) {
  const { prompt, mapRoot, place } = state;
  const shown = state.peeked ?? state.selected;
  state.shown = shown;
  const [layer, head] = shown;
  state.title.textContent = `Layer ${layer}, head ${head}`;
  state.shares.textContent = [sharing(state, shown), prompt.header.notes[layer]].filter(Boolean).join("; ");
  fillFacts(state);
  const numbers = numbersOf(state);
  place.classList.toggle("busy", !numbers);
  place.classList.toggle("unknown", unknown(state, layer)); // nothing is shown in the place of another head's map
  if (numbers) {
    mapRoot.style.visibility = "";
    const tabled = place.classList.contains("tabled");
    find(place, "button.astable").setAttribute("aria-pressed", String(tabled));
    if (tabled) fillTable(state, numbers, (query, key) => choose(state, { query, key }));
    else drawMap(state, numbers);
  }
  colourTokens(state, numbers);
  fillNext(state);
  mapRoot.dataset.shown = shown.join();
}

/**
 * Draw the shown head's map, as high as there is room.
 * @param {ExploreState} state
 * @param {HeadNumbers} numbers
 */
function drawMap(state, { header, numbers }) {
  const { mapRoot, key, query } = state;
  const narrow = window.innerWidth <= NARROW;
  const [k] = header.pool;
  const ofTokens = header.picks;
  const selected = key >= 0 && ofTokens ? /** @type {Pair} */ ([Math.floor(query / k), Math.floor(key / k)]) : null;
  const threshold = (state.least ?? 0) * (header.top ?? 1);
  const height = narrow ? 0 : mapRoot.clientHeight - BELOW_MAP;
  showMap(mapRoot, { ...header, selected, threshold, strip: false }, numbers, {
    ...{ height, row: ofTokens ? Math.floor(query / k) : null },
    onPick: ([row, column]) => choose(state, row < 0 ? { key: -1 } : { query: row * k, key: column * k }),
    onPoint: (cell) => point(state, cell && ofTokens ? cell[0] * k : null),
  });
}

/**
 * Say with which query heads a head shares its keys and values; empty where with none.
 * @param {ExploreState} state
 * @param {Pair} at
 */
function sharing({ prompt: { header } }, [layer, head]) {
  const share = header.heads[layer] / header.groups[layer];
  if (share <= 1) return "";
  const first = Math.floor(head / share) * share;
  const others = Array.from({ length: share }, (_, i) => first + i).filter((other) => other !== head);
  if (others.length > 4) return `shares keys and values with ${others.length} other heads`;
  const names =
    others.length > 1 ? `heads ${others.slice(0, -1).join(", ")} and ${others.at(-1)}` : `head ${others[0]}`;
  return `shares keys and values with ${names}`;
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
