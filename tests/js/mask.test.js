// The mask that is laid on step by step is a softmax of scores from which something was subtracted.

import assert from "node:assert/strict";
import test from "node:test";
import { forbidden, masking } from "../../inspector/views/js/mask.js";
import { softmax } from "../../inspector/views/js/softmax.js";

const SCORES = [
  [1, 2, -1],
  [0.5, 0, 3],
  [-2, 1, 0.25],
];
const N = 3;
const free = Float32Array.from(SCORES.flatMap((row) => softmax(row)));
const masked = Float32Array.from(
  SCORES.flatMap((row, i) => softmax(row.map((s, j) => (j > i ? -Infinity : s))).map((w, j) => (j > i ? NaN : w))),
);

test("its ends are the map without and with the mask", () => {
  assert.equal(masking(free, masked, N, 0), free);
  assert.equal(masking(free, masked, N, Infinity), masked);
});

test("between, weights are those of scores with as much subtracted", () => {
  for (const minus of [0.1, 1, 5, 15]) {
    const found = masking(free, masked, N, minus);
    SCORES.forEach((row, i) => {
      const expected = softmax(row.map((score, j) => (j > i ? score - minus : score)));
      for (let j = 0; j < N; j++) assert.ok(Math.abs(found[i * N + j] - expected[j]) < 1e-6);
    });
  }
  const off = masking(free, masked, N, 1).map((weight, at) => weight - free[at]);
  assert.ok(Math.max(...off.map(Math.abs)) > 0.01); // the control: it is not the same map throughout
});

test("a row under an attention sink keeps adding up to less than 1", () => {
  const sunk = free.map((weight) => weight * 0.5); // half of each row goes to the sink
  const found = masking(sunk, masked, N, 2);
  const left = Math.exp(-2);
  const gone = (1 - left) * forbidden(sunk, masked, N, 0);
  const sum = found[0] + found[1] + found[2];
  assert.ok(Math.abs(sum - (0.5 - gone) / (1 - gone)) < 1e-6);
  assert.ok(sum < 0.5);
});

test("what the mask forbids is counted, and nothing of it is left under the mask", () => {
  assert.ok(Math.abs(forbidden(free, masked, N, 0) - free[1] - free[2]) < 1e-7);
  assert.equal(forbidden(masked, masked, N, 0), 0);
  assert.equal(forbidden(free, masked, N, 2), 0);
});
