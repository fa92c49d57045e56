/**
 * Reads the wire format of protobuf: https://protobuf.dev/programming-guides/encoding
 */

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;
const ANY = [VARINT, FIXED64, BYTES, FIXED32];

/**
 * One field: its number, and its payload, a view of the message; that of a varint is its bytes.
 * @typedef {readonly [number: number, payload: Uint8Array]} Field
 */

/**
 * Read the fields of a message.
 *
 * @param {Uint8Array} content A serialized message.
 * @param {Readonly<Record<number, readonly number[]>>} [wires] The wire types that are allowed, by
 *   field number; a field that is not listed may have any of them.
 * @returns {Generator<Field, void, void>}
 * @throws {RangeError} If the message is cut off, or a field has another wire type.
 */
export function* readFields(content, wires = {}) {
  let at = 0;
  while (at < content.length) {
    const [key, start] = varint(content, at);
    const [number, wire] = [Number(key >> 3n), Number(key & 7n)];
    if (number === 0 || !(wires[number] ?? ANY).includes(wire)) {
      throw new RangeError(`field ${number} at byte ${at} has an encoding that ONNX does not use`);
    }
    const [from, end] = span(content, start, wire);
    if (end > content.length) {
      throw new RangeError(`the data is cut off in field ${number}, which ends at byte ${end}`);
    }
    yield [number, content.subarray(from, end)];
    at = end;
  }
}

/**
 * Return where the payload of a field begins and ends.
 *
 * @param {Uint8Array} content
 * @param {number} start The byte after the key.
 * @param {number} wire
 * @returns {[number, number]}
 */
function span(content, start, wire) {
  if (wire === VARINT) return [start, varint(content, start)[1]];
  if (wire !== BYTES) return [start, start + (wire === FIXED64 ? 8 : 4)];
  const [size, from] = varint(content, start);
  return [from, from + Number(size)];
}

/**
 * Return the varints of all payloads, as signed 64-bit numbers.
 *
 * @param {Iterable<Uint8Array>} payloads
 * @returns {bigint[]}
 */
export function readNumbers(payloads) {
  const found = [];
  for (const payload of payloads) {
    let at = 0;
    while (at < payload.length) {
      const [number, next] = varint(payload, at);
      found.push(BigInt.asIntN(64, number));
      at = next;
    }
  }
  return found;
}

/**
 * Return the number that starts at byte `at`, and the byte after it.
 *
 * @param {Uint8Array} content
 * @param {number} at
 * @returns {[bigint, number]}
 */
export function varint(content, at) {
  let number = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = content[at];
    if (byte === undefined) {
      throw new RangeError(`the data is cut off at byte ${at}, in the middle of a number`);
    }
    number |= BigInt(byte & 0x7f) << shift;
    at += 1;
    if (byte < 0x80) return [BigInt.asUintN(64, number), at];
  }
  throw new RangeError(`the number before byte ${at} is longer than 10 bytes`);
}
