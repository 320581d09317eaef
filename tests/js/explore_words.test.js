import assert from "node:assert/strict";
import test from "node:test";
import { mapHeader, measure } from "./explore_prompt.js";
import { askedIn, shown } from "./explore_shown.js";

/** Choose one of the options of View. */
function view({ find }, name, value) {
  const field = find(`select[name="${name}"]`);
  field.value = value;
  field.onchange();
}

/** Give a map of numbers for the last question. */
function give({ place, asked, header }, numbers, map) {
  place.receive(
    { id: header.id, asked: askedIn(asked.at(-1)[1]), map },
    { header: map, numbers: Float32Array.from(numbers) },
  );
}

test("the legend names the scale in which the map is painted, also before the exact numbers are here", (t) => {
  const page = shown(t);
  const names = { linear: "weight", sqrt: "weight (square-root scale)", log: "weight (log scale)" };
  for (const [scale, legend] of Object.entries(names)) {
    view(page, "scale", scale);
    assert.equal(page.text(".legend .name"), legend);
  }
  page.find("input.sink").checked = true;
  page.find("input.sink").onchange();
  assert.equal(page.text(".legend .name"), "weight (log scale), without the first token");
});

test("a word's row in the table is no token", (t) => {
  const page = shown(t);
  page.find("button.astable").onclick();
  page.all(".table button")[0].onclick();
  const { query, key } = page.told.at(-1);
  assert.ok(query >= key && key >= 0);
  const count = page.told.length;
  view(page, "unit", "words");
  const labels = ["t0", "t1 t2 t3"];
  give(page, [0.5, 0.25, 0.25], mapHeader(2, { rows: labels, columns: labels, picks: false, version: "w" }));
  assert.match(page.text(".table tbody"), /t1 t2 t3/);
  for (const button of page.all(".table button")) button.onclick();
  assert.equal(page.told.length, count + 1); // of the choice of words alone
});

test("the table says how many pairs it has", (t) => {
  const { find, text } = shown(t, { tokens: 3 });
  find("button.astable").onclick();
  assert.match(text(".table caption"), /^The 6 largest of Attention weights of layer 1, head 2$/);
});

test("where cells stand for several tokens, the reading names all of them", (t) => {
  const page = shown(t, { tokens: 5, map: null });
  const rows = ["a", "b", "c", "d", "e"];
  const map = mapHeader(5, { rows, columns: rows, pool: [2, 2], shape: [3, 3], version: "p" });
  give(page, [0.9, 0.1, 0.8, 0.3, 0.6, 0.05], map);
  assert.equal(page.text(".reading"), "Token 4 e looks most at tokens 2–3: 60.0 % at most");
  page.all(".token")[3].onclick();
  assert.equal(page.text(".reading"), "Tokens 2–3 look most at tokens 2–3: 80.0 % at most");
});

test("the first token's sentence is true of models whose tokens see what follows", (t) => {
  const causal = shown(t);
  causal.all(".token")[0].onclick();
  assert.equal(causal.text(".reading"), "“t0” comes first and can only look at itself");
  const page = shown(t, { map: null, tokens: 2 });
  give(page, [0.25, 0.75, 0.5, 0.5], mapHeader(2, { packing: "full" }));
  page.all(".token")[0].onclick();
  assert.equal(page.text(".reading"), "“t0” looks most at “t1”: 75.0 %");
  const alone = shown(t, { tokens: 1, heads: [2], groups: [2], selected: [0, 0] });
  assert.equal(alone.text(".reading"), "“t0” comes first and can only look at itself");
});

test("shares that were scaled up are said to be so", (t) => {
  const page = shown(t);
  assert.match(page.text(".reading"), /^“t3” looks most at “t[0-3]”: [\d.]+ %$/);
  page.find("input.sink").checked = true;
  page.find("input.sink").onchange();
  assert.match(page.text(".reading"), /^“t3” looks most at “t[1-3]”: [\d.]+ %, without the first token$/);
});

test("a token whose next ones are not known says so", (t) => {
  const page = shown(t, { next: [[["␣a", 0.5]], [], [["␣b", 0.5]], [["␣c", 0.5]]] });
  page.all(".token")[1].onclick();
  assert.match(page.text(".next ol"), /^Not known/);
});

test("a head whose weights are not known has no map, no scores and no question", (t) => {
  const scores = [...Array(4).fill(null), 0.2, 0.9, 0.1, 0, 0.3, 0.4, 0.5, 0.6];
  const role = { role: "Previous token", best: 5 };
  const measures = [measure("back 1", scores, role), measure("narrow", scores, { ascending: true })];
  for (const map of [mapHeader(4), null]) {
    const notes = ["it adds something, in whichever words", "", ""];
    const { grid, at, asked, find, text, all } = shown(t, { measures, notes, map, known: [false, true, true] });
    const count = asked.length;
    grid.onclick(at([0, 1]));
    assert.ok(find(".explore").classList.contains("unknown"));
    assert.match(text(".shares"), /it adds something, in whichever words$/);
    assert.equal(text(".facts dd"), "–");
    assert.equal(text(".reading"), "“t3”, token 3");
    assert.equal(asked.length, count);
    find("select.order").value = "1";
    find("select.order").onchange();
    assert.equal(text(".title"), "Layer 1, head 3"); // the narrowest of those known
    assert.ok(!find(".explore").classList.contains("unknown"));
    all(".chip")[1].onclick();
    assert.equal(text(".title"), "Layer 1, head 1");
  }
});
