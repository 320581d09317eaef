// Where components of one page meet: what one has chosen, another sends to the server, and the answer comes back.

/** @import { Chosen, HeadAnswer, HeadNumbers } from "./types.js" */

const KEY = Symbol.for("attention-inspector");

/**
 * @typedef {object} Hub
 * @property {((selection: Chosen) => void) | null} tell  sends a choice to the server
 * @property {((id: string, asked: string) => void) | null} ask  asks the server for one head's exact numbers
 * @property {((answer: HeadAnswer, numbers: HeadNumbers) => void) | null} receive  takes them
 */

/**
 * Return the meeting place of this page.
 * @returns {Hub}
 */
export function hub() {
  const place = /** @type {Record<symbol, Hub>} */ (/** @type {unknown} */ (globalThis));
  place[KEY] ??= { tell: null, ask: null, receive: null };
  return place[KEY];
}
