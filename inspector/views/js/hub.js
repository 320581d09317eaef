// Where components of one page meet: what one has chosen, another sends to the server, and the answer comes back. A page
// that changes may for a moment have two of each: the newer one speaks, and all that are there hear.

/** @import { Chosen, HeadAnswer, HeadNumbers } from "./types.js" */

const KEY = Symbol.for("attention-inspector");

/**
 * @typedef {object} Speaker
 * @property {(selection: Chosen) => void} tell  sends a choice to the server
 * @property {(id: string, asked: string) => void} ask  asks the server for one head's exact numbers
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
 * @returns {Speaker | undefined}
 */
export const speaker = () => [...hub().speakers].at(-1);
