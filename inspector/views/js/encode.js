// The reverse of payload.js: a canvas's message made in the browser, of a saved page's numbers.

/**
 * Return the message of a header and its numbers' bytes, the reverse of `decode`.
 * @param {object} header
 * @param {Uint8Array} numbers
 */
export function encode(header, numbers) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = text.length + ((4 - (text.length % 4)) % 4);
  const bytes = new Uint8Array(4 + length + numbers.length).fill(32); // spaces between header and numbers
  new DataView(bytes.buffer).setUint32(0, length, true);
  bytes.set(text, 4);
  bytes.set(numbers, 4 + length);
  return bytes;
}
