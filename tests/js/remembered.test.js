import assert from "node:assert/strict";
import test from "node:test";
import {
  ANY,
  arrived,
  forgetEdits,
  fragmentOf,
  remember,
  remembered,
  rememberLink,
} from "../../inspector/views/js/remembered.js";
import { stopClock, tick } from "./stub.js";

const USUAL = { key: -1, order: "layers", sink: "with", show: "weights", scale: "sqrt", unit: "tokens" };
const PROMPT = "100 % of A&B=C? #1 日本 🙂\n“x”";
const address = () => location.href.slice(location.origin.length);

/** Open an address as a new tab would, with nothing stored. */
function opened(to) {
  sessionStorage.clear();
  localStorage.clear();
  history.replaceState(null, "", to);
}

test("what is as usual is left out behind the #", () => {
  assert.equal(fragmentOf({ layer: 3, head: 0, query: 5, ...USUAL }), "layer=3&head=0&query=5");
  assert.equal(fragmentOf({}), "");
  const other = { key: 0, order: "back 1", sink: "without", show: "scaled_scores", scale: "log", unit: "words" };
  for (const [name, value] of Object.entries(other)) {
    assert.equal(fragmentOf({ ...USUAL, [name]: value }), new URLSearchParams([[name, `${value}`]]).toString());
  }
});

test("what is no choice never stands behind the #", () => {
  assert.equal(fragmentOf({ layer: 1, prompt: PROMPT, model: "m", shown: "x", toString: "y" }), "layer=1");
});

test("a link's prompt leaves the address and this tab's history, and comes back whole", () => {
  for (const before of ["/", "/explore", "/app/explore?x=1"]) {
    opened(`${before}#${new URLSearchParams({ model: "m", prompt: PROMPT, layer: 2 })}`);
    const length = history.length;
    assert.deepEqual(arrived(), { said: { model: "m", prompt: PROMPT, layer: "2" }, own: false });
    assert.equal(address(), before);
    assert.equal(history.length, length);
    assert.deepEqual(remembered(), {}); // what it chooses waits until it is run
  }
});

test("a choice without a prompt stays in the address", () => {
  opened("/explore#layer=2&head=1");
  assert.deepEqual(arrived(), { said: { layer: "2", head: "1" }, own: false });
  assert.equal(address(), "/explore#layer=2&head=1");
  for (const odd of ["/", "/#", "/#&&=", "/#%E0%A4%A", "/#__proto__=1&constructor=2"]) {
    opened(odd);
    assert.equal(arrived().own, false);
    assert.equal(address(), odd);
  }
});

test("a link that this browser made is known again, by a digest that says nothing of the prompt", () => {
  opened("/");
  rememberLink({ prompt: PROMPT });
  rememberLink({ prompt: PROMPT });
  rememberLink({ prompt: "another" });
  const stored = JSON.parse(localStorage.getItem("attention-inspector-links"));
  assert.equal(stored.length, 2);
  for (const each of stored) assert.match(each, /^[0-9a-f]{1,16}-\d+$/);
  const own = (prompt) => {
    history.replaceState(null, "", `/#${new URLSearchParams({ prompt })}`);
    return arrived().own;
  };
  assert.ok(own(PROMPT) && own("another"));
  Object.defineProperty(window, "top", { value: {}, configurable: true }); // in a frame of another page it is nobody's own
  assert.ok(!own(PROMPT));
  delete window.top;
  for (const other of [`${PROMPT} `, PROMPT.toUpperCase(), "", "rehtona", "anothes"]) assert.ok(!own(other));
});

test("50 links are known, the last ones", () => {
  opened("/");
  for (let i = 0; i < 60; i++) rememberLink({ prompt: `prompt ${i}` });
  assert.equal(JSON.parse(localStorage.getItem("attention-inspector-links")).length, 50);
  for (const [i, known] of [[0, false], [9, false], [10, true], [59, true]]) {
    history.replaceState(null, "", `/#prompt=prompt+${i}`);
    assert.equal(arrived().own, known);
  } // biome-ignore format: a table
});

test("what a tab remembers is kept beside what it remembered", () => {
  opened("/");
  assert.deepEqual(remembered(), {});
  remember({ request: { prompt: PROMPT } });
  remember({ shown: "a" });
  assert.deepEqual(remembered(), { request: { prompt: PROMPT }, shown: "a" });
});

test("a choice is written behind the # a little later, once, without a history entry", (t) => {
  stopClock(t);
  opened("/explore?x=1&layer=9&head=8");
  const length = history.length;
  remember({ request: { prompt: PROMPT }, selection: { ...USUAL, layer: 1, head: 2 } });
  tick(200);
  remember({ selection: { layer: 3, head: 4, ...USUAL, sink: "without" } });
  tick(249);
  assert.equal(address(), "/explore?x=1&layer=9&head=8");
  tick(1);
  assert.equal(address(), "/explore?x=1#layer=3&head=4&sink=without"); // no prompt, and nothing of the older address
  assert.equal(history.length, length);
});

test("a tab that stores nothing, or something else, is a new one", (t) => {
  opened("/");
  for (const odd of ["", "{", "null", "1", '"x"']) {
    sessionStorage.setItem("attention-inspector", odd);
    localStorage.setItem("attention-inspector-links", odd);
    assert.deepEqual(remembered(), {});
    assert.equal(arrived().own, false);
    rememberLink({ prompt: "a" });
    assert.equal(JSON.parse(localStorage.getItem("attention-inspector-links")).length, 1);
  }
  const refuse = () => {
    throw new Error("no storage here");
  };
  const kept = { sessionStorage, localStorage };
  const none = { getItem: refuse, setItem: refuse };
  t.after(() => Object.assign(globalThis, kept));
  Object.assign(globalThis, { sessionStorage: none, localStorage: none });
  remember({ shown: "a" });
  rememberLink({ prompt: "a" });
  assert.deepEqual(remembered(), {});
  assert.equal(arrived().own, false);
});

test("what a link says is chosen holds for whichever prompt is shown next", () => {
  for (const to of [
    "/#layer=2&head=10&scale=log",
    "/?layer=2&head=10&scale=log",
    "/?layer=1#layer=2&head=10&scale=log",
  ]) {
    opened(to);
    arrived();
    assert.deepEqual(remembered(), { selection: { layer: 2, head: 10, scale: "log" }, shown: ANY });
  }
  remember({ shown: "a" });
  arrived(); // a reload of the same tab: nothing new is said
  assert.equal(remembered().shown, "a");
  opened("/#model=m&prompt=a");
  arrived();
  assert.deepEqual(remembered(), {});
});

test("edits that have a prompt's token ids in them stand only where the prompt may", () => {
  const plain = { ...USUAL, edits: '{"schema":1,"edits":[{"kind":"zero"}]}' };
  const taken = { ...USUAL, edits: '{"schema":1,"edits":[{"kind":"mean","source":{"prompts":[[1,2]]}}]}' };
  assert.equal(fragmentOf({ ...USUAL, edits: "", token: "", against: "" }), "");
  assert.equal(new URLSearchParams(fragmentOf(plain)).get("edits"), plain.edits);
  assert.equal(fragmentOf(taken), "");
  assert.equal(new URLSearchParams(fragmentOf(taken, true)).get("edits"), taken.edits);
});

test("edits go with their prompt, and what is chosen stays", () => {
  remember({ selection: { layer: 3, head: 4, edits: "some", token: " Mary", against: " John" } });
  forgetEdits();
  assert.deepEqual(remembered().selection, { layer: 3, head: 4, edits: "", token: "", against: "" });
});
