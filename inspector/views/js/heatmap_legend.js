// What stands below a map: the legend of its colours, and the token strip that shows whom a token looks at.

import { show } from "./canvas.js";
import { level, ramp, SCALES } from "./colours.js";
import { element } from "./elements.js";
import { valueAt } from "./heatmap_reading.js";

/** @import { MapHeader, MapState } from "./types.js" */

const DIGIT = 7; // CSS pixels, of a character of the numbers below the ramp
const GAP = 4; // and between two numbers

/**
 * Return the legend's numbers, each with its place (0 to 1) along the ramp.
 * @param {Pick<MapHeader, "palette" | "scale" | "limit" | "top">} header
 * @returns {[number, string][]}
 */
export function ticksOf(header) {
  if (header.palette === "diverging") return [-1, -0.5, 0, 0.5, 1].map((x) => [0.5 + x / 2, show(x * header.limit)]);
  const scale = SCALES[header.scale];
  const least = (/** @type {number} */ w) => (header.scale === "log" && w <= 1e-4 ? "≤ " : "");
  return scale.ticks.map((w) => [scale.at(w), `${least(w)}${header.top === null ? w : show(w * header.top)}`]);
}

/**
 * Return the numbers that stand apart on a ramp of so many CSS pixels: the first, the last, and those between with room.
 * @param {[number, string][]} ticks
 * @param {number} width  0: not laid out yet; all
 * @returns {[number, string][]}
 */
export function apart(ticks, width) {
  const half = (/** @type {string} */ text) => (text.length * DIGIT + GAP) / 2;
  const last = ticks[ticks.length - 1];
  let from = Number.NEGATIVE_INFINITY;
  return ticks.filter(([at, text]) => {
    const fits = at * width - half(text) >= from && at * width + half(text) <= last[0] * width - half(last[1]);
    if (width && !fits && at !== last[0]) return false;
    from = at * width + half(text);
    return true;
  });
}

/**
 * Write the legend: its name, the ramp with its numbers, the colour of masked cells.
 * @param {MapState} state
 */
export function drawLegend({ header, legend, theme }) {
  legend.replaceChildren();
  element("span", "name", legend, header.legend);
  const bar = element("span", "bar", legend);
  const colours = ramp(theme[header.palette]);
  const stops = Array.from({ length: 17 }, (_, i) => `rgb(${colours[level(i / 16)]}) ${(i * 100) / 16}%`);
  element("span", "ramp", bar).style.background = `linear-gradient(90deg, ${stops})`;
  for (const [at, text] of apart(ticksOf(header), bar.clientWidth))
    element("span", "tick", bar, text).style.left = `${at * 100}%`;
  if (!header.masked) return;
  const note = element("span", "masked", legend);
  element("i", "", note).style.background = theme.masked;
  element("span", "", note, header.masked);
}

/**
 * Fill the token strip with the prompt's tokens; each is looked at by pointing at it.
 * @param {MapState} state
 */
export function fillStrip(state) {
  const { strip, header } = state;
  strip.replaceChildren();
  strip.hidden = !header.strip;
  if (!header.strip) return;
  const look = (/** @type {number | null} */ row) => () => {
    state.token = row;
    paintStrip(state);
  };
  header.rows.forEach((text, row) => {
    element("span", "token", strip, text).onpointerenter = look(row);
  });
  strip.onpointerleave = look(null);
}

/**
 * Colour the token strip for one token: how much it looks at each, and (an underline) how much each looks at it.
 * @param {MapState} state
 */
export function paintStrip(state) {
  const { strip, header, numbers, theme } = state;
  if (!header.strip) return;
  const row = state.token ?? (state.active || state.locked)?.[0] ?? null;
  const colours = ramp(theme.sequential);
  const scale = SCALES[header.scale];
  const shade = (/** @type {number} */ v) => level(scale.at(Number.isNaN(v) ? 0 : v / (header.top ?? 1)));
  const tokens = /** @type {HTMLCollectionOf<HTMLElement>} */ (strip.children);
  Array.from(tokens).forEach((token, i) => {
    const looked = row === null ? 0 : shade(valueAt(header, numbers, [row, i]));
    const looks = row === null || i === row ? 0 : shade(valueAt(header, numbers, [i, row]));
    const bright = looked > (theme.dark ? 150 : 115);
    token.style.background = looked ? `rgb(${colours[looked]})` : "transparent";
    token.style.color = bright ? (theme.dark ? "#0d1117" : "#ffffff") : "inherit";
    token.style.boxShadow = looks > 24 ? `inset 0 -3px 0 rgb(${colours[Math.max(looks, 110)]})` : "none";
    token.classList.toggle("here", i === row);
  });
}
