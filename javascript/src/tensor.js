/** `Tensor`: values with a dtype and a shape, as every call takes and gives them. */

import { DTYPES, dtypeOf, dtypeOfArray, halfToNumber, numberToHalf } from "./dtypes.js";
import { InputError } from "./errors.js";

/** @typedef {import("./dtypes.js").TypedArray} TypedArray */
/** @typedef {number | bigint | boolean | readonly NestedNumbers[]} NestedNumbers */
/**
 * What is taken for a tensor: a `Tensor`; a tensor of ONNX Runtime; a typed array, which has one
 * axis; numbers in arrays, which are int64, float64 or bool as numpy takes them.
 *
 * @typedef {Tensor | { readonly type: string, readonly data: unknown,
 *   readonly dims: readonly number[] } | TypedArray | NestedNumbers} TensorLike
 */
/** @typedef {new (message: string, options?: ErrorOptions) => Error} ErrorClass */

export class Tensor {
  /**
   * @param {string} dtype The name of a numpy dtype, such as `float32`. The values of float16 are
   *   their bits in a `Uint16Array`, those of bool 0 and 1 in a `Uint8Array`.
   * @param {TypedArray} data The values, the last axis side by side; used without a copy.
   * @param {readonly number[]} shape The size of each axis.
   * @throws {InputError} If the three do not fit together.
   */
  constructor(dtype, data, shape) {
    const known = dtypeOf(dtype);
    if (known === undefined) {
      throw new InputError(
        `dtype: expected ${Object.keys(DTYPES).join(", ")}, got ${String(dtype)}`,
      );
    }
    if (!(data instanceof known.array)) {
      throw new InputError(
        `data: expected a ${known.array.name} for ${dtype}, got ${typeName(data)}`,
      );
    }
    const sizes = [...shape];
    if (!sizes.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      throw new InputError(`shape: expected integers of 0 or more, got [${sizes.join(", ")}]`);
    }
    if (product(sizes) !== data.length) {
      throw new InputError(
        `shape: expected ${product(sizes)} value(s) for [${sizes.join(", ")}], got ${data.length}`,
      );
    }
    this.dtype = dtype;
    this.data = data;
    /** @type {readonly number[]} */
    this.shape = Object.freeze(sizes);
  }

  /**
   * Return a tensor of zeros.
   *
   * @param {string} dtype
   * @param {readonly number[]} shape
   */
  static zeros(dtype, shape) {
    const known = dtypeOf(dtype);
    if (known === undefined) throw new InputError(`dtype: ${dtype} has no values in JavaScript`);
    const size = product(shape);
    try {
      return new Tensor(dtype, new known.array(size), shape);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new InputError(
        `expected a tensor that fits into memory, got ${dtype}[${shape.join(", ")}]`,
        { cause: error },
      );
    }
  }

  /**
   * Return a tensor of numbers in arrays.
   *
   * @param {NestedNumbers} values
   * @param {string} [dtype] The dtype that they are converted to; without it, int64 for whole
   *   numbers, float64 for others, bool for booleans.
   */
  static from(values, dtype) {
    const made = asTensor("values", values, InputError);
    return dtype === undefined ? made : made.astype(dtype);
  }

  /** How many values there are. */
  get size() {
    return this.data.length;
  }

  /** A tensor with the same values in memory of its own. */
  copy() {
    const made = Tensor.zeros(this.dtype, this.shape);
    made.data.set(/** @type {never} */ (this.data)); // `slice` of a Buffer is a view
    return made;
  }

  /**
   * Return the same values with another shape, without a copy.
   *
   * @param {readonly number[]} shape
   */
  reshape(shape) {
    return new Tensor(this.dtype, this.data, shape);
  }

  /**
   * Return the values converted to another dtype, as numpy converts them.
   *
   * @param {string} dtype
   */
  astype(dtype) {
    const made = Tensor.zeros(dtype, this.shape);
    const convert = converter(this.dtype, dtype);
    const { data } = made;
    for (let index = 0; index < data.length; index++) {
      data[index] = /** @type {never} */ (convert(/** @type {number} */ (this.data[index])));
    }
    return made;
  }

  /** `float32[5, 2, 10]`, as messages show it. */
  toString() {
    return `${this.dtype}[${this.shape.join(", ")}]`;
  }
}

/**
 * Return `value` as a tensor.
 *
 * @param {string} name What it is, for messages.
 * @param {unknown} value
 * @param {ErrorClass} ErrorType The class to raise if it cannot be one.
 * @returns {Tensor}
 */
export function asTensor(name, value, ErrorType) {
  if (value instanceof Tensor) return value;
  const dtype = dtypeOfArray(value);
  if (dtype !== undefined) {
    const array = /** @type {TypedArray} */ (value);
    return new Tensor(dtype, ofBits(array, dtype), [array.length]);
  }
  if (isNumber(value) || Array.isArray(value)) return nested(name, value, ErrorType);
  return ofLibrary(name, value, ErrorType);
}

