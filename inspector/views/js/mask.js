// The arithmetic of a mask that is laid on step by step: the more is taken from a forbidden score, the less weight it has.

/**
 * Return weights where `minus` has been subtracted from every score that the mask forbids. A weight is a share of
 * e^score, so each forbidden one shrinks by e^-minus, and all of its row share what that sets free (an attention sink too,
 * to whose share the row's weights add up to 1).
 * @param {Float32Array} free  [n, n], every key allowed
 * @param {Float32Array} masked  the same under the mask, NaN where it forbids
 * @param {number} n
 * @param {number} minus  from 0, no mask, to Infinity, the mask as it is
 */
export function masking(free, masked, n, minus) {
  if (minus === 0) return free;
  if (minus === Infinity) return masked;
  const left = Math.exp(-minus);
  const found = new Float32Array(n * n);
  for (let at = 0; at < n * n; at += n) {
    const total = 1 - (1 - left) * forbidden(free, masked, n, at / n);
    for (let i = at; i < at + n; i++) found[i] = (Number.isNaN(masked[i]) ? free[i] * left : free[i]) / total;
  }
  return found;
}

/**
 * Return how much of a row's weight is where the mask forbids looking.
 * @param {Float32Array} weights  [n, n]
 * @param {Float32Array} masked  [n, n], NaN where the mask forbids
 * @param {number} n
 * @param {number} row
 */
export function forbidden(weights, masked, n, row) {
  let sum = 0;
  for (let i = row * n; i < (row + 1) * n; i++)
    if (Number.isNaN(masked[i]) && !Number.isNaN(weights[i])) sum += weights[i];
  return sum;
}
