// What the Explore screen and the server say to each other: choices and questions go up, one head's numbers come down.
// A component of its own, so that the screen's own large message is not sent again for a choice.

import { hub } from "../../views/js/hub.js";
import { decode } from "../../views/js/payload.js";

/** @import { Chosen, HeadAnswer, HeadQuestion, StreamlitComponent } from "../../views/js/types.js" */

/** @type {WeakMap<ShadowRoot, import("../../views/js/hub.js").Speaker>} */
const own_of = new WeakMap(); // the speaker of each root: this function runs again for every answer

/**
 * Hand an answer on, and take what is to be said.
 * @param {StreamlitComponent<Uint8Array | null>} component
 */
export default function ({ data, parentElement, setTriggerValue, setStateValue }) {
  const { speakers, hearers } = hub();
  const before = own_of.get(parentElement);
  if (before) speakers.delete(before);
  const own = {
    tell: (/** @type {Chosen} */ selection) => setStateValue("selection", selection),
    ask: (/** @type {HeadQuestion} */ question) => setTriggerValue("question", question),
  };
  speakers.add(own);
  own_of.set(parentElement, own);
  if (data instanceof Uint8Array && data.length > 4) {
    /** @type {{ header: HeadAnswer, body: Uint8Array<ArrayBuffer> }} */
    const { header, body } = decode(data);
    const numbers = { header: header.map, numbers: new Float32Array(body.buffer, body.byteOffset) };
    for (const hear of hearers) hear(header, numbers);
  }
  return () => speakers.delete(own);
}
