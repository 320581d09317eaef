// The Explore screen in a notebook's cell (anywidget): the app's own, which asks the kernel for single heads' numbers.

import { element } from "./elements.js";
import { explore, leave } from "./explore.js";
import { byPlace, ownHost } from "./own_host.js";
import { decode } from "./payload.js";

/** @import { HeadAnswer, WidgetModel } from "./types.js" */

const HEIGHT = 640;
const PATIENCE = 2500; // ms after which a silent kernel is spoken of
const THEMES = ["class", "style", "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind", "data-theme"];
const COLOURS = { background: "#ffffff", text: "#0e141c", border: "#d5dae1", accent: "#1f5fa8" };
const GONE =
  "There is no kernel behind this page: small pictures and short prompts' weights are all here; for more, run the cell again.";

/** Return what anywidget asks for. */
export default function () {
  registerColours();
  return { render };
}

/** Have the browser compute the colours that canvases paint with; style sheets in a shadow root, as marimo's, cannot. */
function registerColours() {
  for (const [name, initialValue] of Object.entries(COLOURS)) {
    try {
      CSS.registerProperty({ name: `--canvas-${name}`, syntax: "<color>", inherits: true, initialValue });
    } catch {} // another widget of this page did
  }
}

/**
 * Show the screen in a cell; each view has a root, a choice and questions of its own.
 * @param {{ model: WidgetModel, el: HTMLElement }} given
 */
function render({ model, el }) {
  el.classList.add("attention-inspector");
  el.dataset.lmSuppressShortcuts = "true"; // keys are the screen's own while it has the focus, not JupyterLab's
  const place = element("div", "", el);
  const note = element("p", "", el);
  note.setAttribute("role", "status");
  const instead = element("style", "", el); // hides the words for places where nothing runs, while this view is there
  const root = place.attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(byPlace(/** @type {string} */ (model.get("_style"))));
  root.adoptedStyleSheets = [style];
  root.innerHTML = /** @type {string} */ (model.get("_skeleton")); // ours, nothing from outside

  const me = Math.random().toString(36).slice(2); // several views of one model hear every answer
  let silent = 0;
  const host = ownHost(HEIGHT, (question) => {
    clearTimeout(silent);
    silent = window.setTimeout(() => {
      note.textContent = "Waiting for the kernel: it is busy, or gone. Small pictures go on without it.";
    }, PATIENCE);
    try {
      model.send({ view: me, question });
    } catch {
      clearTimeout(silent);
      note.textContent = GONE;
    }
  });
  const heard = (/** @type {{ view?: string, refused?: string }} */ message, /** @type {DataView[]} */ buffers) => {
    if (message?.view !== me) return;
    clearTimeout(silent);
    note.textContent = message.refused ?? "";
    if (!buffers?.length) return;
    /** @type {{ header: HeadAnswer, body: Uint8Array<ArrayBuffer> }} */
    const { header, body } = decode(bytesOf(buffers[0]));
    const numbers = { header: header.map, numbers: new Float32Array(body.buffer, body.byteOffset) };
    for (const hear of host.hub.hearers) hear(header, numbers);
  };
  model.on("msg:custom", heard);

  let frame = 0;
  const draw = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      if (!el.isConnected || !place.clientWidth) return draw(); // made before it stands in the page: no theme, no width
      explore(root, bytesOf(/** @type {DataView} */ (model.get("message"))), host);
      el.dataset.painted = "true";
      instead.textContent = `.${model.get("_instead")} { display: none }`;
    });
  };
  draw();
  const watch = new MutationObserver(draw); // JupyterLab, VS Code and marimo say their theme there
  for (const at of [document.documentElement, document.body])
    watch.observe(at, { attributes: true, attributeFilter: THEMES });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);
  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(silent);
    watch.disconnect();
    dark.removeEventListener("change", draw);
    model.off("msg:custom", heard);
    leave(root);
  };
}

/**
 * Return a view of bytes on memory of its own, which begins at an even place.
 * @param {DataView} view
 */
const bytesOf = (view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
