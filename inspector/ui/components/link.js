// The address of what is on screen, to be copied, or what stands behind the # of a link just opened.

/** @import { StreamlitComponent } from "../../views/js/types.js" */
/** @typedef {{ mode: "read" } | { mode: "copy", search: string, fragment: string }} LinkData */

const read = new WeakSet(); // the roots that have answered: this function runs again for every change of theme

/**
 * Fill the field with the address ("copy"), or send the text behind the # ("read") as the trigger "fragment", once.
 * @param {StreamlitComponent<LinkData>} component
 */
export default function ({ data, parentElement, setTriggerValue }) {
  if (data.mode === "copy") {
    copy(parentElement, location.origin + location.pathname + data.search + data.fragment);
    return;
  }
  if (read.has(parentElement)) return;
  read.add(parentElement);
  const said = location.hash.slice(1);
  // Out of the address bar, and of this tab's history.
  history.replaceState(history.state, "", location.pathname + location.search);
  setTriggerValue("fragment", said);
}

/**
 * Show an address in the field, and copy it at a press of the button.
 * @param {ShadowRoot} root
 * @param {string} address
 */
function copy(root, address) {
  const field = root.querySelector("input");
  const button = root.querySelector("button");
  const word = root.querySelector("span");
  if (!field || !button || !word) return;
  if (field.value !== address) word.textContent = "";
  field.value = address;
  field.onfocus = () => field.select();
  button.onclick = async () => {
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
