/** Other views of the same memory, and copies where there is none. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { count, denseStrides } from "../nd-array.js";
import { OPERATION } from "../recipe.js";
import { Constant, ITEM, View, isDense, merged } from "../values.js";

/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").Value} Value */
/** @typedef {import("./shape-rules.js").Part} Part */

/**
 * Return the inputs that are constants, undefined for those that the plan computes.
 *
 * @param {readonly (Value | undefined)[]} inputs
 */
export function constants(inputs) {
  return inputs.map((value) => (value instanceof Constant ? value.array : undefined));
}

/**
 * Return all inputs but the first as constants.
 *
 * @param {GraphNode} node
 * @param {readonly (Value | undefined)[]} inputs
 * @throws {PlanError} When one of them is only known as the plan runs.
 */
export function needsConstants(node, inputs) {
  inputs.forEach((value, index) => {
    if (index && value instanceof View) {
      throw new PlanError(`${label(node)}: its input ${index} is computed from the data`);
    }
  });
  return constants(inputs);
}

/**
 * Return a view with its axes in another order.
 *
 * @param {View} tensor
 * @param {readonly number[]} order
 */
export function transposed(tensor, order) {
  const rank = tensor.shape.length;
  const sound = order.length === rank && order.every((axis) => axis in tensor.shape);
  if (!sound || new Set(order).size !== rank) {
    throw new PlanError(`an order of axes [${order.join(", ")}] for ${rank}`);
  }
  return tensor.with({
    shape: order.map((axis) => tensor.shape[axis]),
    strides: order.map((axis) => tensor.strides[axis]),
  });
}

/**
 * Return the order of axes that undoes another one.
 *
 * @param {readonly number[]} order
 */
export function inverse(order) {
  const back = new Array(order.length);
  order.forEach((axis, at) => (back[axis] = at));
  return back;
}

/**
 * Return the elements in another shape: a view where the strides allow one, else a copy.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 * @param {readonly number[]} shape
 */
export function reshaped(tracer, tensor, shape) {
  if (count(shape) !== tensor.count) {
    throw new PlanError(`[${tensor.shape.join(", ")}] cannot take the shape [${shape.join(", ")}]`);
  }
  const strides = stridesOf(tensor, shape);
  if (strides !== undefined) return tensor.with({ shape, strides });
  return tracer.dense(tensor).with({ shape, strides: denseStrides(shape) });
}

/**
 * Return strides over `shape` of the same elements, or undefined where none are.
 *
 * @param {View} tensor
 * @param {readonly number[]} shape
 */
function stridesOf(tensor, shape) {
  if (tensor.count === 0) return denseStrides(shape);
  const {
    sizes,
    strides: [steps],
  } = merged(tensor.shape, tensor.strides);
  const strides = shape.map(() => 0);
  let axis = shape.length - 1;
  for (let at = sizes.length - 1; at >= 0; at--) {
    let [left, step] = [sizes[at], steps[at]];
    while (left > 1) {
      while (axis >= 0 && shape[axis] === 1) axis -= 1;
      if (axis < 0 || left % shape[axis]) return undefined;
      strides[axis] = step;
      step *= shape[axis];
      left /= shape[axis];
      axis -= 1;
    }
  }
  return strides;
}

/**
 * Return the view of a slice along one axis.
 *
 * @param {View} tensor
 * @param {number} axis
 * @param {Part} part
 */
export function narrowed(tensor, axis, { start, step, size }) {
  const [shape, strides] = [[...tensor.shape], [...tensor.strides]];
  const offset = tensor.offset + (size ? start * strides[axis] : 0);
  shape[axis] = size;
  strides[axis] *= step;
  return tensor.with({ shape, strides, offset });
}

/**
 * Return the view of neighbours along one axis.
 *
 * @param {View} tensor
 * @param {number} axis
 * @param {number} start
 * @param {number} end
 */
