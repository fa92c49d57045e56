/** What operators read of their attributes and constants: axes, slices, shapes. */

import { PlanError } from "../../errors.js";
import { arrayOf, count } from "../nd-array.js";

/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {(import("../nd-array.js").NdArray | undefined)[]} Arrays */
/** A slice along an axis. @typedef {{ start: number, step: number, size: number }} Part */

/**
 * Return an input that must be there.
 *
 * @param {Arrays} inputs
 * @param {number} index
 */
export function given(inputs, index) {
  const array = inputs[index];
  if (array === undefined) throw new PlanError(`input ${index} is missing`);
  return array;
}

/**
 * Return an optional input of integers.
 *
 * @param {Arrays} inputs
 * @param {number} index
 */
export function integers(inputs, index) {
  return inputs[index]?.numbers().map(Math.trunc);
}

/**
 * Return `axes`, an attribute in older operator sets and an input in newer ones.
 *
 * @param {GraphNode} node
 * @param {Arrays} inputs
 * @param {number} [index]
 * @returns {number[] | undefined}
 */
export function axesOf(node, inputs, index = 1) {
  return node.attributes["axes"] ?? integers(inputs, index);
}

/**
 * Return an axis counted from the front.
 *
 * @param {number} axis
 * @param {number} rank
 */
export function normalAxis(axis, rank) {
  if (!(axis >= -rank && axis < rank)) throw new PlanError(`axis ${axis} of a tensor with ${rank}`);
  return axis < 0 ? axis + rank : axis;
}

/**
 * Return what a slice takes of `size` entries, as Python's `slice.indices` has it.
 *
 * @param {number} size
 * @param {number | undefined} start
 * @param {number | undefined} end
 * @param {number} step
 * @returns {Part}
 */
export function partOf(size, start, end, step = 1) {
  if (!Number.isSafeInteger(step) || step === 0) throw new PlanError(`a slice with step ${step}`);
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1];
  const bounded = (/** @type {number} */ at) =>
    Math.min(Math.max(at < 0 ? at + size : at, low), high);
  const from = start === undefined ? (step > 0 ? low : high) : bounded(start);
  const to = end === undefined ? (step > 0 ? high : low) : bounded(end);
  return { start: from, step, size: Math.max(Math.ceil((to - from) / step), 0) };
}

/**
 * Return the axis and the slice of each part of a Slice.
 *
 * @param {GraphNode} node
 * @param {Arrays} inputs
 * @param {readonly number[]} shape
 * @returns {{ axis: number, part: Part }[]}
 */
export function sliced(node, inputs, shape) {
  const starts = nonEmpty(node.attributes["starts"]) ?? integers(inputs, 1);
  const ends = nonEmpty(node.attributes["ends"]) ?? integers(inputs, 2);
  if (starts === undefined || ends === undefined) {
    throw new PlanError("its starts and ends are missing");
  }
  const axes = nonEmpty(axesOf(node, inputs, 3)) ?? starts.map((_, index) => index);
  const steps = nonEmpty(integers(inputs, 4)) ?? starts.map(() => 1);
  if (![ends, axes, steps].every((list) => list.length === starts.length)) {
    throw new PlanError("its starts, ends, axes and steps differ in number");
  }
  const sizes = [...shape];
  return starts.map((start, index) => {
    const axis = normalAxis(axes[index], shape.length);
    const toTheStart = steps[index] < 0 && ends[index] < -(2 ** 30);
    const part = partOf(sizes[axis], start, toTheStart ? undefined : ends[index], steps[index]);
    sizes[axis] = part.size;
    return { axis, part };
  });
}

/**
 * @param {number[] | undefined} list
 * @returns {number[] | undefined}
 */
export function nonEmpty(list) {
  return list?.length ? list : undefined;
}

/**
 * Return the shape that a Reshape to `wanted` gives.
 *
 * @param {GraphNode} node
 * @param {readonly number[]} shape
 * @param {readonly number[]} wanted
 */
export function newShape(node, shape, wanted) {
  let sizes = [...wanted];
  if (!node.attributes["allowzero"]) {
    sizes = sizes.map((size, axis) => (size === 0 ? (shape[axis] ?? -2) : size));
  }
  const open = sizes.indexOf(-1);
  if (open >= 0) {
    sizes[open] = Math.floor(count(shape) / count(sizes.filter((size) => size !== -1)));
  }
  if (sizes.some((size) => !(size >= 0)) || count(sizes) !== count(shape)) {
    throw new PlanError(`[${shape.join(", ")}] cannot take the shape [${wanted.join(", ")}]`);
  }
  return sizes;
}

/**
 * Return the sizes that a Split gives along its axis.
 *
 * @param {GraphNode} node
 * @param {Arrays} inputs
 * @param {number} size
 */
export function splitSizes(node, inputs, size) {
  const parts = node.outputs.length;
  const even = Math.ceil(size / parts);
  const sizes =
    nonEmpty(node.attributes["split"]) ??
    integers(inputs, 1) ??
    Array.from({ length: parts }, (_, index) => Math.min(even, size - even * index));
  const whole = sizes.reduce((sum, part) => sum + part, 0);
  if (whole !== size || sizes.some((part) => part < 0)) {
    throw new PlanError(`${size} cannot be split into [${sizes.join(", ")}]`);
  }
  return sizes;
}

/**
 * Return what a Shape node gives.
 *
 * @param {GraphNode} node
 * @param {readonly number[]} shape
 */
export function shapeOf(node, shape) {
  const part = shape.slice(node.attributes["start"] ?? 0, node.attributes["end"]);
  return arrayOf("int64", [part.length], part);
}

/**
 * Return a list with an entry more at each of these axes.
 *
 * @param {readonly number[]} list
 * @param {readonly number[]} axes
 * @param {number} entry
 */
export function withNewAxes(list, axes, entry) {
  const rank = list.length + axes.length;
  const added = new Set(axes.map((axis) => normalAxis(axis, rank)));
  if (added.size !== axes.length)
    throw new PlanError(`axes [${axes.join(", ")}] that are the same`);
  let next = 0;
  return Array.from({ length: rank }, (_, axis) => (added.has(axis) ? entry : list[next++]));
}

/**
 * Return the axes that a Squeeze keeps.
 *
 * @param {GraphNode} node
 * @param {Arrays} inputs
 * @param {readonly number[]} shape
 */
export function keptAxes(node, inputs, shape) {
  const axes = axesOf(node, inputs) ?? shape.flatMap((size, axis) => (size === 1 ? [axis] : []));
  const dropped = new Set(axes.map((axis) => normalAxis(axis, shape.length)));
  if ([...dropped].some((axis) => shape[axis] !== 1)) {
    throw new PlanError(`[${shape.join(", ")}] has no axes [${axes.join(", ")}] of size 1`);
  }
  return shape.map((_, axis) => axis).filter((axis) => !dropped.has(axis));
}
