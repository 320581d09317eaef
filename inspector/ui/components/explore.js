// The Explore screen as a component of Streamlit.

import { explore, leave } from "../../views/js/explore.js";

/** @import { StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the component's data. Streamlit calls this again for every change of data or theme.
 * @param {StreamlitComponent} component
 */
export default function ({ parentElement, data }) {
  explore(parentElement, data);
  return () => leave(parentElement);
}
