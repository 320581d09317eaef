// The arithmetic of the softmax page: numbers read from text, their softmax, how widely it is spread.

/**
 * Return each number's share of the sum of exponentials. The largest is taken off first, so that none overflows.
 * @param {number[]} numbers
 */
export function softmax(numbers) {
  const largest = Math.max(...numbers);
  const exponentials = numbers.map((number) => Math.exp(number - largest));
  const total = sum(exponentials);
  return exponentials.map((exponential) => exponential / total);
}

/**
 * Return the sum of numbers.
 * @param {number[]} numbers
 */
export const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/**
 * Return how widely shares are spread, in bits.
 * @param {number[]} shares
 */
export const entropy = (shares) => -sum(shares.map((share) => (share > 0 ? share * Math.log2(share) : 0)));

/**
 * Return the number that a text says.
 * @param {string} text
 * @param {number} limit  how far from zero it may be
 * @param {string} next  what to do where it is farther
 * @throws {Error} a sentence for the reader, where it says none
 */
export function numberIn(text, limit, next = "type a smaller number") {
  const shown = text.length > 20 ? `${text.slice(0, 19)}…` : text;
  const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (Number.isNaN(number)) throw new Error(`“${shown}” is not a number: write it like 1.5, -2 or 3e2.`);
  if (Math.abs(number) > limit) throw new Error(`“${shown}” is beyond ±${limit.toLocaleString("en")}: ${next}.`);
  return number;
}

/**
 * Return the numbers in a text, separated by commas, semicolons or white space.
 * @param {string} text
 * @param {{ most: number, largest: number }} limits  how many they may be, and how large
 * @throws {Error} a sentence for the reader
 */
export function numbersIn(text, { most, largest }) {
  const plain = text.replaceAll("−", "-").replace(/[[\]()]/g, " ");
  const pieces = plain.split(/[\s,;]+/).filter(Boolean);
  if (!pieces.length) throw new Error("There are no numbers: type some, for example 1, 1.1.");
  if (pieces.length > most) throw new Error(`There are ${pieces.length} numbers, more than ${most}: leave some out.`);
  return pieces.map((piece) => numberIn(piece, largest, "type a smaller number, and use the scale"));
}

/**
 * Return a number with six significant digits, without trailing zeros.
 * @param {number} number
 */
export const rounded = (number) => String(Number(number.toPrecision(6))).replace("-", "−");
