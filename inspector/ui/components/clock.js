// RoPE's clock, as a component of Streamlit.

import { clocks } from "../../views/js/clock_picture.js";

/** @import { ClockData, StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the component's data. Streamlit calls this again for every change of data or theme.
 * @param {StreamlitComponent<ClockData>} component
 */
export default function ({ parentElement, data }) {
  clocks(parentElement, data);
}
