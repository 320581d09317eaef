// RoPE as clocks: a dial for each of some planes, the query's and the key's hand, and their score as positions move on.

import { drawnOf, scoreAt, turned } from "./clock.js";
import { element, find } from "./elements.js";
import { player } from "./motion.js";
import { rounded } from "./softmax.js";

/** @import { ClockData } from "./types.js" */

const SVG = "http://www.w3.org/2000/svg";
const DIALS = 8;

/** @type {WeakMap<ParentNode, () => void>} */
const running = new WeakMap();

/**
 * Draw the clocks and their controls.
 * @param {ParentNode} root  has an element .clocks
 * @param {ClockData} data
 */
export function clocks(root, data) {
  running.get(root)?.();
  const box = find(root, ".clocks");
  box.replaceChildren();
  const dials = element("div", "dials", box);
  const hands = drawnOf(data.planes.length, DIALS).map((at) => dial(dials, data, at));
  const bar = element("div", "controls", box);
  const button = element("button", "", bar);
  const slider = range(bar, "Positions moved on", data.most);
  const alone = choice(bar, "Move the query alone");
  element("span", "name query", bar, "query");
  element("span", "name key", bar, "key");
  const said = element("p", "readout", box);
  said.setAttribute("aria-live", "off");
  const before = scoreAt(data, data.query, data.key);

  const draw = () => {
    const moved = Number(slider.value);
    const [query, key] = [data.query + moved, data.key + (alone.checked ? 0 : moved)];
    for (const place of hands) place(query, key);
    const score = scoreAt(data, query, key);
    const same = Math.abs(score - before) <= 1e-6 * Math.max(1, Math.abs(before));
    box.dataset.score = String(score);
    said.textContent =
      `“${data.names[0]}” at position ${Math.round(query)}, “${data.names[1]}” at ${Math.round(key)}: ` +
      `${Math.round(query - key)} apart, score ${rounded(Number(score.toPrecision(4)))}` +
      (moved === 0 ? "." : same ? ", as before: the distance has not changed." : ": the distance has changed.");
  };
  alone.addEventListener("change", draw);
  running.set(root, player(slider, button, { seconds: 12, onChange: draw }));
  draw();
}

/**
 * Draw one plane's dial; return what moves its hands.
 * @param {HTMLElement} parent
 * @param {ClockData} data
 * @param {number} at
 */
function dial(parent, data, at) {
  const plane = data.planes[at];
  const figure = element("figure", "", parent);
  const svg = figure.appendChild(document.createElementNS(SVG, "svg"));
  svg.setAttribute("viewBox", "-1.2 -1.2 2.4 2.4");
  svg.setAttribute("role", "img");
  const tokens = Number((360 / Math.abs(plane.speed)).toPrecision(3)).toLocaleString("en");
  const wavelength = plane.speed === 0 ? "does not turn" : `one turn in ${tokens} tokens`;
  svg.setAttribute("aria-label", `Plane ${plane.plane}, ${wavelength}: the query's and the key's hand`);
  const circle = svg.appendChild(document.createElementNS(SVG, "circle"));
  circle.setAttribute("r", "1.1");
  const longest = Math.max(Math.hypot(...plane.query), Math.hypot(...plane.key)) || 1;
  const lines = ["key", "query"].map((name) => {
    const line = svg.appendChild(document.createElementNS(SVG, "line"));
    line.setAttribute("class", name);
    return line;
  });
  element("figcaption", "", figure, wavelength);
  return (/** @type {number} */ query, /** @type {number} */ key) => {
    const ends = [turned(plane.key, key * plane.speed), turned(plane.query, query * plane.speed)];
    ends.forEach(([x, y], i) => {
      lines[i].setAttribute("x2", String(x / longest));
      lines[i].setAttribute("y2", String(-y / longest));
    });
  };
}

/**
 * Draw a slider from 0 with its label.
 * @param {HTMLElement} parent
 * @param {string} name
 * @param {number} most
 */
function range(parent, name, most) {
  const label = element("label", "slide", parent, name);
  const slider = element("input", "", label);
  Object.assign(slider, { type: "range", min: "0", max: String(most), step: "any", value: "0" });
  return slider;
}

/**
 * Draw a box to tick with its label.
 * @param {HTMLElement} parent
 * @param {string} name
 */
function choice(parent, name) {
  const label = element("label", "tick", parent);
  const box = element("input", "", label);
  box.type = "checkbox";
  label.append(name);
  return box;
}
