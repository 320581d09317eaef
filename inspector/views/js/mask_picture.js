// One head's map while its mask is laid on and taken off, computed here.

import { element, find } from "./elements.js";
import { showMap } from "./heatmap.js";
import { forbidden, masking } from "./mask.js";
import { player } from "./motion.js";
import { decode } from "./payload.js";

/** @import { MapHeader, Root } from "./types.js" */

const MOST = 16; // subtracted at the slider's end but one: e^-16 is less than a weight shows; the end itself is the mask

/** @type {WeakMap<Root, { stop: () => void, version: string, at: string }>} */
const running = new WeakMap();

/**
 * Draw the map and its slider.
 * @param {Root} root  has a map's skeleton and an element .controls
 * @param {Uint8Array} data  a map's header, then its numbers without and with the mask
 */
export function maskPicture(root, data) {
  const before = running.get(root);
  before?.stop();
  /** @type {{ header: MapHeader, body: Uint8Array<ArrayBuffer> }} */
  const { header, body } = decode(data);
  const [n] = header.shape;
  const numbers = new Float32Array(body.buffer, body.byteOffset);
  const [free, masked] = [numbers.subarray(0, n * n), numbers.subarray(n * n)];
  const bar = find(root, ".controls");
  bar.replaceChildren();
  const button = element("button", "", bar);
  button.type = "button";
  const slider = element("input", "", element("label", "slide", bar, "Subtracted from forbidden scores"));
  Object.assign(slider, { type: "range", min: "0", max: `${MOST}`, step: "any" });
  slider.value = before?.version === header.version ? before.at : `${MOST}`; // the same head in another theme
  const said = element("p", "said", bar);

  const draw = () => {
    const minus = Number(slider.value) >= MOST ? Infinity : Number(slider.value);
    const shown = masking(free, masked, n, minus);
    let sum = 0;
    for (let row = 0; row < n; row++) sum += forbidden(shown, masked, n, row) / n;
    const share = `${(100 * sum).toFixed(1)} %`;
    const step =
      minus === 0 ? "Mask off" : minus === Infinity ? "Mask on, minus infinity" : `Minus ${minus.toFixed(1)}`;
    slider.setAttribute("aria-valuetext", step);
    said.textContent = `${step}: ${minus === Infinity ? "nothing" : `on average ${share} of a row`} goes where the mask forbids looking.`;
    bar.dataset.share = String(sum);
    showMap(root, { ...header, masked: minus === Infinity ? header.masked : "" }, shown);
    running.set(root, { stop, version: header.version, at: slider.value });
  };
  const stop = player(slider, button, { seconds: 6, onChange: draw });
  draw();
}
