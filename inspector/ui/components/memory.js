// What this tab remembers over a reload, as a component of Streamlit: "read" asks it once, "write" tells it. It is on
// every page, and marks the links to the page one is on.

import { keepMarked } from "../../views/js/here.js";
import { ANY, arrived, forgetEdits, remember, remembered } from "../../views/js/remembered.js";

/** @import { Remembered, StreamlitComponent } from "../../views/js/types.js" */
/** @typedef {{ mode: "read" } | ({ mode: "write", page: string, forget: boolean } & Remembered)} MemoryData */

let listening = false;
const answered = new WeakSet(); // the roots that have answered: this function runs again for every change of theme

/**
 * Send what the tab remembers and what the address says ("read", once), or remember what is on screen ("write").
 * @param {StreamlitComponent<MemoryData>} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  if (!listening) window.addEventListener("hashchange", openLink);
  listening = true;
  if (data.mode === "write") {
    keepMarked();
    const { request, selection } = data;
    if (data.forget) forgetEdits();
    if (selection) remember({ request, selection, shown: ANY });
    else remember(data.forget ? { request, shown: "" } : { request });
    return;
  }
  if (answered.has(parentElement)) return;
  answered.add(parentElement);
  const { request } = remembered();
  setTriggerValue("said", { ...arrived(), request, selection: remembered().selection });
}

/** Open a link that was put into the address of an open page: the browser itself loads nothing for it. */
function openLink() {
  if (new URLSearchParams(location.hash.slice(1)).has("prompt")) location.reload();
}
