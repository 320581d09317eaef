// Painting the Explore screen: all heads, one head's map beside what it does, the text and the next tokens.

import { find } from "./elements.js";
import { known, numbersOf } from "./explore_ask.js";
import { fillFacts, pressChip } from "./explore_chips.js";
import { drawHeads, exploreAtlas, written } from "./explore_grid.js";
import { BLOCK_GAP, cornerOf, exploreLayout } from "./explore_layout.js";
import { placeAmongAll } from "./explore_numbers.js";
import { fillLeast, fillOptions } from "./explore_options.js";
import { colourTokens, fillNext, fillTable } from "./explore_text.js";
import { showMap } from "./heatmap.js";

/** @import { ExploreState, HeadNumbers, Pair } from "./types.js" */

const LEAST = 540; // CSS pixels of the screen's height; a lower window scrolls
const BELOW = 26; // CSS pixels of the page below the screen
const BELOW_MAP = 66; // CSS pixels for the reading and the legend

/**
 * Paint everything.
 * @param {ExploreState} state
 */
export function paint(state) {
  const { prompt, place, room } = state;
  if (!place.clientWidth) return;
  const narrow = state.host.narrow(place);
  state.above = heightAbove(place);
  place.style.height = narrow
    ? "auto"
    : `${state.host.height ?? Math.max(LEAST, window.innerHeight - state.above - BELOW)}px`;
  const { sampled } = prompt.header; // the others are drawn from all query tokens in the end, and the page says when
  state.gridNote.textContent =
    sampled && state.sink === "without" ? `Small pictures without the first token are ${sampled}.` : "";
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
  pressChip(state);
  drawGrid(state);
  paintHead(state);
}

/**
 * Return how much of the page stands above an element, in CSS pixels.
 * @param {HTMLElement} place
 */
export function heightAbove(place) {
  return place.getBoundingClientRect().top + (scrollerOf(place)?.scrollTop ?? window.scrollY);
}

/**
 * Return the part of the page around an element that scrolls; undefined where none does.
 * @param {HTMLElement} place
 */
export function scrollerOf(place) {
  for (
    let at = /** @type {Node | null} */ (place);
    at;
    at = at.parentNode ?? (at instanceof ShadowRoot ? at.host : null)
  )
    if (at instanceof HTMLElement && at !== place && /auto|scroll/.test(getComputedStyle(at).overflowY)) return at;
  return undefined;
}

/**
 * Draw all heads, and say which one is chosen.
 * @param {ExploreState} state
 */
export function drawGrid(state) {
  const { prompt, grid, measure, selected, peeked, layout } = state;
  drawHeads(state);
  const [layer, head] = peeked ?? selected;
  const place = placeAmongAll(prompt, [layer, head]);
  const score = measure ? `${measure.title}: ${written(measure.scores[place])}` : "";
  const how = "Rows are layers, columns heads; click to choose.";
  const said = [`Layer ${layer}, head ${head}`, score].filter(Boolean).join(" · ");
  state.gridReading.textContent = score || peeked ? said : `${said}. ${how}`;
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
export function paintHead(state) {
  const { prompt, mapRoot, place } = state;
  const shown = state.peeked ?? state.selected;
  state.shown = shown;
  const [layer, head] = shown;
  state.title.textContent = `Layer ${layer}, head ${head}`;
  const shares = [sharing(state, shown), prompt.header.notes[layer]].filter(Boolean).join("; ");
  state.shares.textContent = find(place, ".sharing").textContent = shares; // the second where the first has no room
  fillFacts(state);
  const found = find(place, ".found");
  found.textContent = found.title = prompt.header.found[placeAmongAll(prompt, shown)] ?? "";
  const numbers = numbersOf(state);
  place.classList.toggle("busy", !numbers);
  place.classList.toggle("unknown", !known(state, layer)); // nothing is shown in the place of another head's map
  fillOptions(state);
  if (numbers) {
    fillLeast(state, numbers);
    mapRoot.style.visibility = "";
    const tabled = place.classList.contains("tabled");
    find(place, "button.astable").setAttribute("aria-pressed", String(tabled));
    if (tabled) fillTable(state, numbers);
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
  const high = state.host.narrow(state.place) || matchMedia("print").matches; // as high as the map likes
  const [k] = header.pool;
  const ofTokens = header.picks;
  const selected = key >= 0 && ofTokens ? /** @type {Pair} */ ([Math.floor(query / k), Math.floor(key / k)]) : null;
  const threshold = (state.least ?? 0) * (header.top ?? 1);
  const height = high ? 0 : mapRoot.clientHeight - BELOW_MAP;
  showMap(mapRoot, { ...header, selected, threshold, strip: false }, numbers, {
    ...{ height, row: ofTokens ? Math.floor(query / k) : null },
    onPick: ([row, column]) => state.acts.choose(row < 0 ? { key: -1 } : { query: row * k, key: column * k }),
    onPoint: (cell) => state.acts.point(cell && ofTokens ? cell[0] * k : null),
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
