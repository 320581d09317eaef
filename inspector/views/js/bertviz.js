// Stands between a page of ours and BertViz's own script, which follows it: unpacks the numbers, and answers the few
// calls that script makes to RequireJS and jQuery. No token text ever becomes markup here.

/** @typedef {{ shape: number[], lower: boolean, bytes: string }} Packed  float32 in base64; lower: of a lower triangle */

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
bertviz.require = { config() {} };
bertviz.requirejs = (/** @type {unknown} */ _names, /** @type {(jquery: unknown, d3: unknown) => void} */ run) =>
  run(jQueryStandIn, bertviz.d3);
