// A saved page: the app's own canvases (heatmap, grid; written above this line) on the numbers that lie in the page.
// Asks no host for anything. Words from outside (tokens, prompt, model) go through textContent or a canvas only.

const page = JSON.parse(document.getElementById("page").textContent);

function stored(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// What Streamlit gives a component: a root of its own with the component's skeleton and style.
function stage(id) {
  const root = document.getElementById(id).attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(page.styles[id]);
  root.adoptedStyleSheets = [style];
  root.append(document.getElementById(`${id}-skeleton`).content.cloneNode(true));
  return root;
}

function encode(header, numbers) {
  let text = JSON.stringify(header);
  const length = new TextEncoder().encode(text).length;
  text += " ".repeat((4 - (length % 4)) % 4);
  const head = new TextEncoder().encode(text);
  const bytes = new Uint8Array(4 + head.length + numbers.length);
  new DataView(bytes.buffer).setUint32(0, head.length, true);
  bytes.set(head, 4);
  bytes.set(numbers, 4 + head.length);
  return bytes;
}

function words(tag, text, parent) {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
}

document.querySelector("h1").textContent = document.title = page.title;
for (const [name, text] of page.facts) {
  words("dt", name, document.querySelector(".facts"));
  words("dd", text, document.querySelector(".facts"));
}
for (const line of page.footer) words("p", line, document.querySelector("footer"));

const roots = { heatmap: page.styles.heatmap && stage("heatmap"), grid: page.styles.grid && stage("grid") };
const payload = stored("payload");
const details = page.details ? stored("details") : null;
let chosen = page.selected;

function detail([layer, head]) {
  const { header, numbers } = page.details;
  const [packing, start, end] = numbers[layer][head];
  const label = `Attention weights of layer ${layer}, head ${head}`;
  const version = `${layer}.${head}`;
  return encode({ ...header, packing, label, version }, details.subarray(start, end));
}

function choose(at) {
  chosen = at;
  const title = document.querySelector("h2");
  title.hidden = document.getElementById("heatmap").hidden = false;
  title.textContent = `Layer ${at[0]}, head ${at[1]}`;
  heatmap({ parentElement: roots.heatmap, data: detail(at) });
}

function show() {
  if (!roots.grid) return heatmap({ parentElement: roots.heatmap, data: payload });
  const setTriggerValue = (_, at) => details && choose(at);
  grid({ parentElement: roots.grid, data: payload, setTriggerValue });
  if (details) choose(chosen);
}

show();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
