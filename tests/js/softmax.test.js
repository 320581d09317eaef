import assert from "node:assert/strict";
import test from "node:test";
import { entropy, numberIn, numbersIn, rounded, softmax, sum } from "../../inspector/views/js/softmax.js";
import python from "./python.json" with { type: "json" };

const LIMITS = { most: 32, largest: 1e6 };

test("shares and entropy are Python's", () => {
  for (const { inputs, weights, bits } of python.softmax) {
    const shares = softmax(inputs);
    // Two libraries' exponentials: a unit or two in the last place.
    shares.forEach((share, i) => {
      assert.ok(Math.abs(share - weights[i]) <= 4 * Number.EPSILON * weights[i], `${share} ${weights[i]}`);
    });
    assert.ok(Math.abs(sum(shares) - 1) <= 4 * Number.EPSILON);
    assert.ok(Math.abs(entropy(shares) - bits) <= 1e-14 * Math.max(1, bits));
  }
});

test("numbers are read however they are separated, as Python reads them", () => {
  for (const { text, numbers } of python.parsed) assert.deepEqual(numbersIn(text, LIMITS), numbers);
});

test("what is no vector is refused in a sentence", () => {
  assert.throws(() => numbersIn(" , ;", LIMITS), /There are no numbers: type some/);
  assert.throws(() => numbersIn("1, nan", LIMITS), /“nan” is not a number: write it like/);
  assert.throws(
    () => numbersIn("2e6", LIMITS),
    /“2e6” is beyond ±1,000,000: type a smaller number, and use the scale\./,
  );
  assert.throws(() => numbersIn("1 ".repeat(33), LIMITS), /There are 33 numbers, more than 32: leave some out/);
  assert.throws(() => numberIn("x".repeat(500), 1), /“x{19}…” is not a number/);
});

test("shown numbers have six significant digits", () => {
  assert.deepEqual([0.1 + 0.2, -2.5, 123456789].map(rounded), ["0.3", "−2.5", "123457000"]);
});
