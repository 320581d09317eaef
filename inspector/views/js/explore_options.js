// How heads are sorted and shown: the field that sorts, the switch for the first token, and the menu View.

import { show } from "./canvas.js";
import { find } from "./elements.js";
import { unitOf, wordsApply } from "./explore_ask.js";

/** @import { ExploreState, HeadNumbers } from "./types.js" */

/**
 * Listen to the fields.
 * @param {ExploreState} state
 */
export function listenToOptions(state) {
  const { acts, hide, order, options } = state;
  hide.onchange = () => acts.choose({ sink: hide.checked ? "without" : "with" });
  order.onchange = () => acts.chooseOrder(state.prompt.header.measures[Number(order.value)] ?? null);
  for (const field of options.querySelectorAll("select"))
    field.onchange = () => acts.choose({ [field.name]: field.value });
  const least = leastOf(state);
  least.oninput = () => acts.hideBelow(Number(least.value));
}

/**
 * Return the slider below which weights are hidden.
 * @param {ExploreState} state
 */
const leastOf = (state) => /** @type {HTMLInputElement} */ (find(state.options, "input.least"));

/**
 * Return what a field of the menu may be, the first as usual.
 * @param {ExploreState} state
 * @param {"show" | "scale" | "unit"} name
 */
export function choicesOf(state, name) {
  const field = /** @type {HTMLSelectElement} */ (find(state.options, `select[name="${name}"]`));
  return [...field.options].map(({ value }) => value);
}

/**
 * Offer a prompt's measures to sort by, and hide no weights.
 * @param {ExploreState} state
 */
export function resetOptions(state) {
  const { order, prompt } = state;
  const measures = prompt.header.measures.map(({ title, role, best }, i) => {
    const option = new Option(title, `${i}`);
    option.disabled = role !== "" && best < 0;
    return option;
  });
  order.replaceChildren(new Option("by layer", "-1"), ...measures);
  leastOf(state).value = "0";
}

/**
 * Write what is chosen into the fields; what cannot be chosen here is closed, and the menu says why.
 * @param {ExploreState} state
 */
export function fillOptions(state) {
  const { hide, look, measure, options, order, prompt, sink } = state;
  hide.checked = sink === "without";
  order.value = String(measure ? prompt.header.measures.indexOf(measure) : -1);
  for (const field of options.querySelectorAll("select"))
    field.value = field.name === "unit" ? unitOf(state) : look[/** @type {"show" | "scale"} */ (field.name)];
  const unit = /** @type {HTMLSelectElement} */ (find(options, 'select[name="unit"]'));
  const { alone } = state.host;
  unit.disabled = alone || !wordsApply(state);
  /** @type {HTMLSelectElement} */ (find(options, 'select[name="show"]')).disabled = alone;
  const why = find(options, ".why");
  why.hidden = !unit.disabled;
  if (alone) why.textContent = "A saved page has attention weights alone";
  else if (look.show !== "weights") why.textContent = "Whole words: of attention weights alone";
  else if (prompt.header.pooled) why.textContent = "Whole words: of shorter prompts alone";
  else why.textContent = "Every word here is one token";
  fillLeast(state, null);
}

/**
 * Say below which number weights are hidden.
 * @param {ExploreState} state
 * @param {HeadNumbers | null} head  whose strongest colour may stand for another number than 1
 */
export function fillLeast(state, head) {
  const below = (state.least ?? 0) * (head?.header.top ?? 1);
  const signed = head?.header.palette === "diverging";
  const number = head?.header.top ? show(below) : below.toFixed(2);
  const text = below === 0 ? "none" : `${number}${signed ? " from 0" : ""}`;
  find(state.options, "output").textContent = text;
  leastOf(state).setAttribute("aria-valuetext", text);
}
