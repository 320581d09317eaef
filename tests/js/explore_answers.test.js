import assert from "node:assert/strict";
import test from "node:test";
import { explore, leave } from "../../inspector/views/js/explore.js";
import { headerOf, messageOf } from "./explore_prompt.js";
import { SOON, shown } from "./explore_shown.js";
import { tick } from "./stub.js";

const LONG = { map: null }; // no weights came with the message: each head's are asked for
const questions = (asked) => asked.map(([, each]) => each.split(" ")[0]);

test("a head is asked for again where another question came between: the server answers the last one", (t) => {
  const { grid, at, asked, answer } = shown(t, LONG);
  for (const head of [[0, 0], [0, 1], [0, 0]]) grid.onclick(at(head)); // biome-ignore format: a line
  assert.deepEqual(questions(asked), ["1.2", "0.0", "0.1", "0.0"]);
  grid.onclick(at([0, 0]));
  assert.deepEqual(questions(asked), ["1.2", "0.0", "0.1", "0.0"]); // it is on its way
  answer(asked.at(-1)[1], 0.25);
  grid.onclick(at([0, 1]));
  grid.onclick(at([0, 0]));
  assert.deepEqual(questions(asked), ["1.2", "0.0", "0.1", "0.0", "0.1"]); // what is here is not asked for
});

test("the chosen head comes back after a look at more heads than are remembered", (t) => {
  const { grid, at, asked, answer, find } = shown(t, { ...LONG, heads: Array(20).fill(4), groups: Array(20).fill(4) });
  answer(asked.at(-1)[1], 0.25);
  for (let layer = 2; layer < 20; layer++)
    for (let head = 0; head < 4; head++) {
      grid.onpointermove(at([layer, head]));
      tick(SOON);
      answer(asked.at(-1)[1], 0.5);
    }
  grid.onpointerleave();
  tick(SOON);
  if (find(".explore").classList.contains("busy")) {
    assert.equal(questions(asked).at(-1), "1.2");
    answer(asked.at(-1)[1], 0.25);
  }
  assert.ok(!find(".explore").classList.contains("busy"));
});

test("a question waits until there is somebody to ask, and not beyond its prompt", (t) => {
  const { place, root, grid, at, asked } = shown(t, LONG);
  const count = asked.length;
  place.here(false);
  grid.onclick(at([0, 3]));
  tick(10 * SOON);
  place.here(true);
  tick(SOON);
  assert.deepEqual(questions(asked).slice(count), ["0.3"]);
  place.here(false);
  grid.onclick(at([2, 3]));
  explore(root, messageOf(headerOf({ ...LONG, id: "f".repeat(16) })));
  place.here(true);
  tick(3 * SOON);
  assert.deepEqual(asked.slice(count + 1).map(([id]) => id), ["f".repeat(16)]); // biome-ignore format: a line
  place.here(false);
  grid.onclick(at([0, 2]));
  leave(root);
  place.here(true);
  tick(3 * SOON);
  assert.equal(asked.length, count + 2);
});

test("a question that is not answered is asked again, as long as it is still the question", (t) => {
  const { grid, at, asked, answer, root } = shown(t, LONG);
  tick(1499);
  assert.deepEqual(questions(asked), ["1.2"]);
  tick(1);
  assert.deepEqual(questions(asked), ["1.2", "1.2"]);
  answer(asked[0][1], 0.25);
  tick(5000);
  assert.deepEqual(questions(asked), ["1.2", "1.2"]);
  grid.onclick(at([0, 0]));
  grid.onclick(at([0, 1]));
  tick(1500);
  assert.deepEqual(questions(asked).slice(2), ["0.0", "0.1", "0.1"]);
  leave(root);
  tick(5000);
  assert.equal(asked.length, 5);
});
