// From a head's map to the page Change: what if this head were gone? From the text to the page Pair, and from the next
// tokens to the page Why.

import { find } from "./elements.js";
import { SOON } from "./explore_ask.js";
import { tell } from "./explore_choose.js";

/** @import { ExploreState } from "./types.js" */

/**
 * Listen to the three buttons.
 * @param {ExploreState} state
 */
export function listenToChange(state) {
  find(state.place, "button.gone").onclick = () => {
    const [layer, head] = state.selected;
    const edits = JSON.stringify({ schema: 1, edits: [{ kind: "zero", layers: [layer], heads: [head] }] });
    leaveFor(state, "change", { edits });
  };
  find(state.place, "button.explain").onclick = () => leaveFor(state, "pair", {});
  find(state.place, "button.because").onclick = () => leaveFor(state, "why", { token: "", against: "" });
}

/**
 * Open another tab of the app once the server has heard what is chosen.
 * @param {ExploreState} state
 * @param {string} tab
 * @param {Record<string, string>} chosen  beside what is chosen here
 */
function leaveFor(state, tab, chosen) {
  const { remember, remembered } = state.host;
  remember({ selection: { ...remembered().selection, ...chosen } });
  tell(state);
  const link = /** @type {HTMLElement | null} */ (document.querySelector(`.st-key-tab_${tab} a`));
  window.setTimeout(() => link?.click(), SOON); // the server hears of it before the page that shows it
}
