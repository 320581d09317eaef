import assert from "node:assert/strict";
import test from "node:test";
import { show } from "../../inspector/views/js/canvas.js";
import { colourOf, pixel, RAMPS } from "../../inspector/views/js/colours.js";
import { heatmap, showMap } from "../../inspector/views/js/heatmap.js";
import { apart, ticksOf } from "../../inspector/views/js/heatmap_legend.js";
import { cellColours, layoutOf } from "../../inspector/views/js/heatmap_picture.js";
import { cellAt, columnLabel, moved, rowLabel, valueAt } from "../../inspector/views/js/heatmap_reading.js";
import { decode } from "../../inspector/views/js/payload.js";
import python from "./python.json" with { type: "json" };
import { keyEvent, message, PARTS, rootWith } from "./stub.js";

const { header, body } = decode(Uint8Array.from(Buffer.from(python.message, "base64")));
const numbers = new Float32Array(body.buffer);
const SKELETON = `<div class="map">${PARTS}<div class="legend"></div><div class="strip" hidden></div></div>`;

/** Return a map as a host shows it, with what it picked and what it reads. */
function shown(changes = {}) {
  const root = rootWith(SKELETON);
  const picks = [];
  heatmap(root, message({ ...header, picks: true, ...changes }, numbers), { onPick: (at) => picks.push(at) });
  const canvas = root.querySelector("canvas");
  return { root, canvas, picks, reading: () => root.querySelector(".readout").textContent };
}

const middle = ({ dataset }, row, column) => ({
  clientX: Number(dataset.x) + (column + 0.5) * dataset.stepX,
  clientY: Number(dataset.y) + (row + 0.5) * dataset.stepY,
});

test("a message of Python is read as it was written", () => {
  assert.deepEqual(header.shape, [3, 3]);
  assert.equal(header.rows[2], "日本");
  assert.deepEqual([...numbers], [1, 0.25, 0.75, 0.5, 0.125, 0.375]);
});

test("a message made here is read again, whatever its header's length", () => {
  for (const label of ["", "a", "ab", "abc", "日"]) {
    const found = decode(message({ label }, numbers));
    assert.equal(found.header.label, label);
    assert.deepEqual(new Float32Array(found.body.buffer), numbers);
  }
});

test("every cell is read where it is drawn, in Python's numbers", () => {
  const { canvas, reading } = shown();
  let at = 0;
  for (let row = 0; row < 3; row++)
    for (let column = 0; column < 3; column++) {
      canvas.onpointermove(middle(canvas, row, column));
      const value = column > row ? header.masked_reading : `attention weight ${show(numbers[at++])}`;
      assert.equal(
        reading(),
        `query token ${row} ${header.rows[row]} · key token ${column} ${header.columns[column]} · ${value}`,
      );
    }
  canvas.onpointermove({ clientX: 1, clientY: 1 });
  assert.equal(reading(), header.hint);
});

test("a click locks a cell, a second lets it go", () => {
  const { canvas, picks, reading } = shown();
  canvas.onclick(middle(canvas, 2, 1));
  canvas.onpointerleave();
  assert.match(reading(), /\(locked\)$/);
  canvas.onclick(middle(canvas, 2, 1));
  assert.deepEqual(picks, [
    [2, 1],
    [-1, -1],
  ]);
});

test("cells are painted again where a number or how they look has changed, and not for another row", (t) => {
  const root = rootWith(SKELETON);
  const { mock } = t.mock.method(document, "createElement");
  /** How many canvases are made: one to read the theme, and one for the colours of the cells that are painted. */
  const made = (changes, given = numbers, host = {}) => {
    mock.resetCalls();
    showMap(root, { ...header, ...changes }, given, host);
    return mock.calls.filter(({ arguments: [name] }) => name === "canvas").length;
  };
  made({});
  const nothing = made({});
  assert.equal(made({ selected: [1, 0] }), nothing);
  assert.equal(made({ selected: null }, numbers, { row: 2 }), nothing);
  assert.ok(made({ threshold: 0.3 }) > nothing);
  assert.ok(made({ threshold: 0.3 }, numbers.slice()) > nothing);
  assert.ok(made({ threshold: 0.3, version: "another" }) > nothing);
});

