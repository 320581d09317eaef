// The canvas "grid" as a component of Streamlit.

import { forget } from "../../views/js/canvas.js";
import { grid } from "../../views/js/grid.js";

/** @import { StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the component's data. Streamlit calls this again for every change of data or theme.
 * @param {StreamlitComponent} component
 */
export default function ({ parentElement, data, setTriggerValue }) {
  grid(parentElement, data, { onPick: (picked) => setTriggerValue("pick", picked) });
  return () => forget(parentElement);
}
