/** The dtypes of tensors by numpy's names, and the typed arrays that hold their values. */

/**
 * @typedef {Float32Array | Float64Array | Int8Array | Int16Array | Int32Array | BigInt64Array |
 *   Uint8Array | Uint16Array | Uint32Array | BigUint64Array} TypedArray
 */
/**
 * @typedef {object} Dtype
 * @property {{ new (length: number): TypedArray;
 *   new (buffer: ArrayBufferLike, offset?: number, length?: number): TypedArray }} array
 * @property {"f" | "i" | "u" | "b"} kind As numpy's `dtype.kind`.
 * @property {string} npy How a `.npy` file spells it.
 */

/** @type {{ readonly [name: string]: Dtype }} */
export const DTYPES = Object.freeze({
  float32: { array: Float32Array, kind: "f", npy: "<f4" },
  float64: { array: Float64Array, kind: "f", npy: "<f8" },
  float16: { array: Uint16Array, kind: "f", npy: "<f2" },
  int8: { array: Int8Array, kind: "i", npy: "|i1" },
  int16: { array: Int16Array, kind: "i", npy: "<i2" },
  int32: { array: Int32Array, kind: "i", npy: "<i4" },
  int64: { array: BigInt64Array, kind: "i", npy: "<i8" },
  uint8: { array: Uint8Array, kind: "u", npy: "|u1" },
  uint16: { array: Uint16Array, kind: "u", npy: "<u2" },
  uint32: { array: Uint32Array, kind: "u", npy: "<u4" },
  uint64: { array: BigUint64Array, kind: "u", npy: "<u8" },
  bool: { array: Uint8Array, kind: "b", npy: "|b1" },
});

/**
 * Return the dtype of that name, or undefined.
 *
 * @param {string} name
 */
export function dtypeOf(name) {
  return Object.hasOwn(DTYPES, name) ? DTYPES[name] : undefined;
}

/**
 * Return the dtype of what a typed array holds; undefined for what is no such array.
 *
 * @param {unknown} array
 * @returns {string | undefined}
 */
export function dtypeOfArray(array) {
  if (!ArrayBuffer.isView(array) || array instanceof DataView) return undefined;
  const name = array.constructor.name;
  if (name === "Float16Array") return "float16";
  for (const [dtype, { array: type }] of Object.entries(DTYPES)) {
    if (dtype !== "float16" && dtype !== "bool" && array instanceof type) return dtype;
  }
  return undefined;
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/**
 * Return the number that 16 bits hold.
 *
 * @param {number} bits
 */
export function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * Return the 16 bits of a number, rounded to the nearest, and to even between two.
 *
 * @param {number} value
 */
export function numberToHalf(value) {
  if (Number.isNaN(value)) return 0x7e00;
  scratch[0] = value;
  const sign = ((scratchBits[0] ?? 0) >>> 16) & 0x8000;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundToEven(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  const scale = exponentOf(size, exponent);
  const steps = roundToEven((size / 2 ** scale - 1) * 1024);
  return sign | ((scale + 15) * 1024 + steps);
}

/**
 * Return the power of two that a number begins at, as `log2` may be off by one next to a power.
 *
 * @param {number} size
 * @param {number} guess
 */
function exponentOf(size, guess) {
  if (size < 2 ** guess) return guess - 1;
  return size >= 2 ** (guess + 1) ? guess + 1 : guess;
}

/** @param {number} value 0 or more. */
function roundToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
