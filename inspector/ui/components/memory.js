// What this tab remembers over a reload, as a component of Streamlit: "read" asks it once, "write" tells it.

import { ANY, arrived, remember, remembered } from "../../views/js/remembered.js";

/** @import { Remembered, StreamlitComponent } from "../../views/js/types.js" */
/** @typedef {{ mode: "read" } | ({ mode: "write", page: string, forget: boolean } & Remembered)} MemoryData */

const answered = new WeakSet(); // the roots that have answered: this function runs again for every change of theme

/**
 * Send what the tab remembers and what the address says ("read", once), or remember what is on screen ("write").
 * @param {StreamlitComponent<MemoryData>} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  if (data.mode === "write") {
    const { request, selection } = data;
    if (selection) remember({ request, selection, shown: ANY });
    else remember(data.forget ? { request, shown: "" } : { request });
    return;
  }
  if (answered.has(parentElement)) return;
  answered.add(parentElement);
  const { request } = remembered();
  setTriggerValue("said", { ...arrived(), request, selection: remembered().selection });
}
