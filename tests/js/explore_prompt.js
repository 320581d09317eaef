// A prompt's message as Python packs it, made here from numbers that tests know.

import { encode } from "../../inspector/views/js/encode.js";

const MAP = {
  rows: [],
  columns: [],
  pool: [1, 1],
  bare: false,
  cell: "square",
  max_height: 640,
  row_name: "query token",
  column_name: "key token",
  value_name: "attention weight",
  palette: "sequential",
  scale: "sqrt",
  limit: 1,
  top: null,
  legend: "weight (square-root scale)",
  masked: "masked: cannot look there",
  masked_reading: "masked",
  hint: "Hover",
  label: "Attention weights",
  selected: null,
  picks: true,
  threshold: 0,
  strip: false,
  join: null,
  shape: [0, 0],
  packing: "lower",
  version: "v",
};

export const measure = (name, scores, more = {}) => ({
  ...{ name, title: `Title of ${name}`, meaning: `Meaning of ${name}`, role: "", note: "", best: -1 },
  ...{ scores, ...more },
});

/** Return the header of a map of this size. */
export const mapHeader = (n, more = {}) => {
  const labels = Array.from({ length: n }, (_, i) => `t${i}`);
  return { ...MAP, rows: labels, columns: labels, shape: [n, n], ...more };
};

/** Return the bits of a number that 16 bits hold exactly, from 0 to 1 and at least 2^-14 where it is not 0. */
export function bitsOf(number) {
  if (Number.isNaN(number)) return 0x7e00;
  if (number === 0) return 0;
  const exponent = Math.floor(Math.log2(number));
  return ((exponent + 15) << 10) | ((number / 2 ** exponent - 1) * 1024);
}

/** Return the weight of a query, key and head in these messages: k / 64, a row's largest on another key for each head. */
export const weightOf = (place, query, key) => (((place * 5 + query * 3 + key * 7) % 13) + 1) / 64;

/** Return the header of a prompt of some tokens over layers of these heads and key/value heads. */
export function headerOf({ tokens = 4, heads = [4, 4, 4], groups = [2, 2, 2], ...more } = {}) {
  const labels = more.labels ?? Array.from({ length: tokens }, (_, i) => (i ? `␣t${i}` : "t0"));
  const count = heads.reduce((sum, each) => sum + each, 0);
  const role = { role: "Previous token", note: `2 heads · best score 0.90`, best: count - 1 };
  return {
    ...{ id: "0123456789abcdef", tokens: labels, join: tokens, heads, groups, notes: heads.map(() => "") },
    ...{ side: 2, pool: Math.ceil(tokens / 2), sampled: "", selected: [1, 2] },
    measures: [
      measure(
        "back 1",
        Array.from({ length: count }, (_, i) => (0.9 * (i + 1)) / count),
        role,
      ),
      measure(
        "narrow",
        Array.from({ length: count }, (_, i) => (i * 7) % count),
        { ascending: true },
      ),
    ],
    next: labels.map((_, i) => [["␣next", 0.5], [`␣t${i + 1}`, 0.25]]), // biome-ignore format: a table
    next_from: 0,
    map: mapHeader(tokens),
    legends: { linear: "weight", sqrt: "weight (square-root scale)", log: "weight (log scale)" },
    ...{ known: heads.map(() => true), pooled: false, words: tokens - 1, counts_from: 0.5, most_scaled: 20, found: [] },
    ...more,
  };
}

/** Return the message of a header; where it has a map, every head's weights follow its small pictures. */
export function messageOf(header) {
  const count = header.heads.reduce((sum, each) => sum + each, 0);
  const small = Uint8Array.from({ length: 2 * count * header.side ** 2 }, (_, i) => (i * 3) % 256);
  if (!header.map) return encode(header, small);
  const n = header.tokens.length;
  const halves = [];
  for (let place = 0; place < count; place++)
    for (let query = 0; query < n; query++)
      for (let key = 0; key <= query; key++) halves.push(bitsOf(weightOf(place, query, key)));
  const weights = new Uint8Array(Uint16Array.from(halves).buffer);
  const body = new Uint8Array(small.length + weights.length);
  body.set(small);
  body.set(weights, small.length);
  return encode(header, body);
}
