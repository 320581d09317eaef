// A canvas's message: [u32 little-endian header length][JSON header, padded to 4 bytes][numbers]. payload.py writes it.

/**
 * Return the header and the numbers' bytes of a message.
 * @template Header
 * @param {Uint8Array | ArrayBuffer} data
 * @returns {{ header: Header, body: Uint8Array<ArrayBuffer> }}
 */
export function decode(data) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return { header, body: bytes.slice(4 + length) }; // a copy: aligned for a Float32Array
}
