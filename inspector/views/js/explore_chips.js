// What heads do, in words: the chips of roles above all heads, and the shown head's score in each role.

import { element } from "./elements.js";
import { placeAmongAll } from "./explore_numbers.js";

/** @import { ExploreMeasure, ExploreState } from "./types.js" */

/**
 * Write a prompt's chips: all heads, then each role with how many heads have it and the best score. What a role means
 * shows while its chip is pointed at, touched or reached by keyboard.
 * @param {ExploreState} state
 */
export function fillChips(state) {
  const { chips, meanings, prompt } = state;
  const { measures, counts_from: from } = prompt.header;
  chips.replaceChildren();
  meanings.replaceChildren();
  addChip(state, null, "by layer", "Every head, in the order of the layers.");
  const rule = `A head counts from ${from} on; weight on the first token never makes another role.`;
  for (const each of measures) {
    if (!each.role) continue;
    const lacks = each.best < 0 && each.note.startsWith("needs");
    addChip(state, each, each.note, `Score: ${each.meaning}. ${lacks ? lackOf(each) : rule}`);
  }
  pressChip(state);
}

/**
 * Say what the text lacks for a role to show.
 * @param {ExploreMeasure} measure
 */
const lackOf = ({ repeats }) =>
  repeats
    ? "No token of this text occurs twice: repeat some words, or choose the example “A phrase said twice”."
    : "This text has too few tokens for it.";

/**
 * Add a chip, and what it means.
 * @param {ExploreState} state
 * @param {ExploreMeasure | null} measure  null: all heads, by layer
 * @param {string} note
 * @param {string} meaning
 */
function addChip({ acts, chips, meanings }, measure, note, meaning) {
  const button = element("button", "chip", chips);
  button.type = "button";
  button.dataset.role = measure?.name ?? "layers";
  element("b", "", button, measure?.role ?? "All heads");
  const line = element("span", "", button);
  note.split(/( heads?| score)/).forEach((part, i) => {
    element("span", part === " score" ? "noun wide" : i % 2 ? "noun" : "", line, part);
  });
  const told = element("p", "", meanings, meaning);
  told.id = `meaning-${chips.children.length}`;
  told.hidden = true;
  button.setAttribute("aria-describedby", told.id);
  const show = () => {
    for (const each of meanings.children) /** @type {HTMLElement} */ (each).hidden = each !== told;
    const left = button.getBoundingClientRect().left - chips.getBoundingClientRect().left;
    told.style.left = `${Math.max(0, Math.min(left, chips.clientWidth - told.offsetWidth))}px`;
  };
  const hide = () => {
    told.hidden = true;
  };
  Object.assign(button, { onpointerenter: show, onpointerleave: hide, onfocus: show, onblur: hide });
  const empty = measure !== null && measure.best < 0; // no head has it here: its meaning says what would show it
  button.setAttribute("aria-disabled", String(empty));
  button.onclick = () => (empty ? show() : acts.chooseOrder(measure));
  button.onkeydown = (event) => {
    if (event.key !== "Escape" || told.hidden) return;
    hide();
    event.stopPropagation(); // what else Escape does waits for the next press
  };
}

/**
 * Press the chip of the present order.
 * @param {ExploreState} state
 */
export function pressChip({ chips, measure }) {
  for (const chip of /** @type {HTMLCollectionOf<HTMLElement>} */ (chips.children))
    chip.setAttribute("aria-pressed", String(chip.dataset.role === (measure?.name ?? "layers")));
}

/**
 * Write what the shown head does in this prompt: its score in each role.
 * @param {ExploreState} state
 */
export function fillFacts({ facts, prompt, shown }) {
  facts.replaceChildren();
  const place = placeAmongAll(prompt, shown);
  for (const each of prompt.header.measures) {
    if (!each.role) continue;
    const score = each.scores[place];
    const told = each.best >= 0 && score !== null;
    const name = element("dt", told && score >= prompt.header.counts_from ? "has" : "", facts, each.role);
    name.title = each.meaning;
    const line = element("dd", "", facts);
    element("i", "", line).style.width = told ? `${Math.max(1, 64 * Math.min(1, score))}px` : "0";
    element("span", "", line, told ? score.toFixed(2) : "–");
  }
}
