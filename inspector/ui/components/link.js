// The address of what is on screen, to be copied; made in the browser, which alone knows what was chosen last.

import { fragmentOf, remembered, rememberLink } from "../../views/js/remembered.js";

/** @import { StreamlitComponent } from "../../views/js/types.js" */
/** @typedef {{ said: Record<string, string> }} LinkData  what the server adds: model, prompt, how it is run */

/**
 * Fill the field with the address, and copy it at a press of the button.
 * @param {StreamlitComponent<LinkData>} component
 */
export default function ({ data, parentElement: root }) {
  const field = root.querySelector("input");
  const button = root.querySelector("button");
  const word = root.querySelector("span");
  if (!field || !button || !word) return;
  const fill = () => {
    const chosen = fragmentOf(remembered().selection ?? {}, data.said.prompt !== undefined);
    const fragment = [new URLSearchParams(data.said).toString(), chosen].filter(Boolean).join("&");
    const address = `${location.origin}${location.pathname}#${fragment}`;
    if (field.value !== address) word.textContent = "";
    field.value = address;
  };
  fill();
  field.onfocus = () => {
    fill();
    field.select();
  };
  button.onpointerenter = fill;
  button.onclick = async () => {
    fill();
    if (data.said.prompt !== undefined) rememberLink(data.said);
    try {
      await navigator.clipboard.writeText(field.value);
      word.textContent = "Copied.";
    } catch {
      field.focus(); // not allowed to, or not over https: the visitor copies it from the field
      field.select();
      word.textContent = "This browser does not let a page copy: press Ctrl+C (⌘C).";
    }
  };
}
