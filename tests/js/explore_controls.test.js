import assert from "node:assert/strict";
import test from "node:test";
import { explore } from "../../inspector/views/js/explore.js";
import { headerOf, measure, messageOf } from "./explore_prompt.js";
import { shown } from "./explore_shown.js";
import { keyEvent } from "./stub.js";

test("the grid never takes more than 56 % of the screen: with many heads a layer it scrolls", (t) => {
  for (const heads of [4, 12, 32, 64, 128]) {
    const { find } = shown(t, { tokens: 2, heads: Array(8).fill(heads), groups: Array(8).fill(2) }, { width: 1400 });
    const wide = Number.parseFloat(find(".explore").style.getPropertyValue("--grid-width"));
    assert.ok(wide <= 0.56 * 1400, `${heads} heads: ${wide}`);
    assert.ok(wide >= 430);
  }
});

test("another prompt hides no weights, and its slider says so", (t) => {
  const { find, root } = shown(t);
  const least = find("input.least");
  least.value = "0.4";
  least.oninput();
  explore(root, messageOf(headerOf({ id: "f".repeat(16) })));
  assert.equal(Number(least.value), 0);
});

test("a role that the prompt cannot show chooses no head", (t) => {
  const none = measure("repeated", Array(12).fill(0), { role: "Induction", note: "no token repeats" });
  const { all, text, told } = shown(t, { measures: [...headerOf().measures, none] });
  all(".chip")[2].onclick();
  assert.equal(text(".title"), "Layer 1, head 2");
  assert.equal(told.at(-1).order, "repeated");
});

test("Escape closes the keys and leaves the chosen key token alone", (t) => {
  const { find, told } = shown(t);
  const map = find(".map canvas");
  const { x, y, stepX, stepY } = map.dataset;
  map.onclick({ clientX: Number(x) + 1.5 * stepX, clientY: Number(y) + 2.5 * stepY });
  const count = told.length;
  const dialog = find("dialog");
  dialog.setAttribute("open", "");
  find(".explore").onkeydown({ ...keyEvent("Escape"), target: dialog });
  assert.equal(told.length, count);
});
