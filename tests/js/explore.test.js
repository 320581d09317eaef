import assert from "node:assert/strict";
import test from "node:test";
import { explore, leave } from "../../inspector/views/js/explore.js";
import { remember, remembered } from "../../inspector/views/js/remembered.js";
import { headerOf, mapHeader, weightOf } from "./explore_prompt.js";
import { askedIn, SOON, shown } from "./explore_shown.js";
import { keyEvent, tick } from "./stub.js";

test("it opens on the message's head and the last token, and asks for that head alone", (t) => {
  const { text, told, asked, grid, header, reading } = shown(t);
  assert.equal(text(".title"), "Layer 1, head 2");
  assert.equal(text(".shares"), "shares keys and values with head 3");
  assert.deepEqual(asked, [[header.id, "1.2 weights sqrt with tokens"]]);
  assert.deepEqual(told, []);
  assert.equal(grid.dataset.selected, "1,2");
  assert.equal(grid.dataset.painted, header.id);
  assert.match(reading(3, 1), new RegExp(`attention weight ≈ ${weightOf(6, 3, 1).toPrecision(3)}$`));
});

test("a click chooses a head: title and map at once, the server told once and asked once", (t) => {
  const { grid, at, text, told, asked, header, reading } = shown(t);
  asked.length = 0;
  grid.onclick(at([2, 1]));
  assert.equal(text(".title"), "Layer 2, head 1");
  assert.match(reading(2, 0), new RegExp(`attention weight ≈ ${weightOf(9, 2, 0).toPrecision(3)}$`));
  assert.equal(told.length, 1);
  const usual = { query: -1, key: -1, sink: "with", show: "weights", scale: "sqrt", unit: "tokens", order: "layers" };
  assert.deepEqual(told[0], { ...usual, layer: 2, head: 1, shown: header.id });
  assert.deepEqual(asked, [[header.id, "2.1 weights sqrt with tokens"]]);
  const { shown: id, ...selection } = told[0];
  assert.deepEqual(remembered(), { selection, shown: id });
  grid.onclick({ clientX: 1, clientY: 1 });
  assert.equal(told.length, 1); // beside every head
});

test("arrow keys choose heads, and no other key does", (t) => {
  const { grid, text, told, asked } = shown(t);
  asked.length = 0;
  for (const [key, title] of [["ArrowRight", "1, head 3"], ["ArrowRight", "1, head 3"], ["ArrowDown", "2, head 3"]]) {
    const event = keyEvent(key);
    grid.onkeydown(event);
    assert.ok(event.prevented);
    assert.equal(text(".title"), `Layer ${title}`);
  } // biome-ignore format: a table
  assert.equal(told.length, 3);
  assert.deepEqual(asked.map(([, each]) => each.split(" ")[0]), ["1.3", "2.3"]); // biome-ignore format: a line
  const tab = keyEvent("Tab");
  grid.onkeydown(tab);
  assert.ok(!tab.prevented);
});

test("exact numbers take the rough ones' place; those of another prompt do not", (t) => {
  const { place, reading, answer, asked } = shown(t);
  const map = mapHeader(4);
  const wrong = new Float32Array(10).fill(0.75);
  place.receive({ id: "f".repeat(16), asked: askedIn(asked[0][1]), map }, { header: map, numbers: wrong });
  assert.match(reading(3, 1), new RegExp(`${weightOf(6, 3, 1).toPrecision(3)}$`));
  answer("0.0 weights sqrt with tokens", 0.75); // another head's
  assert.match(reading(3, 1), new RegExp(`${weightOf(6, 3, 1).toPrecision(3)}$`));
  answer(asked[0][1], 0.33325);
  assert.match(reading(3, 1), /attention weight 0\.3332$|attention weight 0\.3333$/);
});

test("pointing at a head shows it and tells nobody; leaving brings the chosen one back", (t) => {
  const { grid, at, text, told, asked } = shown(t);
  asked.length = 0;
  grid.onpointermove(at([0, 3]));
  assert.equal(text(".title"), "Layer 0, head 3");
  tick(SOON);
  grid.onpointerleave();
  assert.equal(text(".title"), "Layer 1, head 2");
  grid.onpointermove({ ...at([0, 3]), pointerType: "touch" });
  assert.equal(text(".title"), "Layer 1, head 2");
  assert.deepEqual([told, asked], [[], []]); // its rough numbers are here
});

test("of a long prompt a head is asked for when the pointer has rested on it", (t) => {
  const { grid, at, asked, answer, find, reading } = shown(t, { map: null });
  assert.ok(find(".explore").classList.contains("busy"));
  answer(asked[0][1], 0.25);
  assert.ok(!find(".explore").classList.contains("busy"));
  assert.match(reading(3, 1), /0\.2500$/);
  asked.length = 0;
  grid.onpointermove(at([0, 0]));
  tick(SOON - 1);
  grid.onpointermove(at([0, 1]));
  tick(SOON - 1);
  assert.deepEqual(asked, []);
  tick(1);
  assert.deepEqual(asked.map(([, each]) => each), ["0.1 weights sqrt with tokens"]); // biome-ignore format: a line
});

