// The table behind a canvas says every number that the picture shows, and says when it does not.

import assert from "node:assert/strict";
import test from "node:test";
import { offerTable, tableOfMap, tableOfStrips } from "../../inspector/views/js/canvas_table.js";
import { rootWith } from "./stub.js";

const MAP = {
  ...{ rows: ["a", "b", "c"], columns: ["a", "b", "c"], pool: [1, 1], bare: false, row_name: "query token" },
  ...{ shape: [3, 3], packing: "lower", version: "v", label: "Weights" },
};
const LOWER = Float32Array.of(1, 0.25, 0.75, 0.5, 0.125, 0.375);
const DETAILS = "<div><details class='numbers'><summary>Table</summary><div></div></details></div>";

function opened(table) {
  const host = rootWith(DETAILS).firstElementChild;
  const details = host.querySelector("details");
  offerTable(host, table);
  assert.equal(host.querySelector("table"), null); // nothing is made before it is opened
  details.open = true;
  details.ontoggle();
  return host;
}

test("a map's table has its names, its numbers, and nothing where it is masked", () => {
  const host = opened(tableOfMap(MAP, LOWER));
  const rows = [...host.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.textContent));
  assert.deepEqual(rows[0], ["query token", "0 a", "1 b", "2 c"]);
  assert.deepEqual(rows[2], ["1 b", "0.2500", "0.7500", ""]);
  assert.equal(host.querySelector("caption").textContent, "Weights");
  assert.equal(host.querySelector("details > div").getAttribute("aria-label"), "Table: Weights");
});

test("strips have a row for each column, with its note", () => {
  const header = { names: ["key a", "sink"], series: ["weight", "score"], notes: ["", "n"], count: 2, label: "l" };
  const table = tableOfStrips(header, Float32Array.of(0.5, 0.5, -2, NaN));
  assert.deepEqual(table.names, ["", "weight", "score", "note"]);
  assert.deepEqual(
    [table.row(0), table.row(1)],
    [
      ["key a", "0.5000", "−2.000", ""],
      ["sink", "0.5000", "", "n"],
    ],
  );
});

test("a table too long for a page says how many rows it leaves out", () => {
  const rows = Array.from({ length: 400 }, (_, at) => `${at}`);
  const header = { ...MAP, rows, columns: null, shape: [400, 64], packing: "full", bare: true };
  const host = opened(tableOfMap(header, new Float32Array(400 * 64)));
  assert.equal(host.querySelectorAll("tbody tr").length, 76);
  assert.match(host.querySelector("caption").textContent, /the first 76 of 400 rows; a CSV file has them all/);
});

test("a token's text is text", () => {
  const host = opened(tableOfMap({ ...MAP, rows: ["<img src=x>", "b", "c"] }, LOWER));
  assert.equal(host.querySelector("img"), null);
  assert.match(host.textContent, /<img src=x>/);
});
