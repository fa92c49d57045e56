/**
 * Reads a tensor from a file with one serialized `TensorProto`.
 *
 * Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
 */

import { dtypeOf } from "../dtypes.js";
import { GoldenError, oneLine } from "../errors.js";
import { BYTES, FIXED32, FIXED64, VARINT, readFields, readNumbers } from "../protobuf-wire.js";
import { Tensor, product } from "../tensor.js";

/** @typedef {import("../dtypes.js").TypedArray} TypedArray */
/** @typedef {Map<number, Uint8Array[]>} Fields */

const [DIMS, DATA_TYPE, SEGMENT, NAME, RAW, EXTERNAL, LOCATION] = [1, 2, 3, 8, 9, 13, 14];
const [FLOATS, INT32S, STRINGS, INT64S, DOUBLES, UINT64S] = [4, 5, 6, 7, 10, 11];
const VALUES = [FLOATS, INT32S, STRINGS, INT64S, RAW, DOUBLES, UINT64S];
/** The limit of numpy 1. */
const MOST_AXES = 32;

/**
 * TensorProto.DataType to numpy's name, and the field that holds the values if they are not raw.
 * @type {ReadonlyMap<number, readonly [string, number]>}
 */
const TYPES = new Map([
  [1, ["float32", FLOATS]],
  [2, ["uint8", INT32S]],
  [3, ["int8", INT32S]],
  [4, ["uint16", INT32S]],
  [5, ["int16", INT32S]],
  [6, ["int32", INT32S]],
  [7, ["int64", INT64S]],
  [9, ["bool", INT32S]],
  [10, ["float16", INT32S]], // the 16 bits as a number
  [11, ["float64", DOUBLES]],
  [12, ["uint32", UINT64S]],
  [13, ["uint64", UINT64S]],
]);

/** The wire types of each field: numbers one by one, or packed as bytes. */
const WIRES = {
  [DIMS]: [VARINT, BYTES],
  [DATA_TYPE]: [VARINT],
  [SEGMENT]: [BYTES],
  [FLOATS]: [FIXED32, BYTES],
  [INT32S]: [VARINT, BYTES],
  [STRINGS]: [BYTES],
  [INT64S]: [VARINT, BYTES],
  [NAME]: [BYTES],
  [RAW]: [BYTES],
  [DOUBLES]: [FIXED64, BYTES],
  [UINT64S]: [VARINT, BYTES],
  [EXTERNAL]: [BYTES],
  [LOCATION]: [VARINT],
};

/**
 * Read one tensor.
 *
 * @param {Uint8Array} content The bytes of a `.pb` file.
 * @param {string} source Where they were read from, for the error message.
 * @returns {[string, Tensor]} The name, which may be empty, and the values.
 * @throws {GoldenError} If the bytes are cut off or not a tensor, its dtype is not read here, or
 *   its values lie in another file.
 */
export function readTensor(content, source) {
  try {
    return parseTensor(content);
  } catch (error) {
    if (!(error instanceof RangeError) && !(error instanceof TypeError)) throw error;
    throw new GoldenError(
      `${source} cannot be read as an ONNX tensor: ${oneLine(error)}: write or copy it again`,
      { cause: error },
    );
  }
}

/**
 * @param {Uint8Array} content
 * @returns {[string, Tensor]}
 */
export function parseTensor(content) {
  const fields = /** @type {Fields} */ (new Map());
  for (const [number, payload] of readFields(content, WIRES)) {
    const before = fields.get(number);
    if (before === undefined) fields.set(number, [payload]);
    else before.push(payload);
  }
  checkWhole(fields);
  const type = typeOf(fields);
  const dims = numbersOf(fields, DIMS).map(Number);
  if (dims.length > MOST_AXES || dims.some((size) => size < 0)) {
    throw new RangeError(
      `expected up to ${MOST_AXES} sizes of 0 or more, got dims [${dims.slice(0, 40).join(", ")}]`,
    );
  }
  const name = new TextDecoder("utf-8", { fatal: true }).decode(fields.get(NAME)?.at(-1));
  const values = decode(fields, type);
  if (values.length !== product(dims)) {
    throw new RangeError(
      `expected ${product(dims)} values for dims [${dims.join(", ")}], got ${values.length}`,
    );
  }
  return [name, new Tensor(type[0], values, dims)];
}

