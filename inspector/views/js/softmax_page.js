// The page in which anybody tries out softmax: what is typed or slid becomes a row for each number with its share.

import { element, find } from "./elements.js";
import { entropy, numberIn, numbersIn, rounded, softmax, sum } from "./softmax.js";

/** @import { SoftmaxPage } from "./types.js" */

/** @type {SoftmaxPage} */
const page = JSON.parse(find(document, "#page").textContent);
const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (find(document, `#${id}`));
const rows = find(document, "#rows");

/** Read the fields, and write a row for each number; or say what is wrong, and leave the last good rows. */
function draw() {
  try {
    const single = (/** @type {string} */ id) => numberIn(field(id).value.trim().replace("−", "-"), page.largest);
    drawRows(numbersIn(field("numbers").value, page), single("scale"), single("added"));
    find(document, "#problem").textContent = "";
  } catch (error) {
    find(document, "#problem").textContent = /** @type {Error} */ (error).message;
  }
}

/**
 * Write a row for each number, and the sum and the entropy of the shares.
 * @param {number[]} numbers
 * @param {number} scale
 * @param {number} added
 */
function drawRows(numbers, scale, added) {
  const inputs = numbers.map((number) => (number + added) * scale);
  const shares = softmax(inputs);
  rows.replaceChildren();
  numbers.forEach((number, i) => {
    const row = element("tr", "", rows);
    element("td", "", row, rounded(number));
    for (const exact of [inputs[i], shares[i]]) element("td", "", row, rounded(exact)).dataset.value = String(exact);
    element("div", "bar", element("td", "", row)).style.width = `${100 * shares[i]}%`;
  });
  const bits = entropy(shares);
  find(document, "#summary").textContent =
    `The shares add up to ${rounded(sum(shares))}. Entropy ${bits.toFixed(3)} bits: like ${rounded(2 ** bits)} ` +
    `equally likely options, of ${numbers.length}.`;
}

/**
 * Tie a slider to the field beside it, so that each moves the other; return what moves the slider.
 * @param {string} name
 * @param {(at: number) => number} toField
 * @param {(value: number) => number} toSlider
 */
function tie(name, toField, toSlider) {
  const slider = field(`${name}-slide`);
  const follow = () => {
    const at = toSlider(Number(field(name).value));
    if (Number.isFinite(at)) slider.value = String(at);
  };
  slider.addEventListener("input", () => {
    field(name).value = String(toField(Number(slider.value)));
    draw();
  });
  field(name).addEventListener("input", () => {
    follow();
    draw();
  });
  return follow;
}

const sliders = [
  tie("scale", (at) => Number((10 ** at).toPrecision(3)), Math.log10),
  tie(
    "added",
    (at) => at,
    (added) => added,
  ),
];

/**
 * Write numbers, scale and addend into the fields.
 * @param {number[]} numbers
 * @param {number} scale
 * @param {number} added
 */
function open(numbers, scale, added) {
  field("numbers").value = numbers.join(", ");
  field("scale").value = String(scale);
  field("added").value = String(added);
  for (const follow of sliders) follow();
  draw();
}

for (const example of page.examples) {
  const button = element("button", "", find(document, ".examples"), example.join(", "));
  button.type = "button";
  button.addEventListener("click", () => open(example, 1, 0));
}
find(document, "form").addEventListener("submit", (event) => event.preventDefault());
field("numbers").addEventListener("input", draw);
open(page.numbers, page.scale, page.added);
