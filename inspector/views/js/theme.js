// The theme of a canvas: what its CSS variables (--canvas-...) say, and whether that is light or dark.

import { RAMPS } from "./colours.js";

/** @import { Theme } from "./types.js" */

/**
 * Return the colours and the font at an element.
 * @param {Element} element
 * @returns {Theme}
 */
export function readTheme(element) {
  const style = getComputedStyle(element);
  const get = (/** @type {string} */ name, /** @type {string} */ fallback) =>
    style.getPropertyValue(`--canvas-${name}`).trim() || fallback;
  const background = get("background", "#ffffff");
  const dark = isDark(background);
  return {
    dark,
    background,
    text: get("text", dark ? "#eee" : "#222"),
    accent: get("accent", "#c2410c"),
    border: get("border", dark ? "#444" : "#ddd"),
    font: get("font", "sans-serif"),
    ...RAMPS[dark ? "dark" : "light"],
  };
}

/**
 * Return whether a colour, in any form that CSS knows, is darker than middle grey.
 * @param {string} colour
 */
function isDark(colour) {
  const probe = document.createElement("canvas");
  probe.width = probe.height = 1;
  const ctx = context(probe, { willReadFrequently: true });
  ctx.fillStyle = colour;
  ctx.fillRect(0, 0, 1, 1);
  const [r, g, b] = ctx.getImageData(0, 0, 1, 1).data;
  return 0.299 * r + 0.587 * g + 0.114 * b < 128;
}

/**
 * Return a canvas's context for drawing. No canvas here has another one, so it is never missing.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} [settings]
 */
export const context = (canvas, settings) =>
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", settings));
