// The drawing of numbers in line: panels one below the other, strips of colour or bars, with their columns aligned.

import { fit, show, sized } from "./canvas.js";
import { level, ramp } from "./colours.js";
import { heightOf, numberAt, ticksOf } from "./strips_reading.js";

/** @import { RGB, StripsHeader, StripsLayout, StripsPanel, StripsState, Theme } from "./types.js" */
/** @typedef {{ ramp: RGB[], below: string, above: string, weight: string, content: string, position: string }} Paint */
/** @typedef {CanvasRenderingContext2D} Context */

const TITLE = 24;
const GAP = 14;
const STRIP = 30;
const BARS = 118;

/**
 * Return where panels and columns stand, in CSS pixels of a canvas of this width.
 * @param {StripsHeader} header
 * @param {number} width
 * @param {number} dpr  device pixels in a CSS pixel
 * @param {(text: string) => number} measure
 * @returns {StripsLayout}
 */
export function layoutOf({ panels, axis, axis_name, count, turned }, width, dpr, measure) {
  const widest = (/** @type {string[]} */ texts) => Math.max(0, ...texts.map(measure));
  const ticks = panels.flatMap((panel) => ticksOf(panel).map((tick) => tick[1]));
  const left = panels.some((panel) => panel.kind === "bars") ? Math.ceil(widest(ticks)) + 10 : 1;
  const step = Math.min((width - left - 10) / count, turned ? 64 : 48);
  let y = 0;
  const places = panels.map((panel) => {
    const place = { top: y + TITLE, high: panel.kind === "strip" ? STRIP : BARS };
    y = place.top + place.high + GAP;
    return place;
  });
  const axisTop = y - GAP + 6;
  const some = axis.slice(-400); // the last ones are the longest
  const below = turned ? Math.min(96, Math.ceil(widest(some)) + 8) : axis_name ? 36 : 20;
  return { dpr, width, height: Math.ceil(axisTop + below), left, step, places, axisTop };
}

/**
 * Draw all panels without cursor on the state's `base`.
 * @param {StripsState} state  laid out
 */
export function drawStrips(state) {
  const { canvas, base, header, layout, theme } = state;
  sized(canvas, layout);
  const ctx = sized(base, layout);
  ctx.scale(layout.dpr, layout.dpr);
  const paint = paintOf(theme);
  header.panels.forEach((panel, i) => {
    const { top, high } = layout.places[i];
    drawTitle(state, ctx, panel, top, paint);
    (panel.kind === "strip" ? drawStrip : drawBars)(state, ctx, panel, top, high, paint);
  });
  drawAxis(state, ctx);
  if (header.marked >= 0) drawMark(state, ctx, header.marked, theme.accent);
}

/**
 * Return the colours of strips and bars.
 * @param {Theme} theme
 * @returns {Paint}
 */
function paintOf({ diverging, sequential, dark }) {
  const [content, position] = dark ? ["#46b39d", "#c39bf0"] : ["#17806a", "#7b3fb5"];
  const weight = sequential[3]; // blue is attention; orange is what is chosen
  return { ramp: ramp(diverging), below: diverging[1], above: diverging[5], weight, content, position };
}

/**
 * Draw a panel's title; where it has two kinds of bars, a small box before each name, as the bars are drawn.
 * @param {StripsState} state
 * @param {Context} ctx
 * @param {StripsPanel} panel
 * @param {number} top
 * @param {Paint} paint
 */
function drawTitle({ header, layout, theme }, ctx, panel, top, paint) {
  const { width, left, step } = layout;
  ctx.font = `600 13px ${theme.font}`;
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "left";
  const room = width - 12;
  ctx.fillStyle = theme.text;
  if (panel.also) {
    const first = fit(ctx, panel.title, room - 110);
    const x = ctx.measureText(first).width;
    ctx.fillText(first, 0, top - 8);
    drawBox(ctx, x + 8, top - 18, 11, 11, paint.content, true);
    ctx.fillStyle = theme.text;
    ctx.fillText(panel.also, x + 34, top - 8);
    drawBox(ctx, x + 40 + ctx.measureText(panel.also).width, top - 18, 11, 11, paint.position, false);
    return;
  }
  const wide = ctx.measureText(panel.title).width;
  ctx.fillText(fit(ctx, panel.title, room), 0, top - 8);
  if (panel.kind !== "strip") return;
  ctx.font = `12px ${theme.font}`;
  const ends = `full colour: ±${show(panel.limit)}`;
  const needed = wide + ctx.measureText(ends).width + 24;
  if (needed >= width) return;
  ctx.textAlign = "right";
  ctx.fillText(ends, Math.max(left + step * header.count, needed), top - 8);
}

/**
 * Draw a bar, full or (told apart without colour too) hollow.
 * @param {Context} ctx
 * @param {number} x
 * @param {number} y
 * @param {number} wide
 * @param {number} high
 * @param {string} colour
 * @param {boolean} full
 */
function drawBox(ctx, x, y, wide, high, colour, full) {
  ctx.fillStyle = ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  if (full || wide < 3) ctx.fillRect(x, y, wide, high);
  else ctx.strokeRect(x + 0.5, y + 0.5, wide - 1, Math.max(0, high - 1));
}

/**
 * Draw a strip of colour.
 * @param {StripsState} state
 * @param {Context} ctx
 * @param {StripsPanel} panel
 * @param {number} top
 * @param {number} high
 * @param {Paint} paint
 */
