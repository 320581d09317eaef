// One head's map with a mask that can be taken off, as a component of Streamlit.

import { maskPicture } from "../../views/js/mask_picture.js";

/** @import { StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the component's data. Streamlit calls this again for every change of data or theme.
 * @param {StreamlitComponent} component
 */
export default function ({ parentElement, data }) {
  maskPicture(parentElement, data);
}
