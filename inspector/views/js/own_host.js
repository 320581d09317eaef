// A host for an Explore screen that shares its page with others: in a notebook's cell, in a saved page. It remembers what
// is chosen for itself alone, and its width, not the window's, decides how its parts stand.

/** @import { ExploreHost, HeadQuestion, Remembered } from "./types.js" */

const NARROW = 820; // CSS pixels, as in explore.css

/**
 * Return a host.
 * @param {number} height  of the screen, in CSS pixels
 * @param {((question: HeadQuestion) => void) | null} [ask]  asks for one head's exact numbers; null: nobody answers
 * @returns {ExploreHost}
 */
export function ownHost(height, ask = null) {
  /** @type {Remembered} */
  let known = {};
  return {
    hub: { speakers: new Set([{ tell() {}, ask: ask ?? (() => {}) }]), hearers: new Set() },
    remember: (changes) => {
      known = { ...known, ...changes };
    },
    remembered: () => known,
    narrow: (place) => place.clientWidth <= NARROW,
    alone: !ask,
    height,
  };
}

/**
 * Return a style sheet whose rules for narrow windows are rules for narrow places.
 * @param {string} style
 */
export const byPlace = (style) => style.replaceAll("@media (max-width", "@container (max-width");
