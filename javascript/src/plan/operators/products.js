/** Products with weights: MatMul and Gemm, with the bias and the activation that follow. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { arrayOf, repeatedStrides } from "../nd-array.js";
import { OPERATION } from "../recipe.js";
import { Constant, View, merged } from "../values.js";
import { transposed } from "./views.js";

/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").Call} Call */
/** @typedef {import("../values.js").Value} Value */

/** tanh, sigmoid and relu, which a product applies before it stores. */
const JOINED = [1, 2, 3];

/**
 * Weights, and the array of the file that they are made of.
 *
 * @typedef {object} Weights
 * @property {NdArray} rows [units, inputs].
 * @property {NdArray} owner
 * @property {NdArray | undefined} [bias] [units].
 */

/**
 * Return x [..., inputs] times weights [units, inputs], and a bias [units].
 *
 * @param {Tracer} tracer
 * @param {View} given
 * @param {Weights} weights
 */
export function multiplied(tracer, given, weights) {
  const { rows, owner, bias } = weights;
  const [units, inputs] = rows.shape;
  if (given.shape.at(-1) !== inputs) {
    throw new PlanError(
      `a product of [${given.shape.join(", ")}] with weights for ${inputs} features`,
    );
  }
  if (inputs === 0 || units === 0) throw new PlanError("weights without elements");
  const key = `matrix ${rows.shape.join(" ")} ${rows === owner} ${owner.id} ${bias?.id ?? ""}`;
  const packed = tracer.keep(key, () => tracer.packer.matrix(rows, bias));
  const x = onRows(tracer, given);
  const {
    sizes,
    strides: [steps],
  } = merged(x.shape.slice(0, -1), x.strides.slice(0, -1));
  const [outer, count] = [1, 1, ...sizes].slice(-2);
  const [outerStep, rowStep] = [0, 0, ...steps].slice(-2);
  const made = tracer.new([...x.shape.slice(0, -1), units]);
  tracer.emit({
    operation: OPERATION.product,
    kind: 0,
    sizes: [outer, count, 1, inputs],
    places: [x.place, made.place],
    distances: [outerStep, rowStep, 0, count * units, units],
    packed,
    about: { weights, x, to: made },
  });
  return made;
}

/**
 * Return a tensor whose last axis is dense, and whose other axes are two at most.
 *
 * @param {Tracer} tracer
 * @param {View} x
 */
function onRows(tracer, x) {
  if (x.shape.at(-1) !== 1 && x.strides.at(-1) !== 1) return tracer.dense(x);
  const { sizes } = merged(x.shape.slice(0, -1), x.strides.slice(0, -1));
  return sizes.length <= 2 ? x : tracer.dense(x);
}

/**
 * Return the call that gave a tensor as a plain product of weights, or undefined.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 * @returns {(Call & { about: { weights: Weights, x: View, to: View } }) | undefined}
 */
export function productOf(tracer, tensor) {
  const call = tracer.producer(tensor);
  if (call?.operation !== OPERATION.product || call.about?.["to"] === undefined || call.kind) {
    return undefined;
  }
  const made = /** @type {View} */ (call.about["to"]);
  const same =
    String(made.shape) === String(tensor.shape) && String(made.strides) === String(tensor.strides);
  return same ? /** @type {any} */ (call) : undefined;
}

/**
 * Return a product and the bias that is added to it in one call, or undefined where they are not.
 *
 * @param {Tracer} tracer
 * @param {Value | undefined} x
 * @param {Value | undefined} bias
 */
export function withBias(tracer, x, bias) {
  if (!(x instanceof View) || !(bias instanceof Constant)) return undefined;
  const call = productOf(tracer, x);
  if (call === undefined || call.about.weights.bias !== undefined) return undefined;
  const [{ array }, units] = [bias, x.shape[x.shape.length - 1]];
  const fits = array.size === units && array.shape.at(-1) === units;
  if (!fits || array.shape.length > x.shape.length) return undefined;
  const row = tracer.keep(`row ${array.id}`, () => array.reshaped([units]));
  return multiplied(tracer, call.about.x, { ...call.about.weights, bias: row });
}

/**
 * Return a product and an activation in one call, or undefined where there is no such product.
 *
 * @param {Tracer} tracer
 * @param {View} x
 * @param {number} kind
 */
export function withActivation(tracer, x, kind) {
  const call = productOf(tracer, x);
  if (call === undefined || !JOINED.includes(kind)) return undefined;
  const made = tracer.new(x.shape);
  const { operation, sizes, distances, packed } = call;
  const places = [call.places[0], made.place];
  tracer.emit({ operation, kind, sizes, places, distances: distances ?? [], packed });
  return made;
}

/**
 * @param {import("../model-file.js").GraphNode} node
 * @param {Value | undefined} weights
 */
function matrixOf(node, weights) {
  if (weights instanceof Constant && weights.array.shape.length === 2) return weights.array;
  throw new PlanError(`${label(node)}: multiplies by something other than a matrix of weights`);
}

/** @type {Operator} */
function matmul(tracer, node, [x, weights]) {
  const owner = matrixOf(node, weights);
  const tensor = tracer.floats(x);
  if (!tensor.shape.length) throw new PlanError(`${label(node)}: multiplies a number`);
  return [multiplied(tracer, tensor, { rows: turned(tracer, owner), owner })];
}

/**
 * @param {Tracer} tracer
 * @param {NdArray} array
 */
function turned(tracer, array) {
  return tracer.keep(`turned ${array.id}`, () => array.turned);
}

const GEMM = { alpha: 1, beta: 1, transA: 0, transB: 0 };

/** @type {Operator} */
function gemm(tracer, node, [value, weights, bias]) {
  if (bias instanceof View) {
    throw new PlanError(`${label(node)}: multiplies by something other than a matrix of weights`);
  }
  const { alpha, beta, transA, transB } = { ...GEMM, ...node.attributes };
  const array = matrixOf(node, weights);
  const owner =
    alpha === 1 ? array : tracer.keep(`scaled ${array.id} ${alpha}`, () => scaled(array, alpha));
  const rows = transB ? owner : turned(tracer, owner);
  const given = tracer.floats(value);
  if (given.shape.length !== 2) {
    throw new PlanError(`${label(node)}: takes a tensor with ${given.shape.length} axes`);
  }
  const x = transA ? transposed(given, [1, 0]) : given;
  const row = bias && beta !== 0 ? rowOf(tracer, node, bias.array, rows.shape[0]) : undefined;
  return [multiplied(tracer, x, { rows, owner, bias: row })];
}

/**
 * Return the bias of a Gemm, one number for each unit.
 *
 * @param {Tracer} tracer
 * @param {import("../model-file.js").GraphNode} node
 * @param {NdArray} bias
 * @param {number} units
 */
function rowOf(tracer, node, bias, units) {
  if (bias.shape.length === 2 && bias.shape[0] !== 1) {
    throw new PlanError(`${label(node)}: adds another row to each row`);
  }
  const { beta = 1 } = node.attributes;
  return tracer.keep(`bias ${bias.id} ${units} ${beta}`, () => {
    const flat = scaled(bias, beta).reshaped([bias.size]);
    return flat.strided([units], repeatedStrides(flat.shape, [units]));
  });
}

/**
 * @param {NdArray} array
 * @param {number} factor
 */
function scaled(array, factor) {
  const single = Math.fround(factor);
  return arrayOf(
    "float32",
    array.shape,
    array.numbers().map((value) => value * single),
  );
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = { Gemm: gemm, MatMul: matmul };
