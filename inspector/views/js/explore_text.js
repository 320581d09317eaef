// The words of the Explore screen: the prompt as tokens, the next tokens, the table of strongest pairs.

import { show } from "./canvas.js";
import { level, ramp, SCALES } from "./colours.js";
import { element } from "./elements.js";
import { rowOf, strongest } from "./explore_numbers.js";
import { columnLabel, rowLabel, written } from "./heatmap_reading.js";

/** @import { ExploreState, HeadNumbers } from "./types.js" */

const TOLD = 400; // tokens on each side of the chosen one that are written out of a long prompt
const PAIRS = 50;

/**
 * Return a token as it stands in a sentence: in quotes, without the mark of the space before it.
 * @param {string} label
 */
export const quoted = (label) => `“${label.replace(/^␣(?=.)/, "")}”`;

/**
 * Return a share in percent.
 * @param {number} share
 */
export const percent = (share) => (share > 0 && share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

/**
 * Write the prompt as tokens, each a button; of a very long one, those around the chosen token.
 * @param {ExploreState} state
 */
export function fillTokens(state) {
  const { acts, strip, prompt, query } = state;
  const labels = prompt.header.tokens;
  const from = Math.max(0, query - TOLD);
  const to = Math.min(labels.length, query + TOLD + 1);
  strip.replaceChildren();
  if (from) element("span", "more", strip, `… ${from.toLocaleString("en")} tokens before `);
  state.tokens = new Map();
  for (let token = from; token < to; token++) {
    const label = labels[token];
    const spaced = label.startsWith("␣") && label.length > 1;
    const written = token >= prompt.header.join;
    const name = `token${spaced ? " spaced" : ""}${written ? " written" : ""}`;
    const button = element("button", name, strip, spaced ? label.slice(1) : label);
    button.type = "button";
    button.tabIndex = -1;
    button.onclick = () => acts.choose({ query: token });
    button.onpointerenter = (event) => event.pointerType !== "touch" && acts.point(token);
    if (written && token === prompt.header.join) button.title = "From here on the model wrote the text itself";
    state.tokens.set(token, button);
    if (label.endsWith("↵")) element("br", "", strip);
  }
  if (to < labels.length) element("span", "more", strip, ` ${(labels.length - to).toLocaleString("en")} tokens more …`);
  strip.onpointerleave = () => acts.point(null);
}

/**
 * Colour the tokens by how much the shown token looks at each, and say at which it looks most.
 * @param {ExploreState} state
 * @param {HeadNumbers | null} head  null: its numbers are not here yet
 */
export function colourTokens(state, head) {
  const { theme, tokens, reading, prompt } = state;
  const { tokens: labels } = prompt.header;
  const query = state.pointed ?? state.query;
  const weights =
    head && head.header.palette === "sequential" && head.header.shape[0] * head.header.pool[0] >= labels.length;
  const row = weights ? rowOf(head, query) : () => NaN;
  const colours = ramp(theme.sequential);
  const top = head?.header.top ?? 1;
  let most = -1;
  for (let key = 0; key < labels.length; key++) {
    const value = row(key);
    if (value > 0 && (most < 0 || value > row(most))) most = key;
  }
  for (const [key, button] of tokens) {
    const value = row(key);
    const at = Number.isNaN(value) ? -1 : level(SCALES.sqrt.at(value / top));
    button.style.background = at < 0 ? "" : `rgb(${colours[at]})`;
    button.style.color = at < 0 ? "" : readable(colours[at]);
    button.classList.toggle("later", Number.isNaN(value));
    button.classList.toggle("here", key === query);
    button.classList.toggle("key", key === state.key);
    button.tabIndex = key === state.query ? 0 : -1;
    button.setAttribute("aria-pressed", String(key === state.query));
  }
  if (weights) reading.textContent = lookOf(state, head, query, most);
  else reading.textContent = `${quoted(labels[query])}, token ${query}`;
}

/**
 * Say at which token one looks most.
 * @param {ExploreState} state
 * @param {HeadNumbers} head
 * @param {number} query
 * @param {number} most  the key token with its largest number; -1: none is above zero
 */
function lookOf({ prompt, sink }, head, query, most) {
  const { tokens } = prompt.header;
  const { pool, value_name } = head.header;
  const row = rowOf(head, query);
  const pooled = pool[0] > 1; // a cell has the largest number of several tokens
  if (query === 0 && !pooled && (tokens.length === 1 || Number.isNaN(row(1))))
    return `${quoted(tokens[0])} comes first and can only look at itself`;
  const named = (/** @type {number} */ token) => {
    if (!pooled) return quoted(tokens[token]);
    const label = rowLabel(head.header, Math.floor(token / pool[0]));
    return `${/^\d+–/.test(label) ? "tokens" : "token"} ${label}`;
  };
  const who = named(query).replace(/^t/, "T");
  const looks = who.startsWith("Tokens ") ? "look" : "looks";
  if (most < 0) return `${who} ${looks} at no token here`;
  const share = value_name.includes("value length") ? show(row(most)) : percent(row(most));
  const hidden = sink === "without" ? ", without the first token" : "";
  return `${who} ${looks} most at ${named(most)}: ${share}${pooled ? " at most" : ""}${hidden}`;
}

/**
 * Return black or white, whichever is easier to read on a colour.
 * @param {number[]} colour
 */
function readable([r, g, b]) {
  const light = (/** @type {number} */ v) => (v <= 10 ? v / 3294 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b) > 0.179 ? "#000" : "#fff";
}

/**
 * Write what the model expects after the shown token.
 * @param {ExploreState} state
 */
export function fillNext({ next, nextTitle, prompt, query, pointed }) {
  const { next: rows, next_from: from, tokens } = prompt.header;
  const token = pointed ?? query;
  const known = rows.length > 0 && token >= from;
  const at = known ? token : tokens.length - 1;
  const last = at === tokens.length - 1;
  nextTitle.textContent = last ? "Next token" : `Expected after ${quoted(tokens[at])}`;
  next.replaceChildren();
  const row = rows[at - from] ?? [];
  if (!row.length) {
    const why = "the numbers come from a file, the model predicts no tokens, or its logits are no numbers";
    element("li", "none", next, `Not known: ${why}.`);
    return;
  }
  for (const [label, share] of row) {
    const line = element("li", "", next);
    element("span", "word", line, label.replace(/^␣(?=.)/, "")).title = label;
    element("i", "", line).style.width = `${Math.max(2, (100 * share) / row[0][1])}%`;
    element("span", "share", line, percent(share));
    if (!last && label === tokens[at + 1]) line.classList.add("came");
  }
}

/**
 * Write the head's strongest pairs as a table.
 * @param {ExploreState} state
 * @param {HeadNumbers} head
 */
export function fillTable({ acts, table }, head) {
  const { header } = head;
  const focused = [...table.querySelectorAll("button")].findIndex((each) => each.matches(":focus"));
  table.replaceChildren();
  const made = element("table", "", table);
  const pairs = strongest(head, PAIRS);
  element("caption", "", made, `The ${pairs.length} largest of ${header.label}`);
  const top = element("tr", "", element("thead", "", made));
  for (const name of [header.row_name, header.column_name, header.value_name])
    element("th", "", top, name).scope = "col";
  const body = element("tbody", "", made);
  for (const { row, column, value } of pairs) {
    const line = element("tr", "", body);
    const first = element("td", "", line, header.picks ? undefined : rowLabel(header, row)); // a word is no token
    if (header.picks) {
      const button = element("button", "link", first, rowLabel(header, row));
      button.type = "button";
      button.onclick = () => acts.choose({ query: row * header.pool[0], key: column * header.pool[1] });
    }
    element("td", "", line, columnLabel(header, column));
    element("td", "number", line, written(header, value));
  }
  if (focused >= 0) table.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
}
