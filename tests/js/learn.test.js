// What Learn computes in the browser: RoPE's clock, its dials, the Walkthrough's rail.

import assert from "node:assert/strict";
import { test } from "node:test";
import { drawnOf, scoreAt, turned } from "../../inspector/views/js/clock.js";
import { entropy, softmax } from "../../inspector/views/js/softmax.js";

const pair = {
  planes: [
    {
      plane: 0,
      speed: 57.3,
      query: /** @type {[number, number]} */ ([1, 2]),
      key: /** @type {[number, number]} */ ([0.5, -1]),
    },
    {
      plane: 1,
      speed: 5.73,
      query: /** @type {[number, number]} */ ([3, 0]),
      key: /** @type {[number, number]} */ ([0, 2]),
    },
  ],
  rest: 0.25,
  factor: 1,
};

test("a quarter turn takes x to y, and no turn changes a length", () => {
  const [x, y] = turned([1, 0], 90);
  assert.ok(Math.abs(x) < 1e-15);
  assert.equal(y, 1);
  for (const degrees of [0, 17, 123.4, 3600.5]) {
    assert.ok(Math.abs(Math.hypot(...turned([3, 4], degrees)) - 5) < 1e-12);
  }
});

test("a score depends on positions by their distance only", () => {
  const here = scoreAt(pair, 7, 2);
  for (const moved of [1, 10, 1000]) assert.ok(Math.abs(scoreAt(pair, 7 + moved, 2 + moved) - here) < 1e-9);
  assert.ok(Math.abs(scoreAt(pair, 8, 2) - here) > 0.1); // the query alone
  assert.equal(scoreAt(pair, 0, 0), 0.25 + (0.5 - 2) + 0);
});

test("the dials go from the first plane to the last", () => {
  assert.deepEqual(drawnOf(32, 8), [0, 4, 9, 13, 18, 22, 27, 31]);
  assert.deepEqual(drawnOf(3, 8), [0, 1, 2]);
  assert.deepEqual(drawnOf(1, 8), [0]);
});

test("dividing scores flattens their shares", () => {
  const bits = [1, 8, 64].map((divisor) => entropy(softmax([12, 3, -4, 9].map((score) => score / divisor))));
  assert.ok(bits[0] < bits[1] && bits[1] < bits[2] && bits[2] < 2);
});
