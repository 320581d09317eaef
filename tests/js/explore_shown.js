// The Explore screen on a page without a browser, with what it tells and asks the server written down.

import { readFileSync } from "node:fs";
import { explore, leave } from "../../inspector/views/js/explore.js";
import { cornerOf, exploreLayout } from "../../inspector/views/js/explore_layout.js";
import { promptOf } from "../../inspector/views/js/explore_numbers.js";
import { hub } from "../../inspector/views/js/hub.js";
import { headerOf, mapHeader, messageOf } from "./explore_prompt.js";
import { PARTS, rootWith, stopClock } from "./stub.js";

const MAP = `<div class="map">${PARTS}<div class="legend"></div><div class="strip" hidden></div></div>`;
const SKELETON = readFileSync(new URL("../../inspector/views/js/explore.html", import.meta.url), "utf-8");
export const SOON = 80;

/** What a question asks for, as words: "1.2 weights sqrt with tokens". */
const wordsOf = ({ layer, head, show, scale, sink, unit }) => [`${layer}.${head}`, show, scale, sink, unit].join(" ");

/** What such words ask for. */
export function askedIn(words) {
  const [at, show, scale, sink, unit] = words.split(" ");
  const [layer, head] = at.split(".").map(Number);
  return { layer, head, show, scale, sink, unit };
}

/** Show a prompt as Streamlit would, and write down what goes to the server. */
export function shown(t, changes = {}, { keep = false, width = 1000 } = {}) {
  stopClock(t);
  if (!keep) sessionStorage.clear();
  const header = headerOf(changes);
  const data = messageOf(header);
  const root = rootWith(SKELETON.replace("MAP", MAP), width);
  Object.defineProperty(root.querySelector(".map"), "clientWidth", { get: () => 500 });
  const [told, asked, questions] = [[], [], []];
  const { speakers, hearers } = hub();
  const server = { tell: (selection) => told.push(selection), ask };
  function ask(question) {
    questions.push(question);
    asked.push([question.id, wordsOf(question)]);
  }
  /** The other component: it may be away, and it hands answers on. */
  const place = {
    here: (there) => (there ? speakers.add(server) : speakers.delete(server)),
    receive: (...answer) =>
      hearers.forEach((hear) => {
        hear(...answer);
      }),
  };
  speakers.clear();
  place.here(true);
  explore(root, data);
  told.length = 0; // that a prompt is on screen is told, too: a test of its own asks for it
  t.after(() => leave(root));
  const find = (selector) => root.querySelector(selector);
  const grid = find("canvas.grid");
  const prompt = promptOf(data);
  return {
    ...{ header, prompt, root, grid, told, asked, questions, find, data, place },
    text: (selector) => find(selector).textContent,
    all: (selector) => [...root.querySelectorAll(selector)],
    /** Where a head's picture stands. */
    at: ([layer, head]) => {
      const layout = exploreLayout(prompt, null, { width: Math.floor(width * 0.56), height: 0, narrow: false });
      const [x, y] = cornerOf(prompt, layout, [layer, head]);
      return { clientX: x + 3, clientY: y + 3, pointerType: "mouse" };
    },
    /** Give a head's exact numbers: all weights are this one. */
    answer: (question, number, more = {}) => {
      const n = header.tokens.length;
      const map = mapHeader(n, { version: `exact ${question}`, ...more });
      const numbers = new Float32Array((n * (n + 1)) / 2).fill(number);
      place.receive({ id: header.id, asked: askedIn(question), map }, { header: map, numbers });
    },
    /** The number that the map reads at a query and key. */
    reading: (row, column) => {
      const map = find(".map canvas");
      const { x, y, stepX, stepY } = map.dataset;
      const clientX = Number(x) + (column + 0.5) * stepX;
      map.onpointermove({ clientX, clientY: Number(y) + (row + 0.5) * stepY });
      const said = find(".map .readout").textContent;
      map.onpointerleave();
      return said;
    },
  };
}
