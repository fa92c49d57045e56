/** `NdArray`: a constant of a plan, such as weights, or sizes that follow from the shapes. */

import { halfToNumber } from "../dtypes.js";
import { PlanError } from "../errors.js";

/** @typedef {Float32Array | Float64Array | Int8Array | Uint8Array | Int32Array} Numbers */
/**
 * @typedef {"float32" | "float64" | "int64" | "int32" | "int8" | "uint8" | "bool"} ConstantDtype
 */

/** Elements of a constant that is computed; a larger one is refused. */
export const MOST = 2 ** 27;

/**
 * What holds the values of each dtype. Those of int64 are numbers: whole ones up to 2**53 are
 * exact, and what lies beyond only ever means "to the end".
 *
 * @type {Readonly<Record<ConstantDtype, { new (length: number): Numbers }>>}
 */
const HOLDERS = {
  float32: Float32Array,
  float64: Float64Array,
  int64: Float64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

let made = 0;

export class NdArray {
  /**
   * @param {ConstantDtype} dtype
   * @param {readonly number[]} shape
   * @param {Numbers} data The values, the last axis side by side; used without a copy.
   */
  constructor(dtype, shape, data) {
    this.dtype = dtype;
    this.shape = [...shape];
    this.data = data;
    /** A number that no other array has. */
    this.id = made++;
  }

  /** How many values there are. */
  get size() {
    return this.data.length;
  }

  /** Whether the values are whole numbers. */
  get isWhole() {
    return !["float32", "float64", "bool"].includes(this.dtype);
  }

  /** Whether the values are floating point. */
  get isFloat() {
    return this.dtype === "float32" || this.dtype === "float64";
  }

  /** The values as numbers. */
  numbers() {
    return Array.from(this.data);
  }

  /** @param {readonly number[]} shape */
  reshaped(shape) {
    if (count(shape) !== this.size) {
      throw new PlanError(`[${this.shape.join(", ")}] cannot take the shape [${shape.join(", ")}]`);
    }
    return new NdArray(this.dtype, shape, this.data);
  }

  /**
   * The values at these strides, side by side.
   *
   * @param {readonly number[]} shape
   * @param {readonly number[]} strides
   * @param {number} [offset]
   */
  strided(shape, strides, offset = 0) {
    const result = zeros(this.dtype, shape);
    walk(shape, [strides], (index, [from]) => {
      result.data[index] = this.data[offset + from];
    });
    return result;
  }

  /** The array with its axes in the opposite order. */
  get turned() {
    return this.transposed(this.shape.map((_, axis) => this.shape.length - 1 - axis));
  }

  /** @param {readonly number[]} order */
  transposed(order) {
    const strides = denseStrides(this.shape);
    return this.strided(
      order.map((axis) => this.shape[axis]),
      order.map((axis) => strides[axis]),
    );
  }

  /**
   * The rows, along the first axis, from `start` to `end`.
   *
   * @param {number} start
   * @param {number} end
   */
  rows(start, end) {
    const row = this.size / Math.max(this.shape[0], 1);
    return new NdArray(
      this.dtype,
      [end - start, ...this.shape.slice(1)],
      /** @type {Numbers} */ (this.data.subarray(start * row, end * row)),
    );
  }

  /**
   * One entry along the first axis.
   *
   * @param {number} index
   */
  entry(index) {
    return this.rows(index, index + 1).reshaped(this.shape.slice(1));
  }

  /** @param {ConstantDtype} dtype */
  cast(dtype) {
    if (dtype === this.dtype) return this;
    const result = zeros(dtype, this.shape);
    for (let index = 0; index < this.size; index++) {
      result.data[index] = converted(this.data[index], dtype);
    }
    return result;
  }
}

/**
 * @param {number} value
 * @param {ConstantDtype} dtype
 */
function converted(value, dtype) {
  if (dtype === "bool") return value === 0 ? 0 : 1;
  if (dtype === "int64") return Number.isFinite(value) ? Math.trunc(value) : 0;
  return value;
}

/**
 * Return an array of zeros.
 *
 * @param {ConstantDtype} dtype
 * @param {readonly number[]} shape
 */
export function zeros(dtype, shape) {
  const size = count(shape);
  if (shape.some((axis) => !(axis >= 0)) || !Number.isSafeInteger(size) || size > MOST) {
    throw new PlanError(`a constant of shape [${shape.join(", ")}] is too large`);
  }
  return new NdArray(dtype, shape, new HOLDERS[dtype](size));
}

/**
 * Return an array of these values.
 *
 * @param {ConstantDtype} dtype
 * @param {readonly number[]} shape
 * @param {Iterable<number>} values
 */
export function arrayOf(dtype, shape, values) {
  const result = zeros(dtype, shape);
  result.data.set([...values]);
  return result;
}

/**
 * Return a tensor of a file as a constant; float16 becomes float32.
 *
 * @param {import("../tensor.js").Tensor} tensor
 */
export function constantOf({ dtype, shape, data }) {
  if (dtype === "float16") {
    return arrayOf("float32", shape, Array.from(/** @type {Uint16Array} */ (data), halfToNumber));
  }
  if (dtype === "int64") {
    return arrayOf("int64", shape, Array.from(/** @type {BigInt64Array} */ (data), Number));
  }
  if (!Object.hasOwn(HOLDERS, dtype)) throw new PlanError(`a constant of ${dtype}`);
  return new NdArray(/** @type {ConstantDtype} */ (dtype), shape, /** @type {Numbers} */ (data));
}

/**
 * Return the product of sizes.
 *
 * @param {readonly number[]} sizes
 */
export function count(sizes) {
  return sizes.reduce((whole, size) => whole * size, 1);
}

/**
 * Return the strides of an array whose elements lie in the order of its axes.
 *
 * @param {readonly number[]} shape
 */
export function denseStrides(shape) {
  const strides = new Array(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = step;
    step *= shape[axis];
  }
  return strides;
}

/**
 * Return the shape that numpy broadcasts these shapes to.
 *
 * @param {...(readonly number[])} shapes
 */
export function broadcastShapes(...shapes) {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    let size = 1;
    for (const shape of shapes) {
      const own = shape[axis - rank + shape.length] ?? 1;
      if (own === 1) continue;
      if (size !== 1 && size !== own) {
        throw new PlanError(
          `shapes ${shapes.map((s) => `[${s.join(", ")}]`).join(", ")} do not fit`,
        );
      }
      size = own;
    }
    return size;
  });
}

