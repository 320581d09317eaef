// Where components of one page meet: what one has chosen, another sends to the server, and the answer comes back. A page
// that changes may for a moment have two of each: the newer one speaks, and all that are there hear.

import { remember, remembered } from "./remembered.js";

/** @import { Chosen, ExploreHost, HeadAnswer, HeadNumbers, HeadQuestion } from "./types.js" */

const NARROW = "(max-width: 820px)"; // a window in which everything stands in one column

const KEY = Symbol.for("attention-inspector");

/**
 * @typedef {object} Speaker
 * @property {(selection: Chosen) => void} tell  sends a choice to the server
 * @property {(question: HeadQuestion) => void} ask  asks the server for one head's exact numbers
 */
/** @typedef {(answer: HeadAnswer, numbers: HeadNumbers) => void} Hearer  takes an answer */
/** @typedef {{ speakers: Set<Speaker>, hearers: Set<Hearer> }} Hub */

/**
 * Return the meeting place of this page.
 * @returns {Hub}
 */
export function hub() {
  const place = /** @type {Record<symbol, Hub>} */ (/** @type {unknown} */ (globalThis));
  place[KEY] ??= { speakers: new Set(), hearers: new Set() };
  return place[KEY];
}

/**
 * Return who speaks to the server; undefined while nobody is there.
 * @param {Hub} place
 * @returns {Speaker | undefined}
 */
export const speaker = (place) => [...place.speakers].at(-1);

/**
 * Return the host of a screen that is alone on its page: the app's, where the tab remembers what is chosen.
 * @returns {ExploreHost}
 */
export const pageHost = () => ({
  hub: hub(),
  remember,
  remembered,
  narrow: () => matchMedia(NARROW).matches,
  alone: false,
});
