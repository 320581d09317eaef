import assert from "node:assert/strict";
import test from "node:test";
import { strips } from "../../inspector/views/js/strips.js";
import { columnAt, heightOf, moved, ticksOf } from "../../inspector/views/js/strips_reading.js";
import { keyEvent, message, PARTS, rootWith } from "./stub.js";

const PANEL = { kind: "bars", title: "t", also: "", rows: [0], limit: 2, scale: "", upward: false };
const HEADER = {
  test_id: "row",
  axis: ["a", "b", "c"],
  axis_name: "",
  turned: true,
  names: ["key a", "key b", "sink"],
  notes: ["", "turned", ""],
  partner: null,
  marked: 1,
  picks: [4, 7],
  panels: [PANEL, { ...PANEL, kind: "strip", rows: [1] }],
  series: ["weight", "score"],
  hint: "hint",
  label: "l",
  count: 3,
  version: "v",
};
const NUMBERS = Float32Array.of(0.5, 0.25, 0.125, 1, -2, NaN);

function shown(changes = {}) {
  const root = rootWith(`<div class="columns">${PARTS}</div>`);
  const picks = [];
  strips(root, message({ ...HEADER, ...changes }, NUMBERS), { onPick: (at) => picks.push(at) });
  const canvas = root.querySelector("canvas");
  const at = (column) => ({ clientX: Number(canvas.dataset.x) + (column + 0.5) * canvas.dataset.step, clientY: 1 });
  return { canvas, picks, at, reading: () => root.querySelector(".readout").textContent };
}

test("a column is read with the numbers that it has", () => {
  const { canvas, at, reading } = shown();
  const lines = [0, 1, 2].map((column) => {
    canvas.onpointermove(at(column));
    return reading();
  });
  assert.deepEqual(lines, [
    "key a · weight 0.5000 · score 1.000",
    "key b · turned · weight 0.2500 · score −2.000",
    "sink · weight 0.1250",
  ]);
  canvas.onpointermove(at(3));
  assert.equal(reading(), "hint");
});

test("a click picks what the column stands for, and nothing where it stands for nothing", () => {
  const { canvas, at, picks } = shown();
  canvas.onclick(at(1));
  canvas.onclick(at(2));
  assert.deepEqual(picks, [7]);
});

test("without picks a click locks the reading", () => {
  const { canvas, at, reading, picks } = shown({ picks: null });
  canvas.onclick(at(0));
  assert.match(reading(), /^key a.*\(locked\)$/);
  canvas.onkeydown(keyEvent("Escape"));
  assert.equal(reading(), "hint");
  assert.deepEqual(picks, []);
});

test("keys begin at the marked column and stay inside", () => {
  assert.equal(moved(HEADER, -1, "ArrowLeft"), 1);
  assert.equal(moved({ ...HEADER, marked: -1 }, -1, "ArrowLeft"), 0);
  assert.deepEqual([moved(HEADER, 2, "ArrowRight"), moved(HEADER, 0, "ArrowLeft")], [2, 0]);
  assert.deepEqual([moved(HEADER, 1, "Home"), moved(HEADER, 1, "End"), moved(HEADER, 1, "x")], [0, 2, -1]);
  assert.equal(columnAt(HEADER, { left: 10, step: 5 }, 9), -1);
  assert.equal(columnAt(HEADER, { left: 10, step: 5 }, 24.9), 2);
});

test("bars are as high as their numbers", () => {
  assert.equal(heightOf(PANEL, -1), -0.5);
  assert.equal(heightOf({ ...PANEL, scale: "sqrt" }, 0.25), 0.5);
  const words = (changes) => ticksOf({ ...PANEL, ...changes }).map((tick) => tick[1]);
  assert.deepEqual(words({}), ["−2.000", "0", "2.000"]);
  assert.deepEqual(words({ upward: true }), ["0", "2.000"]);
  assert.deepEqual(words({ scale: "linear" }), ["0", "0.25", "0.5", "0.75", "1"]);
});
