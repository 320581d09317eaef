// What the Explore screen shows first of a prompt: what was chosen in this tab, as far as it fits, else what the message
// begins with.

import { fillChips } from "./explore_chips.js";
import { tell } from "./explore_choose.js";
import { promptOf, ranked } from "./explore_numbers.js";
import { choicesOf, resetOptions } from "./explore_options.js";
import { fillTokens } from "./explore_text.js";
import { ANY } from "./remembered.js";

/** @import { Chosen, ExploreState } from "./types.js" */

/**
 * Take a new message, with what was chosen in this tab as far as it fits.
 * @param {ExploreState} state
 * @param {Uint8Array} data
 */
export function begin(state, data) {
  const prompt = promptOf(data);
  const { header } = prompt;
  const was = state.host.remembered();
  if (state.prompt?.header.id === header.id && was.shown !== "") {
    Object.assign(state, { data, prompt }); // the same prompt, perhaps with better small pictures: all else stays
    return;
  }
  Object.assign(state, { data, prompt, exact: new Map(), waiting: "", least: 0, peeked: null, pointed: null });
  state.mapRoot.style.visibility = "hidden"; // what it shows is another prompt's
  state.table.replaceChildren();
  const before = was.selection ?? {};
  choosePlace(state, was.shown === "" ? {} : before, was.shown === header.id || was.shown === ANY);
  state.sink = before.sink === "without" ? "without" : "with";
  const kept = (/** @type {"show" | "scale" | "unit"} */ name) => oneOf(before[name], choicesOf(state, name));
  state.look = { show: kept("show"), scale: kept("scale"), unit: kept("unit") };
  state.measure = header.measures.find(({ name, best, role }) => name === before.order && (!role || best >= 0)) ?? null;
  state.ranking = state.measure ? ranked(state.measure) : null;
  resetOptions(state);
  fillChips(state);
  fillTokens(state);
  tell(state); // tab and server have what is on screen, not what was chosen in another prompt
}

/**
 * Choose head and tokens as they were chosen before.
 * @param {ExploreState} state
 * @param {Partial<Chosen>} before  empty for an example, which has a head of its own
 * @param {boolean} here  whether its tokens are this prompt's, not another's
 */
function choosePlace(state, before, here) {
  const { header } = state.prompt;
  const layer = numberBelow(header.heads.length, before.layer);
  const head = layer < 0 ? -1 : numberBelow(header.heads[layer], before.head);
  const query = here ? numberBelow(header.tokens.length, before.query) : -1;
  state.selected = head < 0 ? header.selected : [layer, head];
  state.picked = query >= 0;
  state.query = query < 0 ? header.tokens.length - 1 : query;
  state.key = here ? numberBelow(header.tokens.length, before.key) : -1;
}

/**
 * Return a whole number from 0 to below `end`; -1 for anything else.
 * @param {number} end
 * @param {unknown} said
 */
const numberBelow = (end, said) =>
  typeof said === "number" && Number.isInteger(said) && said >= 0 && said < end ? said : -1;

/**
 * Return a text that is among those there are, else the first of them.
 * @param {unknown} text
 * @param {string[]} known
 */
const oneOf = (text, known) => (typeof text === "string" && known.includes(text) ? text : known[0]);
