// One row of scores, and what softmax makes of it as one slides the scale.

import { element, find } from "./elements.js";
import { player } from "./motion.js";
import { entropy, rounded, softmax } from "./softmax.js";

/** @import { ScaleData } from "./types.js" */

const MOST = 12; // bars; the smallest weights stand together in a last one

/** @type {WeakMap<ParentNode, () => void>} */
const running = new WeakMap();

/**
 * Draw the row and its slider.
 * @param {ParentNode} root  has an element .scaling
 * @param {ScaleData} data
 */
export function scaling(root, data) {
  running.get(root)?.();
  const box = find(root, ".scaling");
  box.replaceChildren();
  const order = data.scores.map((_, at) => at).sort((one, other) => data.scores[other] - data.scores[one]);
  const shown = order.slice(0, MOST).sort((one, other) => one - other);
  const list = element("div", "bars", box);
  const bars = [...shown.map((at) => bar(list, data.labels[at])), order.length > MOST ? bar(list, "all others") : null];
  const said = element("p", "readout", box);
  const controls = element("div", "controls", box);
  const button = element("button", "", controls);
  const label = element("label", "slide", controls, "Scores divided by");
  const slider = element("input", "", label);
  Object.assign(slider, {
    type: "range",
    min: String(Math.min(0, Math.log2(data.divisor))),
    max: String(Math.log2(data.most)),
    step: "any",
  });
  const marks = element("div", "marks", box);

  const draw = () => {
    const divisor = 2 ** Number(slider.value);
    const weights = softmax(data.scores.map((score) => score / divisor));
    for (const [i, at] of shown.entries()) bars[i]?.(weights[at]);
    bars[shown.length]?.(order.slice(MOST).reduce((sum, at) => sum + weights[at], 0));
    const bits = entropy(weights);
    slider.setAttribute("aria-valuetext", `divided by ${divisor.toFixed(1)}`);
    said.textContent =
      `Divided by ${divisor.toFixed(1)}: the largest weight is ${Math.max(...weights).toFixed(3)}, like ` +
      `${rounded(Number((2 ** bits).toPrecision(3)))} equally likely tokens (entropy ${bits.toFixed(2)} bits).`;
  };
  for (const mark of data.marks) {
    const made = element("button", "", marks, mark.name);
    made.type = "button";
    made.addEventListener("click", () => {
      slider.value = String(Math.log2(mark.divisor));
      slider.dispatchEvent(new Event("input"));
    });
  }
  running.set(root, player(slider, button, { seconds: 5, onChange: draw }));
  slider.value = String(Math.log2(data.divisor));
  draw();
}

/**
 * Draw one token's bar; return what sets its weight.
 * @param {HTMLElement} parent
 * @param {string} name
 */
function bar(parent, name) {
  element("span", "name", parent, name);
  const fill = element("div", "fill", element("div", "track", parent));
  const number = element("span", "number", parent);
  return (/** @type {number} */ weight) => {
    fill.style.width = `${100 * weight}%`;
    number.textContent = weight.toFixed(3);
    number.dataset.value = String(weight);
  };
}
