// Elements found and made. No text becomes markup here.

/**
 * Return the first element that a selector finds; a skeleton without it is a mistake of ours.
 * @param {ParentNode} parent
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function find(parent, selector) {
  const found = parent.querySelector(selector);
  if (!found) throw new Error(`There is no element "${selector}" here.`);
  return /** @type {HTMLElement} */ (found);
}

/**
 * Return a new element. Its text is never read as HTML: a token may be "<img onerror=...>".
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} className
 * @param {Element} parent
 * @param {string} [text]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, className, parent, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}
