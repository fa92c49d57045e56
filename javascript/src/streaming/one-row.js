/** Frames and outputs of a stream of one row, which may come without their batch axes. */

import { byName } from "../binding.js";
import { BATCH, TIME } from "../contract.js";
import { InputError } from "../errors.js";
import { inputTensor } from "../input-tensor.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../binding.js").Values} Values */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** @typedef {import("../tensor.js").TensorLike} TensorLike */
/** @typedef {import("./step-output.js").Answer} Answer */

/**
 * Return single steps with their batch axes; undefined for anything that is not such steps. A typed
 * array alone has no axes at all, and is none of them.
 *
 * @param {readonly TensorSpec[]} inputs
 * @param {TensorLike | Values} frame
 * @returns {Tensors | undefined}
 */
export function withBatch(inputs, frame) {
  const given = byName(inputs, frame);
  const names = Object.keys(given);
  if (names.length !== inputs.length || inputs.length === 0) return undefined;
  const rows = /** @type {Tensors} */ (Object.create(null));
  for (const spec of inputs) {
    const value = given[spec.name];
    if (value === undefined || ArrayBuffer.isView(value)) return undefined;
    const row = inputTensor(spec, value, InputError);
    if (!isRow(spec, row)) return undefined;
    rows[spec.name] = row.reshape(row.shape.toSpliced(placeOf(spec), 0, 1));
  }
  return rows;
}

/**
 * Return outputs of single steps without their batch axes.
 *
 * @param {readonly TensorSpec[]} outputs
 * @param {Answer} answer
 * @returns {Answer}
 */
export function withoutBatch(outputs, answer) {
  const squeezed = (/** @type {TensorSpec} */ spec, /** @type {Tensor} */ tensor) =>
    spec.axes.includes(BATCH) ? tensor.reshape(tensor.shape.toSpliced(placeOf(spec), 1)) : tensor;
  const [first] = outputs;
  if (first !== undefined && outputs.length === 1) {
    return squeezed(first, /** @type {Tensor} */ (answer));
  }
  const made = /** @type {Tensors} */ (Object.create(null));
  for (const spec of outputs) {
    const tensor = /** @type {Tensors} */ (answer)[spec.name];
    if (tensor !== undefined) made[spec.name] = squeezed(spec, tensor);
  }
  return made;
}

/** @param {TensorSpec} spec */
function placeOf({ axes }) {
  return axes.filter((axis) => axis !== TIME).indexOf(BATCH);
}

/**
 * @param {TensorSpec} spec
 * @param {Tensor} row
 */
function isRow({ axes, dtype }, row) {
  const others = axes.filter((axis) => axis !== BATCH && axis !== TIME);
  return (
    axes.includes(BATCH) &&
    row.dtype === dtype &&
    row.shape.length === others.length &&
    others.every((axis, index) => typeof axis === "string" || axis === row.shape[index])
  );
}
