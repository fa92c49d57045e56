/** Convolutions over time, as products of what lies side by side when features are innermost. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { zeros } from "../nd-array.js";
import { OPERATION } from "../recipe.js";
import { between, constants, padded, transposed } from "./views.js";

/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").Value} Value */
/** @typedef {import("../values.js").View} View */
/**
 * @typedef {object} Convolution
 * @property {NdArray} weights [units, features, kernel].
 * @property {NdArray | undefined} bias
 * @property {number} groups
 * @property {number} stride
 * @property {number} dilation
 */

/** @type {Operator} */
function conv(tracer, node, inputs) {
  const convolution = read(node, inputs);
  const { weights, groups, stride, dilation } = convolution;
  const given = tracer.floats(inputs[0]);
  check(node, given, convolution);
  const [units, features, kernel] = weights.shape;
  const reach = (kernel - 1) * dilation + 1;
  const x = byTime(tracer, given, pads(node, given.shape[2], reach, stride));
  const time = Math.floor((x.shape[1] - reach) / stride) + 1;
  if (time < 1) throw new PlanError(`${label(node)}: ${x.shape[1]} steps, and it needs ${reach}`);
  const made = tracer.new([x.shape[0], time, units]);
  if (features === 1 && groups === units) depthwise(tracer, x, made, convolution);
  else for (let own = 0; own < groups; own++) group(tracer, x, made, convolution, own);
  return [transposed(made, [0, 2, 1])];
}

/**
 * @param {GraphNode} node
 * @param {(Value | undefined)[]} inputs
 * @returns {Convolution}
 */
function read(node, inputs) {
  const [, weights, bias] = constants(inputs);
  if (weights?.shape.length !== 3 || (inputs[2] !== undefined) !== (bias !== undefined)) {
    throw new PlanError(`${label(node)}: is not a convolution over time by weights`);
  }
  const { group: groups = 1, strides = [1], dilations = [1] } = node.attributes;
  return { weights, bias, groups, stride: strides[0], dilation: dilations[0] };
}

/**
 * Return the input as [batch, time, features], its features side by side, with zeros around.
 *
 * @param {Tracer} tracer
 * @param {View} given
 * @param {[number, number]} around
 */
function byTime(tracer, given, around) {
  const x = transposed(given, [0, 2, 1]);
  if (around.some(Boolean)) return padded(tracer, x, [[0, 0], around, [0, 0]]);
  return x.strides[2] !== 1 && x.shape[2] !== 1 ? tracer.dense(x) : x;
}

/**
 * @param {GraphNode} node
 * @param {View} x
 * @param {Convolution} convolution
 */
function check(node, x, { weights, groups, stride, dilation }) {
  if (x.shape.length !== 3) {
    throw new PlanError(`${label(node)}: takes a tensor with ${x.shape.length} axes`);
  }
  const [units, features] = weights.shape;
  const even = groups >= 1 && units % groups === 0;
  if (!even || x.shape[1] !== features * groups || weights.size === 0) {
    throw new PlanError(
      `${label(node)}: ${x.shape[1]} features for weights [${weights.shape.join(", ")}]`,
    );
  }
  if (!(stride >= 1 && dilation >= 1)) {
    throw new PlanError(`${label(node)}: strides of ${stride}, dilations of ${dilation}`);
  }
}

/**
 * @param {GraphNode} node
 * @param {number} time
 * @param {number} reach
 * @param {number} stride
 * @returns {[number, number]}
 */
function pads(node, time, reach, stride) {
  const automatic = node.attributes["auto_pad"] || "NOTSET";
  if (automatic === "NOTSET") {
    const [before, after] = node.attributes["pads"] ?? [0, 0];
    return [before, after];
  }
  if (automatic === "VALID") return [0, 0];
  const whole = Math.max((Math.ceil(time / stride) - 1) * stride + reach - time, 0);
  const less = Math.floor(whole / 2);
  if (automatic === "SAME_UPPER") return [less, whole - less];
  if (automatic === "SAME_LOWER") return [whole - less, less];
  throw new PlanError(`${label(node)}: pads as ${automatic}`);
}

/**
 * @param {Tracer} tracer
 * @param {View} x
 * @param {View} made
 * @param {Convolution} convolution
 * @param {number} own The number of the group.
 */
function group(tracer, x, made, { weights, bias, groups, stride, dilation }, own) {
  const [all, features, kernel] = weights.shape;
  const units = all / groups;
  const [from, to] = [own * units, (own + 1) * units];
  const key = `convolution ${own} ${groups} ${weights.id} ${bias?.id ?? ""}`;
  const packed = tracer.keep(key, () => {
    const rows = weights.rows(from, to).transposed([0, 2, 1]);
    return tracer.packer.matrix(rows.reshaped([units, kernel * features]), bias?.rows(from, to));
  });
  const given = between(x, 2, own * features, (own + 1) * features);
  const [batch, time] = made.shape;
  tracer.emit({
    operation: OPERATION.product,
    kind: 0,
    sizes: [batch, time, kernel, features],
    places: [given.place, between(made, 2, from, to).place],
    distances: [
      x.strides[0],
      stride * x.strides[1],
      dilation * x.strides[1],
      made.strides[0],
      made.strides[1],
    ],
    packed,
  });
}

/**
 * @param {Tracer} tracer
 * @param {View} x
 * @param {View} made
 * @param {Convolution} convolution
 */
function depthwise(tracer, x, made, { weights, bias, stride, dilation }) {
  const [channels, , kernel] = weights.shape;
  const key = `depthwise ${weights.id}`;
  const rows = tracer.constant(key, () => weights.reshaped([channels, kernel]).turned);
  const added = tracer.constant(
    `${key} bias ${bias?.id ?? ""}`,
    () => bias ?? zeros("float32", [channels]),
  );
  const [batch, time] = made.shape;
  tracer.emit({
    operation: OPERATION.depthwise,
    kind: 0,
    sizes: [batch, time, channels, kernel],
    places: [x.place, rows.place, added.place, made.place],
    distances: [x.strides[0], x.strides[1], made.strides[0], made.strides[1], stride, dilation],
  });
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = { Conv: conv };
