// A page without a browser: happy-dom for elements, and a canvas that writes down what is drawn on it.

import { Window } from "happy-dom";
import { encode } from "../../inspector/views/js/encode.js";

const window = new Window({ width: 1000, height: 800, url: "http://localhost/" });
window.setTimeout = (...given) => setTimeout(...given); // so that a test's clock runs these too
Object.assign(globalThis, {
  window,
  document: window.document,
  location: window.location,
  history: window.history,
  sessionStorage: window.sessionStorage,
  localStorage: window.localStorage,
  HTMLElement: window.HTMLElement,
  HTMLInputElement: window.HTMLInputElement,
  ShadowRoot: window.ShadowRoot,
  Option: OptionOf,
  requestAnimationFrame: () => 0,
  cancelAnimationFrame: () => {},
  matchMedia: window.matchMedia.bind(window),
  getComputedStyle: window.getComputedStyle.bind(window),
  ResizeObserver: class {
    observe() {}
    disconnect() {}
  },
  ImageData: class {
    constructor(width, height) {
      Object.assign(this, { width, height, data: new Uint8ClampedArray(4 * width * height) });
    }
  },
});

/** Return a context on which every text is 6 pixels a letter wide and every pixel has the colour last filled with. */
function contextOf() {
  const drawn = [];
  const answers = {
    drawn,
    measureText: (text) => ({ width: 6 * text.length }),
    getImageData: () => ({ data: target.fillStyle === "#000000" ? [0, 0, 0, 255] : [255, 255, 255, 255] }),
  };
  const target = {};
  return new Proxy(target, {
    get: (_, name) => answers[name] ?? target[name] ?? ((...given) => void drawn.push([name, ...given])),
  });
}

window.HTMLCanvasElement.prototype.getContext = function () {
  this.context ??= contextOf();
  return this.context;
};

/** Return a root with a skeleton in it whose first element has this width. */
export function rootWith(skeleton, width = 900) {
  const root = document.createElement("div");
  root.innerHTML = skeleton;
  document.body.append(root);
  Object.defineProperty(root.firstElementChild, "clientWidth", { get: () => width });
  return root;
}

/** Return a message whose numbers are a Float32Array or bytes. */
export const message = (header, numbers) => encode(header, new Uint8Array(numbers.buffer));

/** Return an event of a key, and remember whether its default was prevented. */
export function keyEvent(key) {
  const event = { key, prevented: false, preventDefault: () => (event.prevented = true) };
  return event;
}

export const PARTS = '<canvas></canvas><div class="tip" hidden></div><p class="readout"></p>';

/** What `new Option(text, value)` makes. */
function OptionOf(text, value) {
  return Object.assign(window.document.createElement("option"), { textContent: text, value });
}

let timers = []; // [id, when, what]
let [now, made] = [0, 0];

/** Stop the clock until the test ends: it goes on where `tick` is called. (The runner's own is an experiment.) */
export function stopClock(t) {
  const { setTimeout, clearTimeout } = globalThis;
  timers = [];
  globalThis.setTimeout = (what, wait = 0) => {
    timers.push([++made, now + wait, what]);
    return made;
  };
  globalThis.clearTimeout = (id) => {
    timers = timers.filter((each) => each[0] !== id);
  };
  t.after(() => Object.assign(globalThis, { setTimeout, clearTimeout }));
}

/** Let the stopped clock go on by some milliseconds. */
export function tick(wait) {
  const until = now + wait;
  for (;;) {
    const [next] = timers.filter((each) => each[1] <= until).sort((a, b) => a[1] - b[1]);
    if (!next) break;
    timers = timers.filter((each) => each !== next);
    now = next[1];
    next[2]();
  }
  now = until;
}
