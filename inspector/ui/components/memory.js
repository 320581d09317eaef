// What this tab remembers over a reload, as a component of Streamlit: "read" asks it once, "write" tells it.

import { arrived, remember, remembered } from "../../views/js/remembered.js";

/** @import { Remembered, StreamlitComponent } from "../../views/js/types.js" */
/** @typedef {{ mode: "read" } | ({ mode: "write" } & Remembered)} MemoryData */

const answered = new WeakSet(); // the roots that have answered: this function runs again for every change of theme

/**
 * Send what the tab remembers and what the address says ("read", once), or remember what is on screen ("write").
 * @param {StreamlitComponent<MemoryData>} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  if (data.mode === "write") {
    remember(data.selection ? { request: data.request, selection: data.selection } : { request: data.request });
    return;
  }
  if (answered.has(parentElement)) return;
  answered.add(parentElement);
  const { said, own } = arrived();
  setTriggerValue("said", { said, own, ...remembered() });
}
