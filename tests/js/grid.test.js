import assert from "node:assert/strict";
import test from "node:test";
import { grid } from "../../inspector/views/js/grid.js";
import { headAt, isShown, layoutOf, moved, placeOf, readingOf } from "../../inspector/views/js/grid_layout.js";
import { keyEvent, message, PARTS, rootWith } from "./stub.js";

const HEADER = {
  heads: [6, 6, 6],
  groups: [2, 2, 2],
  notes: ["", " · window of 8 tokens", ""],
  side: 2,
  selected: [1, 4],
  scale: "sqrt",
  pictures: "p",
  label: "l",
  order: null,
  ordered_by: "layers",
};
const ORDERED = { ...HEADER, order: [[2, 5, "0.9"], [0, 1, "0.5"], [1, 0, "0.1"]] }; // biome-ignore format: a table
const PIXELS = new Uint8Array(18 * 4).fill(100);

function shown(header = HEADER, host = {}) {
  const root = rootWith(`<div class="heads">${PARTS}</div>`, 400);
  const picks = [];
  const show = (more = {}) => grid(root, message(header, PIXELS), { onPick: (at) => picks.push(at), ...host, ...more });
  show();
  return {
    canvas: root.querySelector("canvas"),
    picks,
    show,
    reading: () => root.querySelector(".readout").textContent,
  };
}

test("every head is found where it stands, and nothing beside it", () => {
  for (const header of [HEADER, ORDERED, { ...HEADER, heads: [6, 4, 6], groups: [2, 4, 6] }])
    for (const width of [120, 400, 1400]) {
      const layout = layoutOf(header, width);
      const heads = header.order ?? header.heads.flatMap((n, layer) => Array.from({ length: n }, (_, h) => [layer, h]));
      for (const [layer, head] of heads) {
        const [x, y] = placeOf(header, layout, [layer, head]);
        assert.deepEqual(headAt(header, layout, [x + 1, y + 1]), [layer, head]);
        assert.ok(y + layout.size <= layout.height + layout.size);
      }
      assert.equal(headAt(header, layout, [-1, 30]), null);
    }
});

test("groups of heads that share keys stand apart", () => {
  const layout = layoutOf(HEADER, 400);
  const tops = [2, 3].map((head) => placeOf(HEADER, layout, [0, head])[1]);
  assert.equal(tops[1] - tops[0], layout.size + 7);
});

test("arrow keys move between layers and heads, never beyond", () => {
  const layout = layoutOf(HEADER, 400);
  assert.deepEqual(moved(HEADER, layout, [1, 4], "ArrowRight"), [2, 4]);
  assert.deepEqual(moved(HEADER, layout, [2, 5], "ArrowDown"), [2, 5]);
  assert.deepEqual(moved({ ...HEADER, heads: [6, 3, 6] }, layout, [0, 5], "ArrowRight"), [1, 2]);
  const ordered = layoutOf(ORDERED, 400);
  assert.deepEqual(moved(ORDERED, ordered, [2, 5], "ArrowRight"), [0, 1]);
  assert.deepEqual(moved(ORDERED, ordered, [1, 0], "ArrowRight"), [1, 0]);
  assert.equal(moved(HEADER, layout, [0, 0], "x"), null);
  assert.ok(!isShown(ORDERED, ordered, [0, 0]));
});

test("a reading says what a head shares", () => {
  const layout = layoutOf(HEADER, 400);
  assert.equal(
    readingOf(HEADER, layout, [1, 4]),
    "layer 1, head 4 · shares key/value head 1 with 2 others · window of 8 tokens",
  );
  assert.match(readingOf(ORDERED, layoutOf(ORDERED, 400), [0, 1]), /^layer 0, head 1 · 0\.5 · shares/);
});

test("Enter chooses the head that the arrows lead to", () => {
  const { canvas, picks, reading } = shown();
  canvas.onfocus();
  canvas.onkeydown(keyEvent("ArrowRight"));
  assert.match(reading(), /^layer 2, head 4/);
  canvas.onkeydown(keyEvent("Enter"));
  assert.deepEqual(picks, [[2, 4]]);
  assert.equal(canvas.dataset.selected, "2,4");
});

test("the host's choice outlives the message", () => {
  const { canvas, show } = shown();
  assert.equal(canvas.dataset.selected, "1,4");
  show({ selected: [0, 2] }); // another theme, the same message
  assert.equal(canvas.dataset.selected, "0,2");
});
