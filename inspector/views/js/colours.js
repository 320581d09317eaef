// What the components share: bytes -> header and numbers, one state for each, theme, colours, texts, tooltip.
// Prefixed to each of them.

function decode(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return { header, body: bytes.slice(4 + length) }; // a copy: aligned for a Float32Array
}

// A component's function runs again for every change of data or theme: what it keeps in between, by its element.
const states = new WeakMap();

// `create(root)` gives a state with its `host`; `draw(state)` is called again when the host's width has changed.
function stateOf(root, create, draw) {
  if (states.has(root)) return states.get(root);
  const state = create(root);
  state.observer = new ResizeObserver(() => {
    if (state.header && Math.abs(state.host.clientWidth - state.width) >= 1) draw(state);
  });
  state.observer.observe(state.host);
  states.set(root, state);
  return state;
}

// Whether there is room to draw in: not while an element is folded away or hidden. The observer then calls again.
function onScreen(state) {
  if (!state.host.clientWidth) state.width = 0;
  return state.host.clientWidth > 0;
}

function forget(root) {
  if (states.has(root)) states.get(root).observer.disconnect();
  states.delete(root);
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const RAMPS = {
  light: {
    sequential: ["#fbfcfe", "#cfe1f2", "#8cbbdf", "#3f86c0", "#13528f", "#06264d"],
    diverging: ["#083a73", "#3f86c0", "#b9d5ea", "#fbfbfa", "#f5cda9", "#d97a2b", "#7a3503"],
    masked: "#dcdde1",
  },
  dark: {
    sequential: ["#0d1117", "#15304f", "#1f5c94", "#3f92d2", "#8cc8f5", "#f0f8ff"],
    diverging: ["#b5dcff", "#4c9fe0", "#1c4468", "#12161c", "#5c3613", "#dd8136", "#ffd9b0"],
    masked: "#363a42",
  },
};

// 256 colours between the stops of a ramp.
function table(stops) {
  const colours = stops.map(rgb);
  return Array.from({ length: 256 }, (_, i) => {
    const x = (i / 255) * (colours.length - 1);
    const at = Math.min(Math.floor(x), colours.length - 2);
    return colours[at].map((c, j) => Math.round(c + (colours[at + 1][j] - c) * (x - at)));
  });
}

function readTheme(element) {
  const style = getComputedStyle(element);
  const get = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  probe.canvas.width = probe.canvas.height = 1;
  probe.fillStyle = get("--st-background-color", "#ffffff");
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  const dark = 0.299 * r + 0.587 * g + 0.114 * b < 128;
  return {
    dark,
    text: get("--st-text-color", dark ? "#eee" : "#222"),
    background: get("--st-background-color", "#ffffff"),
    accent: get("--st-primary-color", "#c2410c"),
    border: get("--st-border-color", dark ? "#444" : "#ddd"),
    font: get("--st-font", "sans-serif"),
    ...RAMPS[dark ? "dark" : "light"],
  };
}

// Weight 0..1 -> position 0..1 on the colour ramp. log shows four decades: 0.0001 and below look alike.
const SCALES = {
  linear: { at: (w) => w, ticks: [0, 0.25, 0.5, 0.75, 1] },
  sqrt: { at: Math.sqrt, ticks: [0, 0.01, 0.1, 0.25, 0.5, 1] },
  log: { at: (w) => (w <= 1e-4 ? 0 : 1 + Math.log10(w) / 4), ticks: [1e-4, 1e-3, 1e-2, 0.1, 1] },
};

const level = (x) => Math.max(0, Math.min(255, Math.round(255 * x)));

const show = (x) => (x === 0 ? "0" : x.toPrecision(4).replace("-", "−"));

// As much of a text as there is room for.
function fit(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  const letters = Array.from(text);
  while (letters.length > 1 && ctx.measureText(letters.join("") + "…").width > room) letters.pop();
  return letters.join("") + "…";
}

function element(tag, className, parent, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text; // never innerHTML: a token may be "<img onerror=...>"
  if (parent) parent.appendChild(made);
  return made;
}

// Beside the pointer, and always whole inside the component.
function placeTip(tip, host, x, y) {
  tip.hidden = false;
  const width = tip.offsetWidth, height = tip.offsetHeight, room = host.clientWidth;
  const left = x + 14 + width <= room ? x + 14 : x - 14 - width;
  tip.style.left = `${Math.max(0, Math.min(left, room - width))}px`;
  tip.style.top = `${y - height - 12 >= 0 ? y - height - 12 : y + 16}px`;
}
