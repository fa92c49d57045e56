/** Operators that move numbers: mostly other views of the same memory. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { arrayOf, broadcastShapes, count } from "../nd-array.js";
import { OPERATION } from "../recipe.js";
import { Constant, DTYPE_CODE, View } from "../values.js";
import {
  axesOf,
  integers,
  keptAxes,
  newShape,
  normalAxis,
  shapeOf,
  sliced,
  splitSizes,
  withNewAxes,
} from "./shape-rules.js";
import {
  between,
  expanded,
  joinedAlong,
  narrowed,
  needsConstants,
  onAxes,
  padded,
  picked,
  reshaped,
  transposed,
} from "./views.js";

/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */

/** @type {Operator} */
function transpose(tracer, node, [value]) {
  const tensor = tracer.tensor(value);
  const order = node.attributes["perm"] ?? tensor.shape.map((_, axis) => axis).reverse();
  return [transposed(tensor, order)];
}

/** @type {Operator} */
function reshape(tracer, node, inputs) {
  const tensor = tracer.tensor(inputs[0]);
  const own = node.attributes["shape"];
  const wanted = own?.length ? own : integers(needsConstants(node, inputs), 1);
  return [reshaped(tracer, tensor, newShape(node, tensor.shape, wanted ?? []))];
}

/** @type {Operator} */
function flatten(tracer, node, [value]) {
  const tensor = tracer.tensor(value);
  let axis = node.attributes["axis"] ?? 1;
  if (axis < 0) axis += tensor.shape.length;
  const shape = [count(tensor.shape.slice(0, axis)), count(tensor.shape.slice(axis))];
  return [reshaped(tracer, tensor, shape)];
}

/** @type {Operator} */
function squeeze(tracer, node, inputs) {
  const tensor = tracer.tensor(inputs[0]);
  return [onAxes(tensor, keptAxes(node, needsConstants(node, inputs), tensor.shape))];
}

/** @type {Operator} */
function unsqueeze(tracer, node, inputs) {
  const tensor = tracer.tensor(inputs[0]);
  const axes = axesOf(node, needsConstants(node, inputs)) ?? [];
  return [
    tensor.with({
      shape: withNewAxes(tensor.shape, axes, 1),
      strides: withNewAxes(tensor.strides, axes, 0),
    }),
  ];
}

/** @type {Operator} */
function slice(tracer, node, inputs) {
  let tensor = tracer.tensor(inputs[0]);
  for (const { axis, part } of sliced(node, needsConstants(node, inputs), tensor.shape)) {
    tensor = narrowed(tensor, axis, part);
  }
  return [tensor];
}

/** @type {Operator} */
function split(tracer, node, inputs) {
  const tensor = tracer.tensor(inputs[0]);
  const axis = normalAxis(node.attributes["axis"] ?? 0, tensor.shape.length);
  let start = 0;
  return splitSizes(node, needsConstants(node, inputs), tensor.shape[axis]).map((size) => {
    const part = between(tensor, axis, start, start + size);
    start += size;
    return part;
  });
}

/** @type {Operator} */
function expand(tracer, node, inputs) {
  const tensor = tracer.tensor(inputs[0]);
  const wanted = integers(needsConstants(node, inputs), 1) ?? [];
  return [expanded(tensor, broadcastShapes(tensor.shape, wanted))];
}

/** @type {Operator} */
function shapeNode(tracer, node, [value]) {
  return [new Constant(shapeOf(node, tracer.tensor(value).shape), false)];
}

/** @type {Operator} */
function sizeNode(tracer, _node, [value]) {
  return [new Constant(arrayOf("int64", [], [tracer.tensor(value).count]), false)];
}

/** @type {Operator} */
function dropout(tracer, node, inputs) {
  const training = inputs[2];
  if (training instanceof Constant && training.array.data.some(Boolean)) {
    throw new PlanError(`${label(node)}: drops numbers at random`);
  }
  if (training instanceof View) {
    throw new PlanError(`${label(node)}: whether it drops is computed`);
  }
  if (node.outputs[1]) throw new PlanError(`${label(node)}: gives its mask`);
  return [tracer.tensor(inputs[0])];
}

/** @type {Readonly<Record<number, import("../values.js").PlanDtype>>} */
const CASTS = { 1: "float32", 10: "float32", 6: "int64", 7: "int64", 9: "bool" };

/** @type {Operator} */
function cast(tracer, node, [value]) {
  const tensor = tracer.tensor(value);
  const wanted = CASTS[node.attributes["to"]];
  if (wanted === undefined) {
    throw new PlanError(`${label(node)}: casts to what the native engine does not compute`);
  }
  if (wanted === tensor.dtype) return [tensor];
  const source = tracer.dense(tensor);
  const made = tracer.new(source.shape, wanted);
  tracer.emit({
    operation: OPERATION.cast,
    kind: DTYPE_CODE[source.dtype] * 3 + DTYPE_CODE[wanted],
    sizes: [source.count],
    places: [source.place, made.place],
  });
  return [made];
}

