// A button that opens the browser's dialog for printing, once what is open above the page has closed.

/** @import { StreamlitComponent } from "../../views/js/types.js" */

/**
 * Show the button.
 * @param {StreamlitComponent<{ label: string }>} component
 */
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  if (!button) return;
  button.textContent = data.label;
  button.onclick = () => window.print();
}
