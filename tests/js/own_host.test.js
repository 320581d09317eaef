import assert from "node:assert/strict";
import test from "node:test";
import { explore, leave } from "../../inspector/views/js/explore.js";
import { hub } from "../../inspector/views/js/hub.js";
import { byPlace, ownHost } from "../../inspector/views/js/own_host.js";
import { mapHeader } from "./explore_prompt.js";
import { askedIn, SOON, shown } from "./explore_shown.js";
import { rootWith, tick } from "./stub.js";

/** A second screen on the page of `first`, with a host of its own. */
function second(t, first, host) {
  const root = rootWith(first.root.innerHTML, 1000);
  Object.defineProperty(root.querySelector(".map"), "clientWidth", { get: () => 500 });
  explore(root, first.data, host);
  t.after(() => leave(root));
  return root;
}

const title = (root) => root.querySelector(".title").textContent;

test("two screens on one page are apart: choices, questions, answers and what is remembered", (t) => {
  const first = shown(t, { map: null });
  const asked = [];
  const root = second(
    t,
    first,
    ownHost(600, (question) => asked.push(question)),
  );
  assert.equal(asked.length, 1);
  const [before, kept] = [first.asked.length, sessionStorage.getItem("attention-inspector")];
  root.querySelector("canvas.grid").onclick(first.at([0, 3]));
  tick(10 * SOON);
  assert.equal(title(root), "Layer 0, head 3");
  assert.equal(title(first.root), "Layer 1, head 2");
  assert.equal(first.asked.length, before); // the page's own server hears nothing of it
  assert.equal(asked.at(-1).head, 3);
  assert.equal(sessionStorage.getItem("attention-inspector"), kept);
  assert.equal(root.querySelector(".explore").style.height, "600px");
});

test("an answer for one screen is not taken by the other, though both show the same prompt", (t) => {
  const first = shown(t, { map: null });
  const host = ownHost(600, () => {});
  const root = second(t, first, host);
  const busy = (at) => at.querySelector(".explore").classList.contains("busy");
  assert.ok(busy(root));
  const question = first.asked.at(-1)[1];
  const n = first.header.tokens.length;
  const answer = [
    { id: first.header.id, asked: askedIn(question), map: mapHeader(n) },
    { header: mapHeader(n), numbers: new Float32Array((n * (n + 1)) / 2).fill(0.5) },
  ];
  for (const hear of hub().hearers) hear(...answer);
  assert.ok(!busy(first.root));
  assert.ok(busy(root));
  for (const hear of host.hub.hearers) hear(...answer);
  assert.ok(!busy(root));
});

test("where nobody answers, what would need an answer is closed and says why", (t) => {
  const first = shown(t);
  const root = second(t, first, ownHost(600));
  const field = (name) => root.querySelector(`select[name="${name}"]`);
  assert.ok(field("show").disabled && field("unit").disabled && !field("scale").disabled);
  assert.equal(root.querySelector(".why").textContent, "A saved page has attention weights alone");
  assert.ok(root.querySelector("button.gone").hidden);
  assert.ok(!first.find("button.gone").hidden);
  assert.ok(!first.find('select[name="show"]').disabled);
});

test("rules for narrow windows become rules for narrow places", () => {
  assert.equal(byPlace("@media (max-width: 820px) { a {} }"), "@container (max-width: 820px) { a {} }");
});
