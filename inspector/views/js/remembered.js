// What this browser tab remembers: the request and what is chosen, in its own storage, and the choice also behind the #
// of the address. Neither goes to a server by itself: what stands behind the # is in no request.

/** @import { Chosen, Remembered } from "./types.js" */

const STORE = "attention-inspector";
const MADE = "attention-inspector-links"; // digests of the links that this browser made
const MOST_MADE = 50;
const LATER = 250; // ms: browsers refuse an address that changes too often
const WHY = { split: "compared", cut: "no" }; // the page Why's
const ATLAS = { atlas: "", by: "first", beside: "entropy" }; // the page Atlas's
const USUAL = {
  ...{ key: "-1", order: "layers", sink: "with", show: "weights", scale: "sqrt", unit: "tokens" },
  ...WHY,
  ...ATLAS,
};
const TEXTS = ["edits", "token", "against"]; // what Change does; empty as usual
const SHOWN = ["order", "sink", "show", "scale", "unit", "view", "station", ...Object.keys(WHY), ...Object.keys(ATLAS)];
const NAMES = ["layer", "head", "query", "key", ...SHOWN, ...TEXTS];

const ONCE = ["prompt", "generate", "chat"]; // what an old link asked for: a reload has it from the tab

/** What was chosen holds for whichever prompt is shown next: it came in a link, or from another page. */
export const ANY = "*";

let timer = 0;

/**
 * Return what this tab remembers; empty where it is new, or the browser stores nothing.
 * @returns {Remembered}
 */
export function remembered() {
  try {
    const said = JSON.parse(sessionStorage.getItem(STORE) ?? "{}");
    return said && typeof said === "object" ? said : {};
  } catch {
    return {};
  }
}

/**
 * Remember a request, a choice, or both, beside what is remembered already.
 * @param {Remembered} part
 */
export function remember(part) {
  try {
    sessionStorage.setItem(STORE, JSON.stringify({ ...remembered(), ...part }));
  } catch {
    // Private windows may store nothing: then a reload begins anew.
  }
  const { selection } = part;
  if (!selection) return;
  clearTimeout(timer);
  timer = window.setTimeout(() => writeAddress(selection), LATER);
}

/**
 * Return the words behind the # for a choice; what is as usual is left out. Edits that take values from prompts have
 * these in them as token ids: they stand only where the prompt may.
 * @param {Partial<Chosen>} selection
 * @param {boolean} withPrompt
 */
export function fragmentOf(selection, withPrompt = false) {
  const said = Object.entries(selection)
    .map(([name, value]) => [name, String(value)])
    .filter(([name, value]) => NAMES.includes(name) && value !== /** @type {Record<string, string>} */ (USUAL)[name])
    .filter(([name, value]) => !TEXTS.includes(name) || value !== "")
    .filter(([name, value]) => name !== "edits" || withPrompt || !value.includes('"source"'));
  return new URLSearchParams(said).toString();
}

/** Forget what was changed of a prompt that goes from the screen. */
export function forgetEdits() {
  const none = Object.fromEntries(TEXTS.map((name) => [name, ""]));
  try {
    const before = remembered();
    sessionStorage.setItem(STORE, JSON.stringify({ ...before, selection: { ...before.selection, ...none } }));
  } catch {
    // Stores nothing: there is nothing to forget.
  }
}

/**
 * Write a choice behind the # of the address, in place of the last: no history entry, and no request.
 * @param {Partial<Chosen>} selection
 */
function writeAddress(selection) {
  const search = new URLSearchParams(location.search);
  for (const name of [...NAMES, ...ONCE]) search.delete(name); // of an old link, read when it was opened
  const query = search.size ? `?${search}` : "";
  history.replaceState(history.state, "", `${location.pathname}${query}#${fragmentOf(selection)}`);
}

/**
 * Return what the address of a tab just opened says, and take a prompt out of it and of this tab's history. What it says
 * is chosen is remembered, for whichever prompt is shown; beside a prompt it waits until that is run.
 * @returns {{ said: Record<string, string>, own: boolean }}  own: this browser made the link, and no page frames this one
 */
export function arrived() {
  const said = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const all = { ...Object.fromEntries(new URLSearchParams(location.search)), ...said };
  const chosen = NAMES.filter((name) => all[name] !== undefined).map((name) => {
    const number = /^\d{1,7}$/.test(all[name]);
    return [name, number ? Number(all[name]) : all[name]];
  });
  const before = remembered();
  const known = /** @type {Record<string, unknown>} */ (before.selection ?? {});
  const same = chosen.every(([name, value]) => known[name] === value);
  if (chosen.length && !same && said.prompt === undefined)
    remember({ selection: Object.fromEntries(chosen), shown: ANY });
  if (said.prompt !== undefined) history.replaceState(history.state, "", location.pathname + location.search);
  // In another page's frame a link never runs by itself: what surrounds it may have chosen it.
  const alone = (window.top ?? window) === window;
  return { said, own: alone && made().includes(digest(wordsOf(said))) };
}

/**
 * Return all of a link that decides what is run, as one text.
 * @param {Record<string, string>} said
 */
const wordsOf = (said) =>
  JSON.stringify(["model", "prompt", "generate", "chat", "other"].map((name) => said[name] ?? ""));

/**
 * Remember that this browser made a link: opened here, its prompt runs without asking.
 * @param {Record<string, string>} said
 */
export function rememberLink(said) {
  try {
    localStorage.setItem(MADE, JSON.stringify([...new Set([...made(), digest(wordsOf(said))])].slice(-MOST_MADE)));
  } catch {
    // Stores nothing: the link asks before it runs, as anybody's does.
  }
}

/** @returns {string[]} */
function made() {
  try {
    const found = JSON.parse(localStorage.getItem(MADE) ?? "[]");
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/**
 * Return a short name of a text (as FNV-1a, twice 32 bits): the text itself is not stored outside its tab.
 * @param {string} text
 */
function digest(text) {
  let [a, b] = [0x811c9dc5, 0x1b873593];
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x85ebca6b);
  }
  return `${(a >>> 0).toString(16)}${(b >>> 0).toString(16)}-${text.length}`;
}