/**
 * Return a tensor of ONNX Runtime as one of ours.
 *
 * @param {string} name
 * @param {unknown} value
 * @param {ErrorClass} ErrorType
 */
function ofLibrary(name, value, ErrorType) {
  const other = /** @type {{ type?: unknown, data?: unknown, dims?: unknown } | null} */ (value);
  if (typeof other === "object" && typeof other?.type === "string" && Array.isArray(other.dims)) {
    try {
      const data = /** @type {TypedArray} */ (other.data);
      return new Tensor(other.type, ofBits(data, other.type), other.dims);
    } catch (error) {
      throw new ErrorType(`${name}: ${error instanceof Error ? error.message : ""}`, {
        cause: error,
      });
    }
  }
  throw new ErrorType(
    `${name}: expected an array, got ${typeName(value)}: pass a Tensor, a typed array, or ` +
      "numbers in arrays",
  );
}

/**
 * Return the number at an index: that of 16 bits, and that of a 64-bit integer as far as a number
 * holds it.
 *
 * @param {Tensor} tensor
 * @param {number} index
 */
export function numberAt(tensor, index) {
  const value = tensor.data[index] ?? NaN;
  return tensor.dtype === "float16" ? halfToNumber(Number(value)) : Number(value);
}

/**
 * Return the product of sizes.
 *
 * @param {readonly number[]} sizes
 */
export function product(sizes) {
  return sizes.reduce((total, size) => total * size, 1);
}

/**
 * Return the name of the class of a value, for messages.
 *
 * @param {unknown} value
 */
export function typeName(value) {
  if (value === null || value === undefined) return String(value);
  return typeof value === "object" ? (value.constructor?.name ?? "object") : typeof value;
}

/** @param {unknown} value */
function isNumber(value) {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
}

/**
 * Return a Float16Array of newer engines as its bits; any other array as it is.
 *
 * @param {TypedArray} array
 * @param {string} dtype
 */
function ofBits(array, dtype) {
  if (dtype !== "float16" || array instanceof Uint16Array || !ArrayBuffer.isView(array))
    return array;
  const view = /** @type {ArrayBufferView} */ (array);
  return new Uint16Array(view.buffer, view.byteOffset, view.byteLength / 2);
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {ErrorClass} ErrorType
 */
function nested(name, value, ErrorType) {
  const shape = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0]) {
    shape.push(inner.length);
    if (inner.length === 0) break;
  }
  const flat = /** @type {(number | bigint | boolean)[]} */ ([]);
  if (!collect(value, shape, 0, flat)) {
    throw new ErrorType(
      `${name}: expected an array, got ${typeName(value)}: its parts differ in length, or are ` +
        "not numbers",
    );
  }
  const dtype = dtypeOfNumbers(flat);
  const made = Tensor.zeros(dtype, shape);
  const wide = dtype === "int64";
  flat.forEach((item, index) => {
    made.data[index] = /** @type {never} */ (wide ? BigInt(item) : Number(item));
  });
  return made;
}

/**
 * Append the numbers of nested arrays to `flat`; false if their lengths are not those of `shape`.
 *
 * @param {unknown} value
 * @param {readonly number[]} shape
 * @param {number} depth
 * @param {(number | bigint | boolean)[]} flat
 * @returns {boolean}
 */
function collect(value, shape, depth, flat) {
  if (depth === shape.length) {
    if (!isNumber(value)) return false;
    flat.push(/** @type {number} */ (value));
    return true;
  }
  if (!Array.isArray(value) || value.length !== shape[depth]) return false;
  return value.every((item) => collect(item, shape, depth + 1, flat));
}

/** @param {readonly (number | bigint | boolean)[]} flat */
function dtypeOfNumbers(flat) {
  if (flat.length === 0) return "float64"; // as numpy has it
  if (flat.every((item) => typeof item === "boolean")) return "bool";
  const whole = flat.every((item) => typeof item !== "number" || Number.isSafeInteger(item));
  return whole ? "int64" : "float64";
}

/**
 * @param {string} from
 * @param {string} to
 * @returns {(value: number | bigint) => number | bigint}
 */
function converter(from, to) {
  const read =
    from === "float16" ? (/** @type {number | bigint} */ v) => halfToNumber(Number(v)) : identity;
  if (to === "float16") return (value) => numberToHalf(Number(read(value)));
  if (to === "bool") return (value) => (Number(read(value)) === 0 ? 0 : 1);
  if (to === "int64" || to === "uint64") {
    return (value) => {
      const number = read(value);
      if (typeof number === "bigint") return number;
      return Number.isFinite(number) ? BigInt(Math.trunc(number)) : 0n;
    };
  }
  const narrow = dtypeOf(to)?.kind !== "f" && (from === "int64" || from === "uint64");
  return narrow
    ? (value) => Number(BigInt.asIntN(32, BigInt(value)))
    : (value) => Number(read(value));
}

/**
 * @param {number | bigint} value
 * @returns {number | bigint}
 */
function identity(value) {
  return value;
}
