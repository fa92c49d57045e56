/** `inputTensor`: what is passed for an input, as a tensor; plain numbers take its dtype. */

import { dtypeOf } from "./dtypes.js";
import { asTensor, numberAt } from "./tensor.js";

/** @typedef {import("./contract.js").TensorSpec} TensorSpec */
/** @typedef {import("./tensor.js").ErrorClass} ErrorClass */
/** @typedef {import("./tensor.js").Tensor} Tensor */

/**
 * Return a value as the tensor of an input.
 *
 * A number of JavaScript has no dtype: numbers, alone or in arrays, take that of the input, if it
 * can hold them. Tensors and typed arrays keep theirs.
 *
 * @param {TensorSpec} spec
 * @param {unknown} value
 * @param {ErrorClass} ErrorType The class to raise if it cannot be a tensor.
 * @returns {Tensor}
 */
export function inputTensor(spec, value, ErrorType) {
  const tensor = asTensor(spec.name, value, ErrorType);
  const isPlain = Array.isArray(value) || ["number", "bigint", "boolean"].includes(typeof value);
  return isPlain ? inDtype(tensor, spec.dtype) : tensor;
}

/**
 * @param {Tensor} tensor
 * @param {string} name
 */
function inDtype(tensor, name) {
  const [wanted, given] = [name, tensor.dtype].map((dtype) => dtypeOf(dtype)?.kind ?? "b");
  if (wanted === "b" || tensor.dtype === name) return tensor;
  const converted = tensor.astype(name);
  return wanted === "f" || (given !== "f" && isSame(tensor, converted)) ? converted : tensor;
}

/**
 * @param {Tensor} tensor
 * @param {Tensor} converted
 */
function isSame(tensor, converted) {
  for (let index = 0; index < tensor.size; index++) {
    if (numberAt(converted, index) !== numberAt(tensor, index)) return false;
  }
  return true;
}
