// The Walkthrough's rail as a component of Streamlit.

import { rail } from "../../views/js/rail.js";

/** @import { RailData, StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the component's data. Streamlit calls this again for every change of data or theme.
 * @param {StreamlitComponent<RailData>} component
 */
export default function ({ parentElement, data, setTriggerValue }) {
  rail(parentElement, data, {
    onPick: (picked) => setTriggerValue("pick", picked),
    scroller: document.querySelector('[data-testid="stMain"]'),
  });
}
