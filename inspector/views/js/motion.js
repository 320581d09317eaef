// A value that moves from one end to the other while one watches, and jumps there for whoever wants no motion.

/**
 * Move a slider to its end, and stop where it is asked to. Who prefers reduced motion sees the end at once.
 * @param {HTMLInputElement} slider
 * @param {HTMLButtonElement} button  plays and pauses
 * @param {{ seconds: number, onChange: () => void }} how
 * @returns {() => void} stops the motion
 */
export function player(slider, button, { seconds, onChange }) {
  const [first, last] = [Number(slider.min), Number(slider.max)];
  let frame = 0;
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    button.textContent = "Play";
  };
  const set = (/** @type {number} */ value) => {
    slider.value = String(value);
    onChange();
  };
  button.textContent = "Play";
  button.addEventListener("click", () => {
    if (frame) return stop();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return set(Number(slider.value) < last ? last : first);
    const from = Number(slider.value) < last ? Number(slider.value) : first;
    const began = performance.now();
    button.textContent = "Pause";
    const step = (/** @type {number} */ now) => {
      const value = from + ((now - began) / 1000 / seconds) * (last - first);
      set(Math.min(value, last));
      if (value >= last || !slider.isConnected) return stop();
      frame = requestAnimationFrame(step);
    };
    frame = requestAnimationFrame(step);
  });
  slider.addEventListener("input", () => {
    stop();
    onChange();
  });
  return stop;
}
