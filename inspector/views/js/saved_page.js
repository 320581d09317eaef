// What saved pages share: words from outside as text, numbers that lie in the page, a root for each canvas. No host is
// asked for anything.

import { element, find } from "./elements.js";

/** @import { SavedPage } from "./types.js" */

/**
 * Return what the page was told, and write its title, facts and footer.
 * @returns {SavedPage}
 */
export function openPage() {
  /** @type {SavedPage} */
  const page = JSON.parse(find(document, "#page").textContent);
  document.title = find(document, "h1").textContent = page.title;
  const facts = find(document, ".facts");
  for (const [name, text] of page.facts) {
    element("dt", "", facts, name);
    element("dd", "", facts, text);
  }
  for (const line of page.footer) element("p", "", find(document, "footer"), line);
  return page;
}

/**
 * Return the bytes that lie in the page under a name.
 * @param {string} id
 */
export const stored = (id) => Uint8Array.from(atob(find(document, `#${id}`).textContent), (c) => c.charCodeAt(0));

/**
 * Return a root for a canvas, with its skeleton and style, apart from the page.
 * @param {SavedPage} page
 * @param {"grid" | "heatmap" | "strips" | "explore"} name
 */
export function rootOf(page, name) {
  const root = find(document, `#${name}`).attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(page.styles[name]);
  root.adoptedStyleSheets = [style];
  const skeleton = /** @type {HTMLTemplateElement} */ (find(document, `#${name}-skeleton`));
  root.append(skeleton.content.cloneNode(true));
  return root;
}

/**
 * Draw now, and again whenever the reader's system changes between light and dark.
 * @param {() => void} draw
 */
export function drawInAnyTheme(draw) {
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