/**
 * Return the strides that repeat an array of `from` over `shape`.
 *
 * @param {readonly number[]} from
 * @param {readonly number[]} shape
 */
export function repeatedStrides(from, shape) {
  const dense = denseStrides(from);
  const lead = shape.length - from.length;
  return shape.map((size, axis) => {
    const own = from[axis - lead];
    if (own === undefined || own === 1) return 0;
    if (own !== size) {
      throw new PlanError(`[${from.join(", ")}] cannot be repeated to [${shape.join(", ")}]`);
    }
    return dense[axis - lead];
  });
}

/**
 * Call `visit` with each position over a shape, and where it lies at each set of strides.
 *
 * @param {readonly number[]} shape
 * @param {readonly (readonly number[])[]} strides
 * @param {(index: number, offsets: readonly number[]) => void} visit
 */
export function walk(shape, strides, visit) {
  const size = count(shape);
  const at = shape.map(() => 0);
  const offsets = strides.map(() => 0);
  for (let index = 0; index < size; index++) {
    visit(index, offsets);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at[axis] += 1;
      const back = at[axis] === shape[axis];
      for (let own = 0; own < strides.length; own++) {
        offsets[own] += back ? strides[own][axis] * (1 - shape[axis]) : strides[own][axis];
      }
      if (!back) break;
      at[axis] = 0;
    }
  }
}

/**
 * Return arrays one after the other along an axis.
 *
 * @param {readonly NdArray[]} arrays
 * @param {number} axis
 */
export function concatenated(arrays, axis) {
  const [first] = arrays;
  const shape = [...first.shape];
  shape[axis] = arrays.reduce((whole, array) => whole + array.shape[axis], 0);
  const result = zeros(first.dtype, shape);
  const strides = denseStrides(shape);
  let start = 0;
  for (const array of arrays) {
    const fits = array.shape.every((size, other) => other === axis || size === shape[other]);
    if (!fits || array.shape.length !== shape.length || array.dtype !== first.dtype) {
      throw new PlanError("joins arrays of different kinds");
    }
    const offset = start * strides[axis];
    walk(array.shape, [strides], (index, [to]) => {
      result.data[offset + to] = array.data[index];
    });
    start += array.shape[axis];
  }
  return result;
}
