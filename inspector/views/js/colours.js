// The colours of numbers: the ramps, the three scales of a weight, and the place of a number on a ramp.

/** @import { MapHeader, RGB, Theme } from "./types.js" */

/** The stops of the ramps from low to high, and the colour of masked cells. inspector/views/colours.py has the same. */
export const RAMPS = {
  light: {
    sequential: ["#fbfcfe", "#cfe1f2", "#8cbbdf", "#3f86c0", "#13528f", "#06264d"],
    diverging: ["#083a73", "#3f86c0", "#b9d5ea", "#fbfbfa", "#f5cda9", "#d97a2b", "#7a3503"],
    masked: "#dcdde1",
  },
  dark: {
    sequential: ["#151e29", "#17375a", "#1f5c94", "#3f92d2", "#8cc8f5", "#f0f8ff"],
    diverging: ["#b5dcff", "#4c9fe0", "#1c4468", "#12161c", "#5c3613", "#dd8136", "#ffd9b0"],
    masked: "#090c11",
  },
};

/** The scales of a weight: its place (0 to 1) on the ramp, and the legend's numbers. log shows four decades. */
export const SCALES = {
  linear: { at: (/** @type {number} */ w) => w, ticks: [0, 0.25, 0.5, 0.75, 1] },
  sqrt: { at: Math.sqrt, ticks: [0, 0.01, 0.1, 0.25, 0.5, 1] },
  log: { at: (/** @type {number} */ w) => (w <= 1e-4 ? 0 : 1 + Math.log10(w) / 4), ticks: [1e-4, 1e-3, 1e-2, 0.1, 1] },
};

/**
 * Return red, green and blue (0 to 255) of a colour written "#rrggbb".
 * @param {string} hex
 * @returns {RGB}
 */
export function rgb(hex) {
  const part = (/** @type {number} */ at) => Number.parseInt(hex.slice(at, at + 2), 16);
  return [part(1), part(3), part(5)];
}

/**
 * Return 256 colours between the stops of a ramp.
 * @param {string[]} stops
 * @returns {RGB[]}
 */
export function ramp(stops) {
  const colours = stops.map(rgb);
  return Array.from({ length: 256 }, (_, i) => {
    const x = (i / 255) * (colours.length - 1);
    const at = Math.min(Math.floor(x), colours.length - 2);
    const mix = (/** @type {0 | 1 | 2} */ j) =>
      Math.round(colours[at][j] + (colours[at + 1][j] - colours[at][j]) * (x - at));
    return [mix(0), mix(1), mix(2)];
  });
}

/**
 * Return the place (0 to 255) of x on a ramp's table, for x from 0 to 1; beyond, the nearer end.
 * @param {number} x
 */
export const level = (x) => Math.max(0, Math.min(255, Math.round(255 * x)));

/**
 * Return a colour as the number that a canvas's pixels hold, opaque.
 * @param {RGB} colour
 */
export const pixel = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;

/**
 * Return the function that gives a map's number its colour; NaN is masked.
 * @param {Pick<MapHeader, "palette" | "scale" | "limit" | "top" | "threshold">} header
 * @param {Pick<Theme, "sequential" | "diverging" | "masked">} theme
 * @returns {(value: number) => RGB}
 */
export function colourOf(header, theme) {
  const colours = ramp(theme[header.palette]);
  const masked = rgb(theme.masked);
  const scale = SCALES[header.scale];
  const at =
    header.palette === "diverging"
      ? (/** @type {number} */ v) => 0.5 + v / (2 * header.limit)
      : (/** @type {number} */ v) => scale.at(v / (header.top ?? 1));
  // Numbers closer to zero than the threshold are painted as zero; reading them stays exact.
  return (v) => (Number.isNaN(v) ? masked : colours[level(at(Math.abs(v) < header.threshold ? 0 : v))]);
}