/**
 * @param {Fields} fields
 * @param {number} field
 */
function numbersOf(fields, field) {
  return readNumbers(fields.get(field) ?? []);
}

/** @param {Fields} fields */
function checkWhole(fields) {
  if (fields.has(EXTERNAL) || numbersOf(fields, LOCATION).some((one) => one !== 0n)) {
    throw new RangeError("expected the values in the file itself, found external data");
  }
  if (fields.has(SEGMENT)) {
    throw new RangeError("expected one whole tensor, found a segment of one");
  }
}

/** @param {Fields} fields */
function typeOf(fields) {
  const kind = numbersOf(fields, DATA_TYPE).at(-1);
  const type = TYPES.get(Number(kind));
  if (type !== undefined) return type;
  const known = [...TYPES].map(([number, [dtype]]) => `${number} (${dtype})`);
  throw new RangeError(`expected data_type ${known.join(", ")}, got ${kind ?? "none"}`);
}

/**
 * Return the values, flat.
 *
 * @param {Fields} fields
 * @param {readonly [string, number]} type
 * @returns {TypedArray}
 */
function decode(fields, [dtype, home]) {
  const full = VALUES.filter((field) => fields.get(field)?.some((part) => part.length > 0));
  full.sort((a, b) => a - b);
  const [field] = full;
  if (field === undefined) return new (arrayOf(dtype))(0);
  if (full.length > 1 || (field !== RAW && field !== home)) {
    throw new RangeError(
      `expected ${dtype} values in field ${RAW} or ${home}, got fields [${full.join(", ")}]`,
    );
  }
  const payloads = fields.get(field) ?? [];
  if (field === RAW) return ofBytes(payloads.slice(-1), dtype);
  if (home === FLOATS || home === DOUBLES) return ofBytes(payloads, dtype);
  return fitting(readNumbers(payloads), dtype, home);
}

/**
 * @param {readonly Uint8Array[]} payloads Little-endian values.
 * @param {string} dtype
 */
function ofBytes(payloads, dtype) {
  const type = arrayOf(dtype);
  const bytes = new Uint8Array(payloads.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of payloads) {
    bytes.set(part, at);
    at += part.length;
  }
  if (bytes.length % new type(1).byteLength) {
    throw new RangeError(`expected ${dtype} values, got ${bytes.length} bytes`);
  }
  const values = new type(bytes.buffer);
  const wrong = dtype === "bool" ? bytes.find((byte) => byte > 1) : undefined;
  if (wrong !== undefined) throw new RangeError(`expected ${dtype} values, got ${wrong}`);
  return values;
}

/**
 * Return numbers as `dtype`, if it holds all of them.
 *
 * @param {readonly bigint[]} numbers
 * @param {string} dtype
 * @param {number} home
 */
function fitting(numbers, dtype, home) {
  const values = new (arrayOf(dtype))(numbers.length);
  numbers.forEach((sent, index) => {
    // As protobuf does: of a 32-bit field the lower half of what was sent.
    const number = home === INT32S ? BigInt.asIntN(32, sent) : sent;
    const wide = dtype === "int64" || dtype === "uint64";
    const unsigned = home === UINT64S ? BigInt.asUintN(64, number) : number;
    values[index] = /** @type {never} */ (wide ? unsigned : Number(unsigned));
    const kept = dtype === "bool" ? unsigned === 0n || unsigned === 1n : true;
    if (!kept || BigInt(/** @type {number} */ (values[index])) !== unsigned) {
      throw new RangeError(`expected ${dtype} values, got ${unsigned}`);
    }
  });
  return values;
}

/** @param {string} dtype One of `TYPES`. */
function arrayOf(dtype) {
  const known = dtypeOf(dtype);
  if (known === undefined) throw new RangeError(`${dtype} is not read here`);
  return known.array;
}
