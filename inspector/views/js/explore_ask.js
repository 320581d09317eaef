// Single heads' exact numbers: which are shown, what is asked of the server for them, and what has come back.

import { roughNumbers, withoutFirst } from "./explore_numbers.js";
import { speaker } from "./hub.js";

/** @import { ExploreState, HeadAnswer, HeadAsked, HeadNumbers, Scale } from "./types.js" */

const VERSION = 1; // of the question's fields, as in inspector/views/head_question.py
export const SOON = 80; // ms that the pointer rests before a head's numbers are asked for
const AGAIN = 1500; // ms after which a question without an answer is asked again, each time twice as long
const MOST_TRIES = 6;
const REMEMBERED_HEADS = 60; // exact numbers kept here

/**
 * Return what is asked for of the shown head.
 * @param {ExploreState} state
 * @returns {HeadAsked}
 */
export function asked(state) {
  const [layer, head] = state.peeked ?? state.selected;
  const { show, scale } = state.look;
  const unit = unitOf(state);
  const there = state.prompt.header.pooled || unit === "words" || show === "weighted_values";
  return { layer, head, show, scale, sink: there ? state.sink : "with", unit }; // else the first token is left out here
}

/**
 * Return whether cells are tokens or words: words are made of weights alone, of a prompt whose every cell is shown.
 * @param {ExploreState} state
 */
export const unitOf = (state) => (wordsApply(state) ? state.look.unit : "tokens");

/**
 * Return whether cells of whole words are another picture than cells of tokens.
 * @param {ExploreState} state
 */
export function wordsApply({ look, prompt: { header } }) {
  return look.show === "weights" && !header.pooled && header.words < header.tokens.length;
}

/**
 * Return whether a layer's weights can be shown; where not, its note says why.
 * @param {ExploreState} state
 * @param {number} [layer]  of the shown head where none is given
 */
export const known = (state, layer = (state.peeked ?? state.selected)[0]) => state.prompt.header.known[layer];

/**
 * Return the name under which numbers are kept here.
 * @param {HeadAsked} what
 */
const nameOf = ({ layer, head, show, scale, sink, unit }) => [layer, head, show, scale, sink, unit].join(" ");

/**
 * Return the shown head's numbers: the exact ones, else those of the prompt's message, else none.
 * @param {ExploreState} state
 * @returns {HeadNumbers | null}
 */
export function numbersOf(state) {
  if (!known(state)) return null;
  const what = asked(state);
  const plain = what.show === "weights" && what.unit === "tokens";
  const scale = /** @type {Scale} */ (what.scale);
  const rough = () => (plain ? roughNumbers(state.prompt, [what.layer, what.head], scale) : null);
  const here = state.exact.get(nameOf(what)) ?? rough();
  if (!here) return null;
  const leftOutHere = state.sink === "without" && what.sink === "with" && plain;
  return leftOutHere ? withoutFirst(here, state.prompt.header.most_scaled) : here;
}

/**
 * Ask for the shown head's exact numbers, if they are not here.
 * @param {ExploreState} state
 */
export function want(state) {
  const what = asked(state);
  const name = nameOf(what);
  if (state.exact.has(name) || !known(state)) return;
  if (state.peeked && state.prompt.halves && what.show === "weights") return; // a look in passing
  const server = speaker(state.host.hub);
  if (!server) {
    clearTimeout(state.soon);
    state.soon = window.setTimeout(() => want(state), SOON); // the other component is not here yet
    return;
  }
  if (state.waiting === name) return;
  const { id } = state.prompt.header;
  state.waiting = name; // and no longer for an earlier one: while it is busy, the server keeps the last question alone
  server.ask({ version: VERSION, id, ...what, turn: Date.now() % 1e9 }); // the same answer twice is not sent
  setTimeout(
    () => {
      // A question that meets a run of the whole page is lost: ask again, as long as it is still the question.
      if (state.waiting !== name || state.prompt.header.id !== id || !state.place.isConnected) return;
      state.waiting = "";
      state.tries += 1;
      if (name === nameOf(asked(state)) && state.tries < MOST_TRIES) want(state);
    },
    AGAIN * 2 ** state.tries,
  );
}

/**
 * Keep an answer's numbers, and return whether they are those of the shown head.
 * @param {ExploreState} state
 * @param {HeadAnswer} answer  about this prompt
 * @param {HeadNumbers} numbers
 */
export function take(state, answer, numbers) {
  const name = nameOf(answer.asked);
  state.exact.set(name, numbers);
  state.tries = 0;
  if (state.exact.size > REMEMBERED_HEADS) state.exact.delete(state.exact.keys().next().value ?? "");
  if (state.waiting === name) state.waiting = "";
  return name === nameOf(asked(state));
}
