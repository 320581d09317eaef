// Stands between a page of ours and BertViz's own script, which follows it: unpacks the numbers, and answers the few
// calls that script makes to RequireJS and jQuery. No token text ever becomes markup here.

/** @typedef {{ shape: number[], lower: boolean, bytes: string }} Packed  float32 in base64; lower: of a lower triangle */

/**
 * The app's colours (colours.js): blue is attention, orange what is chosen or above zero, blue in the same pair below.
 * Blues alternate, so that neighbouring heads are told apart.
 */
const COLOURS = {
  light: {
    ...{ heads: ["#3f86c0", "#13528f", "#6ea8d8"], chosen: "#b8430a" },
    ...{ attn: "#13528f", connector: "#13528f", neg: "#3f86c0", pos: "#d97a2b" },
    ...{ text_highlight_left: "#fbdcc8", text_highlight_right: "#8cbbdf" },
  },
  dark: {
    ...{ heads: ["#3f92d2", "#8cc8f5", "#5c9fd0"], chosen: "#ff9a62" },
    ...{ attn: "#8cc8f5", connector: "#8cc8f5", neg: "#4c9fe0", pos: "#dd8136" },
    ...{ text_highlight_left: "#6b3413", text_highlight_right: "#1f5c94" },
  },
};

/** What BertViz's script looks for in the window. */
const bertviz = /** @type {any} */ (window);

/**
 * Return packed numbers as nested arrays.
 * @param {Packed} packed
 */
function unpack({ shape, lower, bytes }) {
  const flat = new Float32Array(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer);
  let at = 0;
  /** @type {(axis: number, index: number) => unknown[]} */
  const build = (axis, index) => {
    const size = shape[axis];
    if (axis < shape.length - 1) return Array.from({ length: size }, (_, i) => build(axis + 1, i));
    const row = new Array(size).fill(0);
    const stored = lower ? index + 1 : size;
    for (let i = 0; i < stored; i++) row[i] = flat[at++];
    return row;
  };
  return build(0, 0);
}

/**
 * Return what jQuery would: the elements found or made, with the methods that BertViz calls.
 * @param {Element | string} what
 */
function jQueryStandIn(what) {
  /** @type {any[]} */
  const found = [];
  if (typeof what !== "string") found.push(what);
  else if (what.startsWith("<")) found.push(document.createElement(what.replace(/\W/g, "")));
  else found.push(...document.querySelectorAll(what));
  const each = (/** @type {(e: any) => void} */ act) => {
    found.forEach(act);
    return self;
  };
  /** @type {any} */
  const self = {
    found,
    empty: () => each((e) => e.replaceChildren()),
    append: (/** @type {{ found: Element[] }} */ other) => each((e) => e.append(...other.found)),
    val: (/** @type {string} */ value) =>
      each((e) => {
        e.value = value;
      }),
    text: (/** @type {string} */ value) =>
      each((e) => {
        e.textContent = value;
      }),
    attr: (/** @type {string} */ name, /** @type {string} */ value) => each((e) => e.setAttribute(name, value)),
    on: (/** @type {string} */ kind, /** @type {EventListener} */ act) => each((e) => e.addEventListener(kind, act)),
    change: () => each((e) => e.dispatchEvent(new Event("change"))),
  };
  return self;
}

bertviz.bertviz_params = JSON.parse(document.getElementById("data")?.textContent ?? "");
for (const part of Object.values(bertviz.bertviz_params.attention))
  for (const name of ["attn", "queries", "keys", "allowed"]) if (part[name]) part[name] = unpack(part[name]);
bertviz.bertviz_params.display_mode = document.documentElement.dataset.theme;
bertviz.bertviz_colours = COLOURS[bertviz.bertviz_params.display_mode === "dark" ? "dark" : "light"];
// Of the head view a colour for each head, of the model view ten for its layers.
bertviz.d3.schemeCategory10 = Array.from({ length: bertviz.bertviz_params.count ?? 10 }, (_, at) => {
  const { heads, chosen } = bertviz.bertviz_colours;
  return at === bertviz.bertviz_params.chosen ? chosen : heads[bertviz.bertviz_params.count ? at % heads.length : 0];
});
bertviz.require = { config() {} };
bertviz.requirejs = (/** @type {unknown} */ _names, /** @type {(jquery: unknown, d3: unknown) => void} */ run) =>
  run(jQueryStandIn, bertviz.d3);
