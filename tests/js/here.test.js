import assert from "node:assert/strict";
import test from "node:test";
import { markHere } from "../../inspector/views/js/here.js";
import "./stub.js";

test("the links to the page one is on say so, and no longer when it is another", (t) => {
  const page = document.createElement("div");
  page.innerHTML = `<div class="st-key-nav_here x"><a id="a">Explore</a></div><div class="st-key-nav_learn"><a id="b">Learn</a></div>
    <div class="st-key-tab_here"><a id="c">Heads</a></div><a id="d">elsewhere</a>`;
  document.body.append(page);
  t.after(() => page.remove());
  const current = () => [...page.querySelectorAll("[aria-current=page]")].map((link) => link.id);
  markHere();
  assert.deepEqual(current(), ["a", "c"]);
  page.querySelector(".st-key-nav_here").className = "st-key-nav_explore";
  page.querySelector(".st-key-nav_learn").className = "st-key-nav_here";
  markHere();
  assert.deepEqual(current(), ["b", "c"]);
});
