// The row of scores to scale, as a component of Streamlit.

import { scaling } from "../../views/js/scale_picture.js";

/** @import { ScaleData, StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the component's data. Streamlit calls this again for every change of data or theme.
 * @param {StreamlitComponent<ScaleData>} component
 */
export default function ({ parentElement, data }) {
  scaling(parentElement, data);
}
