// A rail of dots, one a step of a way: where one is, what lies before and behind, and a click to go there.

import { element, find } from "./elements.js";

/** @import { RailData } from "./types.js" */

/** @type {WeakMap<ParentNode, number>} Where each rail stood when it was drawn last. */
const before = new WeakMap();

/**
 * Draw a dot for each step. Where the step has changed, what scrolls goes back to its top.
 * @param {ParentNode} root  has an element .rail
 * @param {RailData} data
 * @param {{ onPick: (step: number) => void, scroller: Element | null }} host
 */
export function rail(root, { titles, at }, { onPick, scroller }) {
  const list = find(root, ".rail");
  const focused = list.querySelector(":focus") !== null;
  list.replaceChildren();
  titles.forEach((title, step) => {
    const dot = element("button", step < at ? "done" : "", list);
    dot.type = "button";
    dot.title = `${step + 1}. ${title}`;
    dot.setAttribute("aria-label", `Step ${step + 1} of ${titles.length}: ${title}`);
    if (step === at) {
      dot.setAttribute("aria-current", "step");
      if (focused) dot.focus();
    }
    dot.addEventListener("click", () => onPick(step));
  });
  if (before.has(root) && before.get(root) !== at && scroller) scroller.scrollTop = 0;
  before.set(root, at);
}
