// After BertViz has drawn: its picture shrinks to a narrow page, what the neuron view shows by hovering alone gets a
// button, one token is chosen, and a page around this one learns how high it is.
const part = (selector) => document.querySelector(`#vis ${selector}`);
const body = document.body;

// BertViz draws at a fixed width and cuts off what does not fit. Below `least` pixels the page scrolls instead.
function fit(width, least) {
  const svg = part("svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${parseFloat(svg.getAttribute("height"))}`);
  Object.assign(svg.style, { width: "100%", height: "auto", maxWidth: `${width}px`, minWidth: `${least}px` });
}

const button = document.getElementById("expand");
if (button) {
  const isOpen = () => part("#expanded").getAttribute("visibility") === "visible";
  const side = () => `#${isOpen() ? "expanded" : "collapsed"} #leftText > g`;
  const say = () => {
    button.textContent = isOpen() ? "Hide queries and keys" : "Show queries and keys";
    if (isOpen()) fit(1012, 800);
    else fit(424, 340);
  };
  const choose = () => [...document.querySelectorAll(`#vis ${side()}`)].pop().dispatchEvent(new MouseEvent("mouseover"));
  // BertViz's own switch, the last shape of each token, is seen only while the pointer is on that token.
  const turn = () => {
    part(`${side()} > rect:last-child`).dispatchEvent(new MouseEvent("click", { bubbles: true }));
    choose();
  };
  document.getElementById("vis").addEventListener("click", say); // either switch's event rises to here
  button.onclick = turn;
  if (innerWidth >= 800) turn();
  else choose();
  say();
} else if (body.className === "model") fit(970, 640);

new ResizeObserver(() => {
  if (parent !== window) parent.postMessage({ bertviz_height: Math.ceil(body.getBoundingClientRect().height + 16) }, "*");
}).observe(body);
document.documentElement.dataset.drawn = "yes";
