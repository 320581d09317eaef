import assert from "node:assert/strict";
import test from "node:test";
import {
  half,
  headAtPlace,
  placeAmongAll,
  promptOf,
  ranked,
  roughNumbers,
  rowOf,
  strongest,
  withoutFirst,
} from "../../inspector/views/js/explore_numbers.js";
import { headerOf, mapHeader, measure, messageOf, weightOf } from "./explore_prompt.js";

test("a message falls into its parts, whatever lies before it in memory", () => {
  for (const shape of [{}, { tokens: 7, heads: [3, 1, 2], groups: [3, 1, 1] }, { tokens: 1 }, { map: null }]) {
    const header = headerOf(shape);
    const bytes = messageOf(header);
    const moved = new Uint8Array(bytes.length + 3); // as a part of a larger buffer, at an odd place
    moved.set(bytes, 3);
    for (const data of [bytes, moved.subarray(3)]) {
      const prompt = promptOf(data);
      const count = header.heads.reduce((sum, each) => sum + each, 0);
      assert.deepEqual(prompt.header, header);
      assert.equal(prompt.count, count);
      assert.deepEqual(
        [...prompt.small[0]],
        Array.from({ length: 4 * count }, (_, i) => (i * 3) % 256),
      );
      assert.deepEqual(
        [...prompt.small[1]],
        Array.from({ length: 4 * count }, (_, i) => ((4 * count + i) * 3) % 256),
      );
      if (!header.map) assert.equal(prompt.halves, null);
      else assert.equal(prompt.halves.length, (count * header.tokens.length * (header.tokens.length + 1)) / 2);
    }
  }
});

test("a head's place among all, and back", () => {
  const prompt = promptOf(messageOf(headerOf({ heads: [3, 1, 2], groups: [3, 1, 1] })));
  const heads = [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]]; // biome-ignore format: a table
  for (const [place, at] of heads.entries()) {
    assert.equal(placeAmongAll(prompt, at), place);
    assert.deepEqual(headAtPlace(prompt, place), at);
  }
});

test("numbers of 16 bits", () => {
  const known = [
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x8001, -(2 ** -24)],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x2e66, 0.0999755859375],
    [0x3555, 0.333251953125],
    [0x3c00, 1],
    [0x3c01, 1 + 2 ** -10],
    [0xc000, -2],
    [0x7bff, 65504],
    [0xfbff, -65504],
    [0x7c00, Infinity],
    [0xfc00, -Infinity],
    [0x7c01, NaN],
    [0x7e00, NaN],
    [0xffff, NaN],
  ];
  for (const [bits, number] of known) assert.ok(Object.is(half(bits), number), `${bits.toString(16)} is ${half(bits)}`);
  for (let bits = 0; bits < 0x7c00; bits++) {
    assert.ok(half(bits) < half(bits + 1)); // each is larger than the one before
    assert.equal(half(bits | 0x8000), -half(bits));
  }
});

test("each head's rough numbers are its own", () => {
  const prompt = promptOf(messageOf(headerOf({ tokens: 5, heads: [3, 1, 2], groups: [3, 1, 1] })));
  const versions = new Set();
  for (let place = 0; place < 6; place++) {
    const { header, numbers } = roughNumbers(prompt, headAtPlace(prompt, place));
    versions.add(header.version);
    let at = 0;
    for (let query = 0; query < 5; query++)
      for (let key = 0; key <= query; key++) assert.equal(numbers[at++], weightOf(place, query, key));
    assert.equal(numbers.length, at);
  }
  assert.equal(versions.size, 6);
  assert.equal(roughNumbers(promptOf(messageOf(headerOf({ map: null }))), [0, 0]), null);
});

test("without the first token the rest of a row is scaled up to its sum, 20 times at most", () => {
  const numbers = Float32Array.of(1, 0.5, 0.5, 0.75, 0.125, 0.0625, 0.998, 0.001, NaN, 0.001);
  const head = { header: mapHeader(4), numbers };
  const found = withoutFirst(head, 20);
  const near = (at, expected) =>
    assert.ok(Math.abs(found.numbers[at] - expected) < 1e-6, `${at}: ${found.numbers[at]}`);
  for (const [at, expected] of [0, 0, 1, 0, 0.625, 0.3125].entries()) near(at, expected); // 0.9375 in all, with a sink
  near(6, 0);
  near(7, 0.02); // a remainder near zero is no pattern
  assert.ok(Number.isNaN(found.numbers[8]));
  near(9, 0.02);
  assert.equal(numbers[3], 0.75); // the head's own are as they were
  assert.notEqual(found.header.version, head.header.version);
  assert.match(found.header.legend, /, without the first token$/);
});

test("a row that cannot look at the first token stays as it is", () => {
  const full = mapHeader(3, { packing: "full" });
  const numbers = Float32Array.of(1, NaN, NaN, NaN, 1, NaN, NaN, 0.25, 0.75);
  assert.deepEqual(
    [...withoutFirst({ header: full, numbers }, 20).numbers],
    [0, NaN, NaN, NaN, 1, NaN, NaN, 0.25, 0.75],
  );
});

test("one token's row: without the upper triangle, whole, and pooled", () => {
  const row = (header, numbers, query, keys) =>
    Array.from({ length: keys }, (_, key) => rowOf({ header, numbers }, query)(key));
  const lower = Float32Array.of(0, 10, 11, 20, 21, 22);
  assert.deepEqual(row(mapHeader(3), lower, 0, 3), [0, NaN, NaN]);
  assert.deepEqual(row(mapHeader(3), lower, 2, 3), [20, 21, 22]);
  const full = mapHeader(3, { packing: "full" });
  assert.deepEqual(row(full, Float32Array.of(0, 1, 2, 10, NaN, 12, 20, 21, 22), 1, 3), [10, NaN, 12]);
  const pooled = mapHeader(5, { pool: [2, 2], shape: [3, 3] }); // cells of tokens 0-1, 2-3 and 4
  assert.deepEqual(row(pooled, lower, 3, 5), [10, 10, 11, 11, NaN]);
  assert.deepEqual(row(pooled, lower, 4, 5), [20, 20, 21, 21, 22]);
});

test("the strongest are those of a sorted list; masked cells are none of them", () => {
  for (const packing of ["lower", "full"])
    for (const n of [1, 2, 9, 20]) {
      const cells = [];
      for (let row = 0; row < n; row++)
        for (let column = 0; column < (packing === "lower" ? row + 1 : n); column++)
          cells.push({
            row,
            column,
            value: (row * 7 + column * 11) % 5 === 0 ? NaN : ((row * 31 + column * 17) % 23) / 32,
          });
      const numbers = Float32Array.from(cells, ({ value }) => value);
      const sorted = cells.filter(({ value }) => !Number.isNaN(value)).sort((a, b) => b.value - a.value); // stable
      for (const count of [1, 3, 50, 1000])
        assert.deepEqual(strongest({ header: mapHeader(n, { packing }), numbers }, count), sorted.slice(0, count));
    }
});

test("heads in the order of a measure: the largest or the smallest first, equal ones by layer and head", () => {
  const scores = [0.5, 0.9, 0.5, 0, 0.9];
  assert.deepEqual(ranked(measure("a", scores)), [1, 4, 0, 2, 3]);
  assert.deepEqual(ranked(measure("a", scores, { ascending: true })), [3, 0, 2, 1, 4]);
});
