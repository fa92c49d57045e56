/** Numbers that must not enter a state: NaN, infinity, and numbers close to zero. */

import { dtypeOf } from "../dtypes.js";
import { InputError } from "../errors.js";
import { numberAt } from "../tensor.js";

/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../tensor.js").Tensor} Tensor */

/**
 * Smaller numbers become zero. They are far too small to change a float32 sum near one, and their
 * products are denormal, which processors multiply slowly.
 */
export const TINY = 1e-18;
/** Steps of a stream after which tiny numbers of its state become zero. */
export const FLUSHED_EVERY = 16;

/**
 * Set numbers below `TINY` to zero, in place.
 *
 * @param {Tensor} tensor
 */
export function flushTiny(tensor) {
  const { data } = tensor;
  if (!(data instanceof Float32Array || data instanceof Float64Array)) return;
  for (let index = 0; index < data.length; index++) {
    if (Math.abs(/** @type {number} */ (data[index])) < TINY) data[index] = 0;
  }
}

/**
 * Set a frame in which every number is below `TINY` to zero, in place, and return it.
 *
 * @param {Tensor} tensor
 */
export function silence(tensor) {
  const { data } = tensor;
  if (data instanceof Float32Array || data instanceof Float64Array) {
    if (data.every((value) => Math.abs(value) < TINY)) data.fill(0);
  }
  return tensor;
}

/**
 * Whether a tensor holds neither NaN nor infinity.
 *
 * @param {Tensor} tensor
 */
export function isFinite(tensor) {
  const { data } = tensor;
  if (data instanceof Float32Array || data instanceof Float64Array) {
    let sum = 0; // of zeros, and NaN where one of the values is not finite
    for (let index = 0; index < data.length; index++)
      sum += /** @type {number} */ (data[index]) * 0;
    return sum === 0;
  }
  if (tensor.dtype !== "float16") return true;
  return !(/** @type {Uint16Array} */ (data).some((bits) => (bits & 0x7c00) === 0x7c00));
}

/**
 * Check that a tensor is finite: NaN and infinity would stay in the state.
 *
 * @param {TensorSpec} spec The input.
 * @param {Tensor} tensor Its value.
 * @throws {InputError} If it holds NaN or infinity.
 */
export function checkFinite(spec, tensor) {
  if (dtypeOf(tensor.dtype)?.kind !== "f" || isFinite(tensor)) return;
  const wrong = [];
  for (let index = 0; index < tensor.size; index++) {
    const value = numberAt(tensor, index);
    if (!Number.isFinite(value)) wrong.push(value);
  }
  throw new InputError(
    `${spec.name}: expected finite values, got ${asPython(wrong[0] ?? NaN)} ` +
      `(${wrong.length} of ${tensor.size}), which would stay in the state`,
  );
}

/** @param {number} value NaN or infinity. */
function asPython(value) {
  if (Number.isNaN(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
}
