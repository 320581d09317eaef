import assert from "node:assert/strict";
import test from "node:test";
import { explore } from "../../inspector/views/js/explore.js";
import { headerOf, measure, messageOf } from "./explore_prompt.js";
import { SOON, shown } from "./explore_shown.js";
import { keyEvent, tick } from "./stub.js";

test("the grid never takes more than 56 % of the screen: with many heads a layer it scrolls", (t) => {
  for (const heads of [4, 12, 32, 64, 128]) {
    const { find } = shown(t, { tokens: 2, heads: Array(8).fill(heads), groups: Array(8).fill(2) }, { width: 1400 });
    const wide = Number.parseFloat(find(".explore").style.getPropertyValue("--grid-width"));
    assert.ok(wide <= 0.56 * 1400, `${heads} heads: ${wide}`);
    assert.ok(wide >= 430);
  }
});

test("another prompt hides no weights, and its slider says so", (t) => {
  const { all, find, root } = shown(t);
  const least = find("input.least");
  least.value = "0.4";
  least.oninput();
  explore(root, messageOf(headerOf({ id: "f".repeat(16) })));
  assert.equal(Number(least.value), 0);
  assert.equal(all(".chip").length, 2); // and its chips take the others' place
  assert.equal(all(".meanings p").length, 2);
});

test("a role that the prompt cannot show sorts nothing, and says what would show it", (t) => {
  const more = { role: "Induction", repeats: true, note: "needs a repeat" };
  const none = measure("repeated", Array(12).fill(0), more);
  const { all, text, told } = shown(t, { measures: [...headerOf().measures, none] });
  const order = told.at(-1)?.order;
  assert.equal(all(".chip")[2].getAttribute("aria-disabled"), "true");
  all(".chip")[2].onclick();
  assert.equal(text(".title"), "Layer 1, head 2");
  assert.equal(told.at(-1)?.order, order);
  assert.match(all(".meanings p")[2].textContent, /No token of this text occurs twice/);
  assert.equal(all(".meanings p")[2].hidden, false);
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

test("a question is an object with named fields and a version", (t) => {
  const { grid, at, questions, header } = shown(t);
  grid.onclick(at([2, 1]));
  const { turn, ...question } = questions.at(-1);
  const usual = { version: 1, show: "weights", scale: "sqrt", sink: "with", unit: "tokens" };
  assert.deepEqual(question, { ...usual, id: header.id, layer: 2, head: 1 });
  assert.ok(Number.isInteger(turn) && turn >= 0 && turn < 1e9);
});

test("a role counts from where the message says", (t) => {
  for (const [counts_from, has] of [[0.5, 5], [0.9, 1], [0.95, 0]]) {
    const { all, text, grid, at } = shown(t, { counts_from });
    let count = 0;
    for (let layer = 0; layer < 3; layer++)
      for (let head = 0; head < 4; head++) {
        grid.onclick(at([layer, head]));
        count += all(".facts dt.has").length;
      }
    const scores = headerOf().measures[0].scores;
    assert.equal(count, scores.filter((score) => score >= counts_from).length);
    assert.ok(count > 0 === has > 0);
    assert.match(text(".meanings"), new RegExp(`from ${counts_from} on`));
  } // biome-ignore format: a table
});

test("chips stay where they are when one is chosen, so the focus does too", (t) => {
  const { all } = shown(t);
  const before = all(".chip");
  before[1].focus();
  before[1].onclick();
  assert.deepEqual(all(".chip"), before);
  assert.equal(document.activeElement, before[1]);
  assert.deepEqual(before.map((chip) => chip.getAttribute("aria-pressed")), ["false", "true"]); // biome-ignore format: a line
});

test("what a role means shows at focus and goes at Escape, before anything else does", (t) => {
  const { all, find, told } = shown(t);
  const [, chip] = all(".chip");
  const meaning = find(`#${chip.getAttribute("aria-describedby")}`);
  assert.match(meaning.textContent, /^Score: Meaning of back 1\. A head counts from 0\.5 on/);
  assert.ok(meaning.hidden);
  chip.onfocus();
  assert.ok(!meaning.hidden);
  all(".chip")[0].onpointerenter();
  assert.ok(meaning.hidden); // one at a time
  chip.onfocus();
  let stopped = 0;
  const press = { ...keyEvent("Escape"), stopPropagation: () => stopped++ };
  chip.onkeydown(press);
  assert.ok(meaning.hidden);
  chip.onkeydown(press);
  assert.equal(stopped, 1);
  assert.equal(told.length, 0);
});

test("whole words are closed where cells of words are no other picture, and the menu says why", (t) => {
  const cases = [
    [{}, "weights", false, ""],
    [{}, "scaled_scores", true, "of attention weights alone"],
    [{}, "weighted_values", true, "of attention weights alone"],
    [{ pooled: true, map: null }, "weights", true, "of shorter prompts alone"],
    [{ words: 4 }, "weights", true, "Every word here is one token"],
  ];
  for (const [changes, show, closed, why] of cases) {
    const { find, questions } = shown(t, changes);
    for (const [name, value] of [["unit", "words"], ["show", show]]) {
      const field = find(`select[name="${name}"]`);
      field.value = value;
      field.onchange();
    } // biome-ignore format: a line
    const unit = find('select[name="unit"]');
    assert.equal(unit.disabled, closed);
    assert.equal(unit.value, closed ? "tokens" : "words");
    assert.equal(questions.at(-1).unit, unit.value);
    assert.equal(find(".why").hidden, !closed);
    if (closed) assert.match(find(".why").textContent, new RegExp(why));
  }
});

test("the slider says below which number weights are hidden", (t) => {
  const { find, text } = shown(t);
  const least = find("input.least");
  assert.equal(least.getAttribute("aria-valuetext"), "none");
  least.value = "0.4";
  least.oninput();
  assert.equal(least.getAttribute("aria-valuetext"), "0.40");
  assert.equal(text("output"), "0.40");
});

test("Escape closes the menu first, and the focus stays on it", (t) => {
  const { find, told } = shown(t);
  find("details.menu").open = true;
  find(".explore").onkeydown(keyEvent("Escape"));
  assert.equal(find("details.menu").open, false);
  assert.equal(told.length, 0);
});

test("of a long prompt it is said that pictures without the first token are drawn from some of its tokens", (t) => {
  const sampled = "drawn from 64 of 1,100 query tokens";
  const { find, text } = shown(t, { sampled });
  assert.equal(text(".gridnote"), "");
  const hide = find("input.sink");
  hide.checked = true;
  hide.onchange();
  assert.equal(text(".gridnote"), `Small pictures without the first token are ${sampled}.`);
  hide.checked = false;
  hide.onchange();
  assert.equal(text(".gridnote"), "");
});

test("the chosen pair's score is explained on the page Pair, which hears first what is chosen", (t) => {
  const { all, find, told } = shown(t);
  document.body.insertAdjacentHTML("beforeend", '<div class="st-key-tab_pair"><a>Pair</a></div>');
  const link = document.querySelector(".st-key-tab_pair a");
  t.after(() => link.parentElement.remove());
  let opened = 0;
  link.addEventListener("click", () => {
    opened += 1;
  });
  all(".text .token")[1].onclick();
  const count = told.length;
  find("button.explain").onclick();
  assert.equal(told.length, count + 1);
  assert.equal(told.at(-1).query, 1);
  assert.equal(opened, 0);
  tick(SOON);
  assert.equal(opened, 1);
});
