// The links to the page one is on, said to screen readers too: the app's style marks them by colour alone.

const LINKS = '[class*="st-key-nav_"] a, [class*="st-key-tab_"] a';
const HERE = ".st-key-nav_here, .st-key-tab_here";

let watching = false;
let frame = 0;

/** Mark the links now, and again whenever the page changes. */
export function keepMarked() {
  markHere();
  if (watching) return;
  watching = true;
  const observer = new MutationObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(markHere);
  });
  observer.observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
}

/** Mark the links to the page one is on, and no others. */
export function markHere() {
  for (const link of document.querySelectorAll(LINKS))
    if (link.closest(HERE)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
}
