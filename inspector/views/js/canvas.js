// What the canvases share: one state for each, kept between messages; sizes, the pointer, the tooltip, texts and numbers.

import { find } from "./elements.js";
import { context, readTheme } from "./theme.js";

/** @import { CanvasState, Pair, Root } from "./types.js" */

/** @type {WeakMap<Root, CanvasState>} */
const states = new WeakMap();

/**
 * Return the state of the canvas in a root: made by the first call, found by the following ones. A canvas's function
 * runs again for every change of data or theme.
 * @template {CanvasState} State
 * @param {Root} root
 * @param {(root: Root) => State} create
 * @param {(state: State) => void} draw  called again when the width has changed
 * @returns {State}
 */
export function stateOf(root, create, draw) {
  const known = states.get(root);
  if (known) return /** @type {State} */ (known);
  const state = create(root);
  state.observer = new ResizeObserver(() => {
    if (state.theme && Math.abs(state.host.clientWidth - state.width) >= 1) draw(state);
  });
  state.observer.observe(state.host);
  onPaper(root, () => {
    if (!state.theme) return;
    state.theme = readTheme(state.host);
    draw(state);
  });
  states.set(root, state);
  return state;
}

/**
 * Drop the state of the canvas in a root.
 * @param {Root} root
 */
export function forget(root) {
  states.get(root)?.observer.disconnect();
  states.delete(root);
  offPaper(root);
}

/** @type {WeakMap<Root, AbortController>} */
const papers = new WeakMap();

/**
 * Draw no longer for paper.
 * @param {Root} root
 */
export function offPaper(root) {
  papers.get(root)?.abort();
  papers.delete(root);
}

/**
 * Draw again when the page is printed, in the colours of paper, and when that is over.
 * @param {Root} root  one call each: a later one takes the place of the first
 * @param {() => void} draw
 */
export function onPaper(root, draw) {
  offPaper(root);
  const paper = new AbortController();
  papers.set(root, paper);
  matchMedia("print").addEventListener("change", draw, { signal: paper.signal });
}

/**
 * Return what every canvas's state begins with: the parts of its skeleton.
 * @param {Root} root
 * @param {string} place  the selector of the element around them
 */
export function partsOf(root, place) {
  const host = find(root, place);
  const canvas = /** @type {HTMLCanvasElement} */ (find(host, "canvas"));
  return { host, canvas, tip: find(host, ".tip"), readout: find(host, ".readout"), width: 0 };
}

/**
 * Measure the host and return whether there is room to draw. There is none while an element is folded
 * away or hidden: the observer calls again when that ends.
 * @param {CanvasState} state
 */
export function onScreen(state) {
  state.width = state.host.clientWidth;
  return state.width > 0;
}

/**
 * Give a canvas its size, in CSS pixels on the page and in device pixels inside, and return its context.
 * @param {HTMLCanvasElement} canvas
 * @param {{ width: number, height: number, dpr: number }} size
 */
export function sized(canvas, { width, height, dpr }) {
  canvas.width = Math.round(width * dpr);
  canvas.height = Math.round(height * dpr);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  return context(canvas);
}

/**
 * Return where in a canvas the pointer is, in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {{ clientX: number, clientY: number }} event
 * @returns {Pair}
 */
export function pointerIn(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

/**
 * Return whether two pairs, or none, are the same.
 * @param {Pair | null} one
 * @param {Pair | null} other
 */
export const same = (one, other) =>
  one === other || (one !== null && other !== null && one[0] === other[0] && one[1] === other[1]);

/**
 * Return x, or the nearer of 0 and count - 1.
 * @param {number} x
 * @param {number} count
 */
export const inside = (x, count) => Math.max(0, Math.min(count - 1, x));

/**
 * Return a number with four significant digits.
 * @param {number} x
 */
export const show = (x) => (x === 0 ? "0" : x.toPrecision(4).replace("-", "−"));

/**
 * Return as much of a text as there is room for.
 * @param {Pick<CanvasRenderingContext2D, "measureText">} ctx
 * @param {string} text
 * @param {number} room  in CSS pixels
 */
export function fit(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  const letters = Array.from(text);
  while (letters.length > 1 && ctx.measureText(`${letters.join("")}…`).width > room) letters.pop();
  return `${letters.join("")}…`;
}

/**
 * Show the tooltip beside a place, whole inside the component.
 * @param {CanvasState} state
 * @param {number} x
 * @param {number} y
 */
export function placeTip({ tip, host }, x, y) {
  tip.hidden = false;
  const width = tip.offsetWidth;
  const height = tip.offsetHeight;
  const room = host.clientWidth;
  const left = x + 14 + width <= room ? x + 14 : x - 14 - width;
  tip.style.left = `${Math.max(0, Math.min(left, room - width))}px`;
  tip.style.top = `${y - height - 12 >= 0 ? y - height - 12 : y + 16}px`;
}