test("a role's chip sorts, chooses the head that has it most, and is pressed; All heads goes back to the layers", (t) => {
  const { all, text, told, grid } = shown(t);
  assert.deepEqual(all(".chip b").map((each) => each.textContent), ["All heads", "Previous token"]); // biome-ignore format: a line
  all(".chip")[1].onclick();
  assert.equal(text(".title"), "Layer 2, head 3");
  assert.equal(told.at(-1).order, "back 1");
  assert.equal(grid.dataset.order, "back 1");
  assert.deepEqual(all(".chip").map((each) => each.getAttribute("aria-pressed")), ["false", "true"]); // biome-ignore format: a line
  all(".chip")[0].onclick();
  assert.equal(told.at(-1).order, "layers");
  assert.equal(text(".title"), "Layer 2, head 3");
});

test("a token's click and the text's keys choose the query; a cell the key, which Escape lets go", (t) => {
  const { all, told, find, text } = shown(t);
  const tokens = () => all(".text .token").map((each) => [each.textContent, each.getAttribute("aria-pressed")]);
  assert.deepEqual(tokens().map(([word]) => word), ["t0", "t1", "t2", "t3"]); // biome-ignore format: a line
  all(".text .token")[1].onclick();
  assert.equal(told.at(-1).query, 1);
  assert.deepEqual(tokens().map(([, pressed]) => pressed), ["false", "true", "false", "false"]); // biome-ignore format: a line
  for (const [key, query] of Object.entries({ ArrowLeft: 0, ArrowRight: 1, End: 3, Home: 0 })) {
    find(".text .tokens").onkeydown(keyEvent(key));
    assert.equal(told.at(-1).query, query);
  }
  assert.equal(text(".next h2"), "Expected after “t0”");
  const map = find(".map canvas");
  const { x, y, stepX, stepY } = map.dataset;
  map.onclick({ clientX: Number(x) + 1.5 * stepX, clientY: Number(y) + 2.5 * stepY });
  assert.deepEqual([told.at(-1).query, told.at(-1).key], [2, 1]);
  const count = told.length;
  find(".explore").onkeydown(keyEvent("Escape"));
  assert.deepEqual([told.at(-1).query, told.at(-1).key, told.length], [2, -1, count + 1]);
  find(".explore").onkeydown(keyEvent("Escape"));
  assert.equal(told.length, count + 1); // nothing is held any more
});

test("without the first token nothing is asked: it is left out here", (t) => {
  const { find, asked, reading, told } = shown(t);
  asked.length = 0;
  const sink = find("input.sink");
  sink.checked = true;
  sink.onchange();
  assert.deepEqual(asked, []);
  assert.equal(told.at(-1).sink, "without");
  assert.match(reading(3, 0), / 0$/);
  const [first, ...rest] = [0, 1, 2, 3].map((key) => weightOf(6, 3, key));
  const sum = rest.reduce((a, b) => a + b);
  assert.match(reading(3, 2), new RegExp(`${((rest[1] * (first + sum)) / sum).toPrecision(3)}$`));
});

test("what was chosen comes back for the same message, the head for another, and an example has its own", (t) => {
  const look = { order: "narrow", sink: "without", show: "weights", scale: "log", unit: "tokens" };
  sessionStorage.clear();
  remember({ shown: headerOf().id, selection: { layer: 2, head: 0, query: 1, key: 0, ...look } });
  const same = shown(t, {}, { keep: true });
  assert.equal(same.text(".title"), "Layer 2, head 0");
  assert.deepEqual(same.asked[0][1], "2.0 weights log with tokens");
  assert.equal(same.grid.dataset.order, "narrow");
  assert.equal(same.find("input.sink").checked, true);
  leave(same.root);
  const other = shown(t, { id: "0".repeat(16) }, { keep: true });
  assert.equal(other.text(".title"), "Layer 2, head 0");
  assert.deepEqual(other.asked[0][1], "2.0 weights log with tokens");
  assert.match(other.text(".reading"), /^“t3” /); // the last token: tokens were chosen in another prompt
  leave(other.root);
  remember({ shown: "" });
  const example = shown(t, {}, { keep: true });
  assert.equal(example.text(".title"), "Layer 1, head 2");
  assert.deepEqual(example.asked[0][1], "1.2 weights log with tokens");
});

test("what the tab remembers may be anything", (t) => {
  for (const odd of [-1, 99, 1.5, "1", null, {}, NaN]) {
    sessionStorage.clear();
    const selection = { layer: odd, head: odd, query: odd, key: odd, order: odd, sink: odd, show: odd, scale: odd };
    remember({ shown: headerOf().id, selection });
    const { text, asked, root } = shown(t, {}, { keep: true });
    assert.equal(text(".title"), "Layer 1, head 2");
    assert.equal(asked[0][1], "1.2 weights sqrt with tokens");
    leave(root);
  }
});

test("another theme keeps what is chosen", (t) => {
  const { grid, at, text, root, data, asked } = shown(t);
  grid.onclick(at([0, 1]));
  const count = asked.length;
  explore(root, data);
  assert.equal(text(".title"), "Layer 0, head 1");
  assert.equal(asked.length, count); // nor is anything asked again
});

test("text is never markup", (t) => {
  const tokens = ["<img src=x>", "␣<b>a</b>", "␣c", "d"];
  const next = tokens.map(() => [["<img src=x>", 0.5]]);
  const measures = headerOf().measures.map((each) => ({ ...each, role: "<img>", note: "<img>", title: "<img>" }));
  const { all, find, text } = shown(t, { labels: tokens, next, measures, notes: ["", "<img>", ""] });
  for (const chip of all(".chip")) chip.onclick();
  find("button.astable").onclick();
  assert.equal(all("img, .text b").length, 0);
  assert.match(text(".shares"), /^shares keys and values with head [0-3]$|<img>$/);
  assert.equal(text(".text .token"), "<img src=x>");
});
