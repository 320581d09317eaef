// After BertViz has drawn: its picture shrinks to a narrow page, what the neuron view shows by hovering alone gets a
// button, the chosen head gets its colour, one token is chosen, and a page around this one learns how high it is.

const part = (/** @type {string} */ selector) => /** @type {SVGElement} */ (document.querySelector(`#vis ${selector}`));

/**
 * Let the picture shrink with the page. BertViz draws at a fixed width and cuts off what does not fit.
 * @param {number} width  in pixels, as BertViz draws it
 * @param {number} least  below this many pixels the page scrolls instead
 */
function fit(width, least) {
  const svg = part("svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${Number.parseFloat(svg.getAttribute("height") ?? "")}`);
  Object.assign(svg.style, { width: "100%", height: "auto", maxWidth: `${width}px`, minWidth: `${least}px` });
}

/**
 * Tie the page's button to BertViz's own switch of the neuron view, and choose the last token.
 * @param {HTMLElement} button
 */
function neuron(button) {
  const isOpen = () => part("#expanded").getAttribute("visibility") === "visible";
  const side = () => `#${isOpen() ? "expanded" : "collapsed"} #leftText > g`;
  const say = () => {
    button.textContent = isOpen() ? "Hide queries and keys" : "Show queries and keys";
    if (isOpen()) fit(1012, 800);
    else fit(424, 340);
  };
  const choose = () =>
    [...document.querySelectorAll(`#vis ${side()}`)].pop()?.dispatchEvent(new MouseEvent("mouseover"));
  // BertViz's own switch, the last shape of each token, is seen only while the pointer is on that token.
  const turn = () => {
    part(`${side()} > rect:last-child`).dispatchEvent(new MouseEvent("click", { bubbles: true }));
    choose();
  };
  document.getElementById("vis")?.addEventListener("click", say); // either switch's event rises to here
  button.onclick = turn;
  if (innerWidth >= 800) turn();
  else choose();
  say();
}

/**
 * Draw the chosen head of the model view in the colour of what is chosen.
 * @param {[number, number] | null} at  its row and column
 */
function mark(at) {
  const lines = at ? document.querySelectorAll(`g:has(> #attn_background_${at[0]}_${at[1]}) line`) : [];
  for (const line of lines) line.setAttribute("stroke", /** @type {any} */ (window).bertviz_colours.chosen);
}

mark(/** @type {any} */ (window).bertviz_params.chosen_at ?? null);
const button = document.getElementById("expand");
if (button) neuron(button);
else if (document.body.className === "model") fit(970, 640);

new ResizeObserver(() => {
  const height = Math.ceil(document.body.getBoundingClientRect().height + 16);
  if (parent !== window) parent.postMessage({ bertviz_height: height }, "*");
}).observe(document.body);
document.documentElement.dataset.drawn = "yes";
