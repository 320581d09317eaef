import assert from "node:assert/strict";
import test from "node:test";
import { colourOf, level, pixel, RAMPS, ramp, rgb, SCALES } from "../../inspector/views/js/colours.js";
import python from "./python.json" with { type: "json" };

test("a ramp has 256 colours, its stops among them", () => {
  const colours = ramp(["#000000", "#ffffff"]);
  assert.equal(colours.length, 256);
  assert.deepEqual([colours[0], colours[128], colours[255]], [rgb("#000000"), [128, 128, 128], rgb("#ffffff")]);
});

test("a level is a place on the ramp, and never beyond it", () => {
  assert.deepEqual([-1, 0, 0.5, 1, 2].map(level), [0, 0, 128, 255, 255]);
});

test("scales keep ends and order", () => {
  for (const { at, ticks } of Object.values(SCALES)) {
    assert.deepEqual([at(0), at(1)], [0, 1]);
    const places = ticks.map(at);
    assert.deepEqual(
      places,
      places.toSorted((a, b) => a - b),
    );
  }
  assert.equal(SCALES.log.at(1e-9), 0);
  assert.equal(SCALES.log.at(0.01), 0.5);
});

test("the colours of weights and scores are Python's", () => {
  for (const { shade, scale, top, limit, values, colours } of python.colours) {
    const header = {
      palette: limit === null ? "sequential" : "diverging",
      scale,
      top,
      limit: limit ?? 1,
      threshold: 0,
    };
    const colour = colourOf(header, RAMPS[shade]);
    assert.deepEqual(
      values.map((v) => colour(v ?? NaN)),
      colours,
    );
  }
});

test("numbers below the threshold are painted as zero", () => {
  const header = { palette: "sequential", scale: "linear", top: null, limit: 1, threshold: 0.2 };
  const colour = colourOf(header, RAMPS.light);
  assert.deepEqual(colour(0.19), colour(0));
  assert.notDeepEqual(colour(0.2), colour(0));
});

test("a pixel holds red in its lowest byte and is opaque", () => {
  assert.deepEqual([...new Uint8Array(Int32Array.of(pixel([1, 2, 3])).buffer)], [1, 2, 3, 255]);
});
