/** Operators over a whole axis: means and maxima, softmax, layer normalization. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { count } from "../nd-array.js";
import { OPERATION } from "../recipe.js";
import { ACTIVATION, ARITHMETIC, activated, byMemory, combined } from "./arithmetic.js";
import { axesOf, normalAxis } from "./shape-rules.js";
import { constants, inverse, needsConstants, onAxes, transposed } from "./views.js";

/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").View} View */

const SUM = 0;
const MEAN = 1;
const MAX = 2;
const MIN = 3;

/**
 * Return a tensor with one axis reduced to size 1.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 * @param {number} axis
 * @param {number} kind
 */
function reduced(tracer, tensor, axis, kind) {
  if (tensor.shape[axis] === 0) throw new PlanError("an empty axis is reduced");
  let order = byMemory(tensor);
  let inside = transposed(tensor, order);
  if (!inside.isDense) {
    inside = tracer.dense(tensor);
    order = tensor.shape.map((_, own) => own);
  }
  const at = order.indexOf(axis);
  const [outer, inner] = [count(inside.shape.slice(0, at)), count(inside.shape.slice(at + 1))];
  const size = inside.shape[at];
  const made = tracer.new(inside.shape.with(at, 1));
  tracer.emit({
    operation: OPERATION.reduce,
    kind,
    sizes: [outer, size, inner],
    places: [inside.place, made.place],
    distances: [size * inner, inner],
  });
  return transposed(made, inverse(order));
}

/**
 * @param {number} kind
 * @returns {Operator}
 */
function reduce(kind) {
  return (tracer, node, inputs) => {
    let tensor = tracer.floats(inputs[0]);
    const all = tensor.shape.map((_, axis) => axis);
    let axes = axesOf(node, needsConstants(node, inputs)) ?? [];
    if (!axes.length) {
      if (node.attributes["noop_with_empty_axes"]) return [tensor];
      axes = all;
    }
    const dropped = new Set(axes.map((axis) => normalAxis(axis, all.length)));
    for (const axis of [...dropped].sort((a, b) => a - b)) {
      tensor = reduced(tracer, tensor, axis, kind);
    }
    if (node.attributes["keepdims"] ?? 1) return [tensor];
    return [
      onAxes(
        tensor,
        all.filter((axis) => !dropped.has(axis)),
      ),
    ];
  };
}

/** @type {Operator} */
function reduceL2(tracer, node, inputs) {
  const tensor = tracer.floats(inputs[0]);
  const squares = combined(tracer, ARITHMETIC.multiply, tensor, tensor);
  const [sums] = reduce(SUM)(tracer, node, [squares, ...inputs.slice(1)]);
  return [activated(tracer, tracer.floats(sums), ACTIVATION.squareRoot)];
}

/**
 * @param {number} kind
 * @returns {Operator}
 */
function globalPool(kind) {
  return (tracer, _node, [value]) => {
    let tensor = tracer.floats(value);
    for (let axis = 2; axis < tensor.shape.length; axis++) {
      tensor = reduced(tracer, tensor, axis, kind);
    }
    return [tensor];
  };
}

/**
 * @param {0 | 1} logarithm
 * @returns {Operator}
 */
function softmax(logarithm) {
  return (tracer, node, [value]) => {
    const tensor = tracer.floats(value);
    const axes = tensor.shape.map((_, axis) => axis);
    const axis = normalAxis(node.attributes["axis"] ?? -1, axes.length);
    const order = [...axes.filter((other) => other !== axis), axis];
    const inside = tracer.dense(transposed(tensor, order));
    const size = inside.shape[inside.shape.length - 1];
    if (size === 0) throw new PlanError(`${label(node)}: over an empty axis`);
    const made = tracer.new(inside.shape);
    tracer.emit({
      operation: OPERATION.softmax,
      kind: logarithm,
      sizes: [inside.count / size, size],
      places: [inside.place, made.place],
    });
    return [transposed(made, inverse(order))];
  };
}

/** @type {Operator} */
function layerNorm(tracer, node, inputs) {
  const tensor = tracer.floats(inputs[0]);
  const axis = normalAxis(node.attributes["axis"] ?? -1, tensor.shape.length);
  if (node.outputs.slice(1).some(Boolean)) {
    throw new PlanError(`${label(node)}: gives its mean or deviation`);
  }
  const size = count(tensor.shape.slice(axis));
  const [, scale, bias] = constants(inputs);
  if (scale?.size !== size || (bias !== undefined && bias.size !== size)) {
    throw new PlanError(`${label(node)}: its scale is not a row of weights`);
  }
  const inside = tracer.dense(tensor);
  const made = tracer.new(inside.shape);
  const shift = bias === undefined ? undefined : tracer.tensor(inputs[2]).place;
  tracer.emit({
    operation: OPERATION.normalize,
    kind: 0,
    sizes: [Math.floor(inside.count / Math.max(size, 1)), size],
    places: [inside.place, tracer.floats(inputs[1]).place, shift, made.place],
    numbers: [node.attributes["epsilon"] ?? 1e-5, 0],
  });
  return [made];
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = {
  GlobalAveragePool: globalPool(MEAN),
  GlobalMaxPool: globalPool(MAX),
  LayerNormalization: layerNorm,
  LogSoftmax: softmax(1),
  ReduceL2: reduceL2,
  ReduceMax: reduce(MAX),
  ReduceMean: reduce(MEAN),
  ReduceMin: reduce(MIN),
  ReduceSum: reduce(SUM),
  Softmax: softmax(0),
};
