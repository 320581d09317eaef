// A whole page of HTML in a frame of its own: it may run scripts, and reaches neither the app nor any host.

import { find } from "../../views/js/elements.js";
import { decode } from "../../views/js/payload.js";
import { readTheme } from "../../views/js/theme.js";

/** @import { FrameHeader, StreamlitComponent } from "../../views/js/types.js" */
/** @typedef {(event: MessageEvent) => void} Listener */

const shown = new WeakMap(); // frame -> the page in it: this function runs again for every change of data or theme
/** @type {WeakMap<HTMLElement, Listener>} */
const listeners = new WeakMap();

/**
 * Show the page in the app's theme, as high as it says it is.
 * @param {StreamlitComponent} component
 */
export default function ({ parentElement, data }) {
  const frame = /** @type {HTMLIFrameElement} */ (find(parentElement, "iframe"));
  /** @type {{ header: FrameHeader, body: Uint8Array }} */
  const { header, body } = decode(data);
  // The page says its theme once, in its first element, in front of any token.
  const theme = readTheme(frame).dark ? "dark" : "light";
  const page = new TextDecoder().decode(body).replace(/data-theme="\w+"/, `data-theme="${theme}"`);
  if (shown.get(frame) !== page) {
    shown.set(frame, page);
    frame.title = header.title;
    frame.style.height = `${header.height}px`;
    frame.style.maxWidth = `${header.width}px`;
    frame.srcdoc = page;
  }
  listen(frame, (event) => {
    // All that the page can tell us is how high it is at the width it has.
    const height = event.source === frame.contentWindow && event.data?.bertviz_height;
    if (Number.isFinite(height)) frame.style.height = `${Math.max(100, Math.min(height, 20000))}px`;
  });
  return () => listen(frame, null);
}

/**
 * Let one function, or none, hear what a frame says.
 * @param {HTMLIFrameElement} frame
 * @param {Listener | null} listener
 */
function listen(frame, listener) {
  const before = listeners.get(frame);
  if (before) window.removeEventListener("message", before);
  if (!listener) return;
  listeners.set(frame, listener);
  window.addEventListener("message", listener);
}
