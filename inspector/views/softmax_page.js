// What is typed or slid in this page goes in; a row for each number with its softmax comes out. Nothing else is needed.

const told = JSON.parse(document.getElementById("page").textContent);
const field = (name) => document.getElementById(name);

/** Each number's share of the sum of exponentials. The largest is taken off first, so that none overflows. */
function softmax(numbers) {
  const largest = Math.max(...numbers);
  const exponentials = numbers.map((number) => Math.exp(number - largest));
  const total = exponentials.reduce((sum, exponential) => sum + exponential, 0);
  return exponentials.map((exponential) => exponential / total);
}

/** The number that `text` says; throws a sentence. `limit`: how far from zero it may be. */
function numberIn(text, limit, next) {
  const shown = text.length > 20 ? text.slice(0, 19) + "…" : text;
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (Number.isNaN(number)) throw new Error(`“${shown}” is not a number: write it like 1.5, -2 or 3e2.`);
  if (Math.abs(number) > limit) throw new Error(`“${shown}” is beyond ±${limit.toLocaleString("en")}: ${next}.`);
  return number;
}

function numbersIn(text) {
  const pieces = text.replaceAll("−", "-").replace(/[[\]()]/g, " ").split(/[\s,;]+/).filter(Boolean);
  if (!pieces.length) throw new Error("There are no numbers: type some, for example 1, 1.1.");
  if (pieces.length > told.most) {
    throw new Error(`There are ${pieces.length} numbers, more than ${told.most}: leave some out.`);
  }
  return pieces.map((piece) => numberIn(piece, told.largest, "type a smaller number, and use the scale"));
}

const single = (name) => numberIn(field(name).value.trim().replace("−", "-"), told.largest, "type a smaller number");
const shown = (number) => String(Number(number.toPrecision(6))).replace("-", "−");

function cell(row, text, exact) {
  const made = row.insertCell();
  made.textContent = text;
  if (exact !== undefined) made.dataset.value = String(exact);
  return made;
}

function draw() {
  let numbers, scale, added;
  try {
    [numbers, scale, added] = [numbersIn(field("numbers").value), single("scale"), single("added")];
  } catch (error) {
    field("problem").textContent = error.message; // the last good picture stays
    return;
  }
  field("problem").textContent = "";
  const inputs = numbers.map((number) => (number + added) * scale);
  const weights = softmax(inputs);
  field("rows").replaceChildren();
  numbers.forEach((number, i) => {
    const row = field("rows").insertRow();
    cell(row, shown(number));
    cell(row, shown(inputs[i]), inputs[i]);
    cell(row, shown(weights[i]), weights[i]);
    const bar = document.createElement("div");
    bar.className = "bar";
    bar.style.width = `${100 * weights[i]}%`;
    cell(row, "").append(bar);
  });
  const bits = weights.reduce((sum, weight) => sum - (weight > 0 ? weight * Math.log2(weight) : 0), 0);
  field("summary").textContent =
    `The shares add up to ${shown(weights.reduce((sum, weight) => sum + weight, 0))}. ` +
    `Entropy ${bits.toFixed(3)} bits: like ${shown(2 ** bits)} equally likely options, of ${numbers.length}.`;
}

/** A slider beside a field: each moves the other. */
function tie(name, toField, toSlider) {
  const slider = field(`${name}-slide`);
  const follow = () => {
    const at = toSlider(Number(field(name).value));
    if (Number.isFinite(at)) slider.value = at;
  };
  slider.addEventListener("input", () => {
    field(name).value = toField(Number(slider.value));
    draw();
  });
  field(name).addEventListener("input", () => {
    follow();
    draw();
  });
  return follow;
}

const follow = [
  tie("scale", (at) => Number((10 ** at).toPrecision(3)), (scale) => Math.log10(scale)),
  tie("added", (at) => at, (added) => added),
];

function open(numbers, scale, added) {
  field("numbers").value = numbers.join(", ");
  field("scale").value = scale;
  field("added").value = added;
  follow.forEach((one) => one());
  draw();
}

for (const example of told.examples) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = example.join(", ");
  button.addEventListener("click", () => open(example, 1, 0));
  document.querySelector(".examples").append(button);
}
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
field("numbers").addEventListener("input", draw);
open(told.numbers, told.scale, told.added);
