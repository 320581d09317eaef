import assert from "node:assert/strict";
import test from "node:test";
import { cornerOf, exploreLayout, headAt, moved } from "../../inspector/views/js/explore_layout.js";
import { headAtPlace, promptOf } from "../../inspector/views/js/explore_numbers.js";
import { headerOf, messageOf } from "./explore_prompt.js";

const ARROWS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
const ROOMS = [
  { width: 780, height: 480, narrow: false },
  { width: 420, height: 200, narrow: false },
  { width: 1500, height: 900, narrow: false },
  { width: 360, height: 340, narrow: true },
];

const promptFor = (heads, groups) => promptOf(messageOf(headerOf({ tokens: 2, heads, groups })));
const layers = (count, heads, groups) => promptFor(Array(count).fill(heads), Array(count).fill(groups));
const PROMPTS = {
  "multi-head": layers(12, 12, 12),
  grouped: layers(30, 9, 3),
  "multi-query": layers(7, 8, 1),
  "another number of heads in each layer": promptFor([6, 4, 6, 2, 12], [2, 4, 6, 1, 3]),
  "one head": layers(1, 1, 1),
  "more heads than there is room for": layers(4, 64, 8),
};

/** Every layout of a prompt: in each room, by layer and in an order. */
function* layoutsOf(prompt) {
  const order = Array.from({ length: prompt.count }, (_, i) => prompt.count - 1 - i);
  for (const room of ROOMS) for (const each of [null, order]) yield exploreLayout(prompt, each, room);
}

for (const [name, prompt] of Object.entries(PROMPTS)) {
  test(`${name}: every head is found where it stands, and nothing beside it`, () => {
    for (const layout of layoutsOf(prompt)) {
      for (let place = 0; place < prompt.count; place++) {
        const at = headAtPlace(prompt, place);
        const [x, y] = cornerOf(prompt, layout, at);
        const { cell } = layout;
        for (const [dx, dy] of [[0.5, 0.5], [cell - 0.5, 0.5], [cell / 2, cell / 2], [0.5, cell - 0.5]]) // biome-ignore format: a table
          assert.deepEqual(headAt(prompt, layout, [x + dx, y + dy]), at);
        assert.ok(x >= 0 && y >= 0 && x + cell <= layout.width && y + cell <= layout.height);
      }
      const { width } = layout; // further right stands nothing, also not the next row's first
      for (const beside of [[width + 3, 30], [-1, 30], [30, -1], [1e5, 30], [30, 1e5]]) // biome-ignore format: a table
        assert.equal(headAt(prompt, layout, beside), null);
    }
  });

  test(`${name}: arrow keys reach every head and never leave`, () => {
    for (const layout of layoutsOf(prompt)) {
      const seen = new Set(["0,0"]);
      for (const each of seen) {
        for (const key of ARROWS) {
          const to = moved(prompt, layout, each.split(",").map(Number), key);
          assert.ok(to[0] >= 0 && to[0] < prompt.header.heads.length);
          assert.ok(to[1] >= 0 && to[1] < prompt.header.heads[to[0]]);
          seen.add(to.join()); // and is looked at in its turn
        }
      }
      assert.equal(seen.size, prompt.count);
      for (const key of ["Tab", "Enter", "a", "toString", "Home"])
        assert.equal(moved(prompt, layout, [0, 0], key), null);
    }
  });
}

test("no two pictures overlap", () => {
  for (const prompt of Object.values(PROMPTS))
    for (const layout of layoutsOf(prompt)) {
      const corners = Array.from({ length: prompt.count }, (_, place) =>
        cornerOf(prompt, layout, headAtPlace(prompt, place)),
      );
      if (corners.length > 100) continue;
      for (const [i, [x, y]] of corners.entries())
        for (const [otherX, otherY] of corners.slice(i + 1))
          assert.ok(Math.abs(x - otherX) >= layout.cell || Math.abs(y - otherY) >= layout.cell);
    }
});

test("groups of heads that share keys stand apart; heads that share with none, or all with all, do not", () => {
  const steps = (prompt) => {
    const layout = exploreLayout(prompt, null, ROOMS[0]);
    const [a, b, c] = [0, 1, 2].map((head) => cornerOf(prompt, layout, [0, head])[0]);
    return [b - a - layout.size, c - b - layout.size];
  };
  assert.deepEqual(steps(layers(4, 4, 2)), [0, 3]);
  assert.deepEqual(steps(layers(4, 4, 4)), [0, 0]);
  assert.deepEqual(steps(layers(4, 4, 1)), [0, 0]);
});

test("in an order, one head stands after the other", () => {
  const prompt = PROMPTS.grouped;
  const order = Array.from({ length: 270 }, (_, i) => (i * 7) % 270);
  const layout = exploreLayout(prompt, order, ROOMS[0]);
  const at = (i) => cornerOf(prompt, layout, headAtPlace(prompt, order[i]));
  for (let i = 1; i < 270; i++)
    assert.ok(at(i)[1] > at(i - 1)[1] || (at(i)[1] === at(i - 1)[1] && at(i)[0] > at(i - 1)[0]));
  assert.deepEqual(moved(prompt, layout, headAtPlace(prompt, order[3]), "ArrowRight"), headAtPlace(prompt, order[4]));
  const below = headAtPlace(prompt, order[3 + layout.columns]);
  assert.deepEqual(moved(prompt, layout, headAtPlace(prompt, order[3]), "ArrowDown"), below);
});

test("of all numbers of blocks the one with the largest pictures is taken", () => {
  for (const [count, heads, groups] of [[30, 9, 3], [12, 12, 12], [32, 32, 8], [3, 4, 2]]) // biome-ignore format: a table
    for (let width = 400; width < 1600; width += 130)
      for (let height = 250; height < 1000; height += 90) {
        const { size, blocks, rows, ...layout } = exploreLayout(layers(count, heads, groups), null, { width, height });
        assert.ok(blocks * rows >= count && (blocks - 1) * rows < count);
        assert.ok(size >= 16 && size <= 44);
        const scrolls = layout.width > width || layout.height > height;
        if (scrolls) assert.equal(size, 20);
        if (size === 44) continue;
        const gaps = groups > 1 && groups < heads ? 3 * (groups - 1) : 0;
        for (let tried = 1; tried <= 6; tried++) {
          const larger = scrolls ? 16 : size + 1;
          const wide = tried * (26 + larger * heads + gaps) + (tried - 1) * 14;
          assert.ok(wide > width || 22 + Math.ceil(count / tried) * larger > height);
        }
      }
});

test("SmolLM2's 30 layers of 9 heads on three screens", () => {
  const size = (width, height) => exploreLayout(PROMPTS.grouped, null, { width, height }).size;
  // 56 % of what 1440, 1920 and 1024 leave, by as much height as it takes.
  assert.deepEqual([size(784, 472), size(1052, 637), size(551, 262)], [30, 41, 16]);
  // The rooms measured in a browser at 1440 x 900, 1920 x 1080 and 1024 x 768.
  assert.deepEqual([size(784, 444), size(1052, 620), size(551, 312)], [28, 39, 19]);
});
