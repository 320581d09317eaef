// The saved page of all heads: the grid, and below it the map of the chosen head where every head's numbers are here.

import { find } from "./elements.js";
import { encode } from "./encode.js";
import { grid } from "./grid.js";
import { heatmap } from "./heatmap.js";
import { drawInAnyTheme, openPage, rootOf, stored } from "./saved_page.js";

/** @import { Details, Pair } from "./types.js" */

const page = openPage();
const payload = stored("payload");
const root = rootOf(page, "grid");
const showDetail = page.details ? detailShower(page.details) : () => {};
let selected = page.selected; // outlives a change of theme, unlike what the payload says

/**
 * Return the function that shows one head's map below the grid.
 * @param {Details} details
 */
function detailShower({ header, numbers }) {
  const mapRoot = rootOf(page, "heatmap");
  const bytes = stored("details");
  return (/** @type {Pair} */ [layer, head]) => {
    const [packing, start, end] = numbers[layer][head];
    const own = { packing, label: `Attention weights of layer ${layer}, head ${head}`, version: `${layer}.${head}` };
    const title = find(document, "h2");
    title.hidden = find(document, "#heatmap").hidden = false;
    title.textContent = `Layer ${layer}, head ${head}`;
    heatmap(mapRoot, encode({ ...header, ...own }, bytes.subarray(start, end)));
  };
}

/**
 * Keep the head that the reader has chosen, and show its map.
 * @param {Pair} at
 */
function choose(at) {
  selected = at;
  showDetail(at);
}

drawInAnyTheme(() => {
  grid(root, payload, { selected, onPick: choose });
  showDetail(selected);
});