test("keys move, never beyond the map", () => {
  assert.deepEqual(moved(header, null, "ArrowDown"), [0, 0]);
  assert.deepEqual(moved(header, [0, 0], "ArrowUp"), [0, 0]);
  assert.deepEqual(moved(header, [2, 1], "ArrowRight"), [2, 2]);
  assert.deepEqual(moved(header, [2, 1], "Home"), [2, 0]);
  assert.deepEqual(moved(header, [1, 0], "End"), [1, 2]);
  for (const key of ["a", "toString", "Tab"]) assert.equal(moved(header, [1, 1], key), null);
  const { canvas, reading, picks } = shown();
  for (const key of ["ArrowDown", "ArrowDown", "ArrowRight", "Enter"]) {
    const event = keyEvent(key);
    canvas.onkeydown(event);
    assert.ok(event.prevented);
  }
  assert.deepEqual(picks, [[1, 1]]);
  canvas.onkeydown(keyEvent("Escape"));
  assert.equal(reading(), header.hint);
  const tab = keyEvent("Tab");
  canvas.onkeydown(tab);
  assert.ok(!tab.prevented);
});

test("a pixel belongs to one cell, also at the edges", () => {
  const layout = layoutOf(header, 900, 2, (text) => 6 * text.length);
  const { x0, y0, dpr, stepX, stepY } = layout;
  const place = (row, column) => [x0 / dpr + column * stepX, y0 / dpr + row * stepY];
  assert.deepEqual(cellAt(header, layout, place(0, 0)), [0, 0]);
  assert.deepEqual(cellAt(header, layout, place(1.99, 0.01)), [1, 0]);
  assert.equal(cellAt(header, layout, place(3.01, 0)), null);
  assert.equal(cellAt(header, layout, place(-0.01, 0)), null);
});

test("pooled rows say which tokens they stand for", () => {
  const pooled = { bare: false, rows: ["a", "b", "c", "d", "e"], columns: ["a", "b", "c", "d", "e"], pool: [2, 2] };
  assert.deepEqual(
    [0, 1, 2].map((row) => rowLabel(pooled, row)),
    ["0–1", "2–3", "4 e"],
  );
  assert.equal(columnLabel(pooled, 1), "2–3");
  assert.equal(columnLabel({ ...pooled, columns: null }, 7), "7");
  assert.equal(rowLabel({ ...pooled, bare: true, pool: [1, 1] }, 3), "d");
});

test("cells smaller than a pixel show their largest number, and keep their own readings", () => {
  const many = { ...header, rows: [], columns: null, shape: [1, 4], packing: "full", palette: "diverging", limit: 1 };
  const values = Float32Array.of(0.1, -0.9, NaN, NaN);
  const { wide, pixels } = cellColours(many, values, { poolX: 2, poolY: 1 }, RAMPS.light);
  const colour = colourOf(many, RAMPS.light);
  assert.equal(wide, 2);
  assert.deepEqual([...pixels], [...Uint32Array.of(pixel(colour(-0.9)), pixel(colour(NaN)))]);
  assert.equal(valueAt(many, values, [0, 0]), values[0]);
});

test("the legend has numbers in the scale's own places", () => {
  const words = (changes) => ticksOf({ ...header, ...changes }).map((tick) => tick[1]);
  assert.deepEqual(words({ scale: "log" }), ["≤ 0.0001", "0.001", "0.01", "0.1", "1"]);
  assert.deepEqual(words({ scale: "linear", top: 2 }), ["0", "0.5000", "1.000", "1.500", "2.000"]);
  assert.deepEqual(words({ palette: "diverging", limit: 3 }), ["−3.000", "−1.500", "0", "1.500", "3.000"]);
});

test("on a narrow ramp only numbers with room are written", () => {
  const words = (width) => apart(ticksOf({ ...header, scale: "sqrt" }), width).map((tick) => tick[1]);
  assert.deepEqual(words(300), ["0", "0.01", "0.1", "0.25", "0.5", "1"]);
  assert.deepEqual(words(180), ["0", "0.1", "0.25", "0.5", "1"]);
  assert.deepEqual(words(120), ["0", "0.1", "0.5", "1"]);
  assert.deepEqual(words(0), words(300)); // not laid out yet
});

test("a token is never markup", () => {
  const { root, canvas } = shown({ rows: ["<img src=x>", "b", "c"] });
  canvas.onpointermove(middle(canvas, 0, 0));
  assert.equal(root.querySelectorAll("img").length, 0);
  assert.equal(root.querySelector(".token").textContent, "<img src=x>");
});