export function between(tensor, axis, start, end) {
  const from = Math.min(Math.max(start, 0), tensor.shape[axis]);
  const to = Math.min(Math.max(end, from), tensor.shape[axis]);
  return narrowed(tensor, axis, { start: from, step: 1, size: to - from });
}

/**
 * Return the view of one entry along an axis, without that axis.
 *
 * @param {View} tensor
 * @param {number} axis
 * @param {number} index
 */
export function picked(tensor, axis, index) {
  return tensor.with({
    shape: tensor.shape.toSpliced(axis, 1),
    strides: tensor.strides.toSpliced(axis, 1),
    offset: tensor.offset + index * tensor.strides[axis],
  });
}

/**
 * Return the view that repeats a tensor to `shape`, by strides of zero.
 *
 * @param {View} tensor
 * @param {readonly number[]} shape
 */
export function expanded(tensor, shape) {
  const lead = shape.length - tensor.shape.length;
  const strides = shape.map((size, axis) => {
    const own = tensor.shape[axis - lead];
    if (own === undefined || own === 1) return 0;
    if (own !== size) {
      throw new PlanError(
        `[${tensor.shape.join(", ")}] cannot be repeated to [${shape.join(", ")}]`,
      );
    }
    return tensor.strides[axis - lead];
  });
  return tensor.with({ shape: [...shape], strides });
}

/**
 * Return tensors one after the other along an axis; what can is made in its place.
 *
 * @param {Tracer} tracer
 * @param {readonly View[]} parts
 * @param {number} axis
 */
export function joinedAlong(tracer, parts, axis) {
  const [first] = parts;
  const shape = [...first.shape];
  shape[axis] = parts.reduce((whole, part) => whole + part.shape[axis], 0);
  const fits = (/** @type {View} */ part) =>
    part.shape.length === shape.length &&
    part.shape.every((size, other) => other === axis || size === shape[other]);
  if (!parts.every(fits)) throw new PlanError("joins tensors whose other axes differ");
  const joined = tracer.new(shape, first.dtype);
  let at = 0;
  for (const part of parts) {
    const place = between(joined, axis, at, at + part.shape[axis]);
    at += part.shape[axis];
    if (part.count !== 0 && !madeInPlace(part, place)) tracer.copy(part, place);
  }
  return joined;
}

/**
 * @param {View} part
 * @param {View} place
 */
function madeInPlace(part, place) {
  const { buffer } = part;
  const whole = part.isDense && part.offset === 0 && buffer.size === part.bytes;
  if (buffer.home !== "arena" || buffer.parent !== undefined || !whole) return false;
  if (!isDense(place.shape, place.strides)) return false;
  buffer.parent = { buffer: place.buffer, offset: place.offset * ITEM[place.dtype] };
  return true;
}

/**
 * Return a dense copy with so many numbers before and after along each axis, or fewer.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 * @param {readonly (readonly [number, number])[]} around
 * @param {number} [value]
 */
export function padded(tracer, tensor, around, value = 0) {
  let kept = tensor;
  around.forEach(([before, after], axis) => {
    const size = kept.shape[axis];
    kept = between(kept, axis, Math.max(-before, 0), size - Math.max(-after, 0));
  });
  const added = around.map(([before, after]) => [Math.max(before, 0), Math.max(after, 0)]);
  const made = tracer.new(kept.shape.map((size, axis) => size + added[axis][0] + added[axis][1]));
  tracer.emit({
    operation: OPERATION.fill,
    kind: 0,
    sizes: [made.count],
    places: [made.place],
    numbers: [value, 0],
  });
  let inner = made;
  added.forEach(([before], axis) => {
    inner = between(inner, axis, before, before + kept.shape[axis]);
  });
  tracer.copy(kept, inner);
  return made;
}

/**
 * Return a view of some axes, the others of size 1.
 *
 * @param {View} tensor
 * @param {readonly number[]} axes
 */
export function onAxes(tensor, axes) {
  return tensor.with({
    shape: axes.map((axis) => tensor.shape[axis]),
    strides: axes.map((axis) => tensor.strides[axis]),
  });
}
