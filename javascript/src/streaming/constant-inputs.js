/** Inputs that are the same at every step, such as a sample rate: checked and passed once. */

import { bound, collected, isMapping } from "../binding.js";
import { TIME } from "../contract.js";
import { InputError } from "../errors.js";
import { typeName } from "../tensor.js";
import { checkFinite } from "./silence-and-nan.js";

/** @typedef {import("../binding.js").Sizes} Sizes */
/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../binding.js").Values} Values */
/** @typedef {import("../contract.js").Interface} Interface */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */

/**
 * Check constants and copy them, so that later changes by the caller have no effect.
 *
 * @param {Interface} face The inputs of the model.
 * @param {Values | undefined} constants Values by the name of the input. A number is converted to
 *   the dtype of its input if that can hold it.
 * @param {Sizes} sizes The sizes of named axes.
 * @returns {[readonly TensorSpec[], Tensors]} The inputs that frames have, and the constants by
 *   name.
 * @throws {InputError} For a name, dtype or shape that does not fit, for NaN or infinity, for an
 *   input with a time axis, and if no input is left for the frames.
 */
export function takeConstants(face, constants, sizes) {
  const specs = face.dataInputs;
  if (constants === undefined) return [specs, {}];
  if (!isMapping(constants)) {
    throw new InputError(`constants: expected a mapping by input name, got ${typeName(constants)}`);
  }
  const known = new Map(sizes);
  const given = Object.keys(constants).map((name) => constantSpec(specs, name));
  const taken = collected(given, (spec) => {
    const tensor = bound(spec, constants[spec.name], known, InputError);
    checkFinite(spec, tensor);
    return tensor.copy();
  });
  const frames = specs.filter((spec) => !(spec.name in taken));
  if (frames.length === 0) {
    const names = specs.map((spec) => spec.name).join(", ");
    throw new InputError(`constants: expected at least one of ${names} to be left for the frames`);
  }
  return [frames, taken];
}

/**
 * @param {readonly TensorSpec[]} specs
 * @param {string} name
 */
function constantSpec(specs, name) {
  const spec = specs.find((one) => one.name === name);
  if (spec === undefined) {
    const names = specs.map((one) => one.name).join(", ");
    throw new InputError(`constants: expected names of data inputs (${names}), got '${name}'`);
  }
  if (spec.axes.includes(TIME)) {
    throw new InputError(`constants: ${spec} has a ${TIME} axis: pass it with each frame`);
  }
  return spec;
}