function drawStrip({ header, numbers, layout, theme }, ctx, panel, top, high, paint) {
  const { left, step } = layout;
  for (let c = 0; c < header.count; c++) {
    const v = numberAt(header, numbers, panel.rows[0], c);
    if (Number.isNaN(v)) continue; // there is no number here: the ground shows
    const [r, g, b] = paint.ramp[level(0.5 + v / (2 * panel.limit))];
    ctx.fillStyle = `rgb(${r},${g},${b})`;
    ctx.fillRect(left + c * step, top, step - (step >= 7 ? 1 : 0), high);
  }
  ctx.strokeStyle = theme.border;
  ctx.lineWidth = 1;
  ctx.strokeRect(left - 0.5, top - 0.5, step * header.count + 1, high + 1);
}

/**
 * Draw a row of bars, or two side by side, with lines at the ticks behind them.
 * @param {StripsState} state
 * @param {Context} ctx
 * @param {StripsPanel} panel
 * @param {number} top
 * @param {number} high
 * @param {Paint} paint
 */
function drawBars({ header, numbers, layout, theme }, ctx, panel, top, high, paint) {
  const { left, step } = layout;
  const upward = panel.scale || panel.upward; // nothing is below zero: all the height for what is above
  const zero = upward ? top + high : top + high / 2;
  const reach = upward ? high : high / 2;
  const end = left + step * header.count;
  ctx.font = `12px ${theme.font}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 1;
  let last = Infinity;
  for (const [at, text] of ticksOf(panel)) {
    const y = Math.round(zero - at * reach) + 0.5;
    ctx.strokeStyle = theme.border;
    drawLine(ctx, left, end, y);
    if (last - y < 13) continue;
    ctx.fillStyle = theme.text;
    ctx.fillText(text, left - 5, y);
    last = y;
  }
  const gap = step >= 5 ? Math.min(6, step * 0.2) : 0;
  const wide = Math.max(1, (step - gap) / panel.rows.length);
  for (let c = 0; c < header.count; c++)
    panel.rows.forEach((row, i) => {
      const v = numberAt(header, numbers, row, c);
      if (Number.isNaN(v)) return;
      const h = heightOf(panel, v) * reach;
      const x = left + c * step + gap / 2 + i * wide;
      const single = panel.scale ? paint.weight : v < 0 ? paint.below : paint.above;
      const colour = panel.rows.length === 1 ? single : i ? paint.position : paint.content;
      drawBox(ctx, x, h >= 0 ? zero - h : zero, wide, Math.abs(h), colour, i === 0);
    });
  ctx.strokeStyle = theme.text;
  drawLine(ctx, left, end, Math.round(zero) + 0.5);
}

/**
 * Draw a level line.
 * @param {Context} ctx
 * @param {number} from
 * @param {number} to
 * @param {number} y
 */
function drawLine(ctx, from, to, y) {
  ctx.beginPath();
  ctx.moveTo(from, y);
  ctx.lineTo(to, y);
  ctx.stroke();
}

/**
 * Draw the labels of the columns, as many as there is room for.
 * @param {StripsState} state
 * @param {Context} ctx
 */
function drawAxis(state, ctx) {
  const { header, layout, theme } = state;
  const { left, step, axisTop } = layout;
  ctx.font = `12px ${theme.font}`;
  ctx.fillStyle = theme.text;
  ctx.textBaseline = "middle";
  const end = left + step * header.count + 10;
  let free = -Infinity;
  for (let c = 0; c < header.count; c++) {
    const x = left + (c + 0.5) * step;
    if (header.turned) {
      if (x < free || c === header.marked) continue;
      if (header.marked >= 0 && Math.abs(c - header.marked) * step < 15) continue; // room for the marked one
      drawTurned(state, ctx, c, theme.text);
      free = x + 15;
      continue;
    }
    const half = ctx.measureText(header.axis[c]).width / 2;
    if (x - half < free || x + half > end) continue;
    ctx.textAlign = "center";
    ctx.fillText(header.axis[c], Math.max(half, x), axisTop + 6);
    free = x + half + 10;
  }
  if (!header.axis_name) return;
  ctx.textAlign = "left";
  ctx.fillText(header.axis_name, left, axisTop + 24);
}

/**
 * Draw a column's label upright.
 * @param {StripsState} state
 * @param {Context} ctx
 * @param {number} column
 * @param {string} colour
 * @param {string} [behind]  the colour of the ground behind it
 */
function drawTurned({ header, layout, theme }, ctx, column, colour, behind) {
  const { left, step, axisTop, height } = layout;
  ctx.save();
  ctx.font = `12px ${theme.font}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  ctx.translate(left + (column + 0.5) * step, axisTop);
  ctx.rotate(-Math.PI / 2);
  const text = fit(ctx, header.axis[column], height - axisTop - 4);
  if (behind) {
    const wide = ctx.measureText(text).width;
    ctx.fillStyle = behind;
    ctx.fillRect(-wide - 4, -8, wide + 7, 16);
  }
  ctx.fillStyle = colour;
  ctx.fillText(text, 0, 0);
  ctx.restore();
}

/**
 * Draw a frame around a column in every panel, and its label.
 * @param {StripsState} state
 * @param {Context} ctx
 * @param {number} column
 * @param {string} colour
 * @param {boolean} [faint]  a thin frame without label
 */
export function drawMark(state, ctx, column, colour, faint = false) {
  const { header, layout, theme } = state;
  const { left, step, places } = layout;
  ctx.strokeStyle = colour;
  ctx.globalAlpha = faint ? 0.55 : 1;
  ctx.lineWidth = faint ? 1 : 2;
  const wide = Math.max(step, 3);
  for (const { top, high } of places) ctx.strokeRect(left + column * step + (step - wide) / 2, top - 2, wide, high + 4);
  ctx.globalAlpha = 1;
  if (header.turned && !faint) drawTurned(state, ctx, column, theme.background, colour);
}
