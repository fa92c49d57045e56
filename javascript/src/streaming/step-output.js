/** What a step returns: a tensor, or tensors by name. */

import { TIME } from "../contract.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** The only output, or every output by name. @typedef {Tensor | Tensors} Answer */

/**
 * Return the outputs of a call by name, without the time axis for one step.
 *
 * @param {readonly TensorSpec[]} specs The data outputs of the model.
 * @param {Tensors} outputs
 * @param {{ single: boolean }} options Whether the frame was one step.
 */
export function withoutTime(specs, outputs, { single }) {
  const answers = /** @type {Tensors} */ (Object.create(null));
  for (const spec of specs) {
    const value = /** @type {Tensor} */ (outputs[spec.name]);
    const time = spec.axes.indexOf(TIME);
    answers[spec.name] =
      single && time >= 0 ? value.reshape(value.shape.toSpliced(time, 1)) : value;
  }
  return answers;
}

/**
 * Return the only output, or all of several by name.
 *
 * @param {Tensors} outputs
 * @returns {Answer}
 */
export function only(outputs) {
  const values = Object.values(outputs);
  const [first] = values;
  return values.length === 1 && first !== undefined ? first : outputs;
}