/** @type {Operator} */
function concat(tracer, node, inputs) {
  const parts = inputs.map((value) => tracer.tensor(value));
  const [first] = parts;
  if (!parts.every((part) => part.applied === first.applied && part.dtype === first.dtype)) {
    throw new PlanError(`${label(node)}: joins tensors of different kinds`);
  }
  const axis = normalAxis(node.attributes["axis"], first.shape.length);
  return [joinedAlong(tracer, parts, axis).with({ applied: first.applied })];
}

/** @type {Operator} */
function gather(tracer, node, [data, indices]) {
  const tensor = tracer.tensor(data);
  const axis = normalAxis(node.attributes["axis"] ?? 0, tensor.shape.length);
  if (indices instanceof Constant) return [entries(tracer, tensor, axis, indices.array)];
  return [lookedUp(tracer, node, tensor, axis, tracer.tensor(indices))];
}

/**
 * Return entries whose numbers are known now.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 * @param {number} axis
 * @param {NdArray} indices
 */
function entries(tracer, tensor, axis, indices) {
  const length = tensor.shape[axis];
  const numbers = indices.numbers();
  if (!numbers.every((number) => number >= -length && number < length)) {
    throw new PlanError(`an index of [${numbers.join(", ")}] into ${length}`);
  }
  const from = numbers.map((number) => (number < 0 ? number + length : number));
  if (indices.shape.length === 0) return picked(tensor, axis, from[0]);
  const part = neighbours(tracer, tensor, axis, from);
  return reshaped(tracer, part, tensor.shape.toSpliced(axis, 1, ...indices.shape));
}

/**
 * @param {Tracer} tracer
 * @param {View} tensor
 * @param {number} axis
 * @param {readonly number[]} from
 */
function neighbours(tracer, tensor, axis, from) {
  const step = from[1] - from[0];
  const even = from.every((number, at) => at === 0 || number - from[at - 1] === step);
  if (from.length > 1 && even && step) {
    return narrowed(tensor, axis, { start: from[0], step, size: from.length });
  }
  if (from.length === 0) return between(tensor, axis, 0, 0);
  const parts = from.map((number) => between(tensor, axis, number, number + 1));
  return parts.length === 1 ? parts[0] : joinedAlong(tracer, parts, axis);
}

/**
 * Return rows of a table whose numbers come as the plan runs.
 *
 * @param {Tracer} tracer
 * @param {GraphNode} node
 * @param {View} given
 * @param {number} axis
 * @param {View} numbers
 */
function lookedUp(tracer, node, given, axis, numbers) {
  if (axis || given.dtype !== "float32" || numbers.dtype !== "int64") {
    throw new PlanError(`${label(node)}: takes along axis ${axis} by numbers that are computed`);
  }
  const [rows, ...rest] = given.shape;
  let table = reshaped(tracer, given, [rows, given.count / Math.max(rows, 1)]);
  if (table.strides[1] !== 1 && table.shape[1] !== 1) table = tracer.dense(table);
  const indices = tracer.dense(numbers);
  const made = tracer.new([...indices.shape, ...rest]);
  tracer.emit({
    operation: OPERATION.gather,
    kind: 0,
    sizes: [indices.count, table.shape[1], rows],
    places: [table.place, indices.place, made.place],
    distances: [table.strides[0]],
  });
  return made;
}

/** @type {Operator} */
function pad(tracer, node, inputs) {
  const tensor = tracer.floats(inputs[0]);
  const known = needsConstants(node, inputs);
  const { attributes } = node;
  if ((attributes["mode"] ?? "constant") !== "constant") {
    throw new PlanError(`${label(node)}: pads with something other than a constant`);
  }
  const pads = attributes["pads"]?.length ? attributes["pads"] : (integers(known, 1) ?? []);
  const value = known[2]?.data[0] ?? attributes["value"] ?? 0;
  const axes = integers(known, 3) ?? tensor.shape.map((_, axis) => axis);
  const around = tensor.shape.map(() => /** @type {[number, number]} */ ([0, 0]));
  axes.forEach((axis, index) => {
    around[normalAxis(axis, tensor.shape.length)] = [pads[index], pads[index + axes.length]];
  });
  return [padded(tracer, tensor, around, value)];
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = {
  Cast: cast,
  Concat: concat,
  Dropout: dropout,
  Expand: expand,
  Flatten: flatten,
  Gather: gather,
  Identity: (tracer, _node, [value]) => [tracer.tensor(value)],
  Pad: pad,
  Reshape: reshape,
  Shape: shapeNode,
  Size: sizeNode,
  Slice: slice,
  Split: split,
  Squeeze: squeeze,
  Transpose: transpose,
  Unsqueeze: unsqueeze,
};
