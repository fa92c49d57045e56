/** Operators on numbers one by one: activations, sums and products with broadcasting, choices. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { arrayOf, broadcastShapes } from "../nd-array.js";
import { OPERATION, shaped } from "../recipe.js";
import { Constant, merged } from "../values.js";
import { constants, expanded, inverse, transposed } from "./views.js";
import { withActivation, withBias } from "./products.js";

/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").Value} Value */
/** @typedef {import("../values.js").View} View */

/** The activations of `kernels.h`. */
export const ACTIVATION = Object.freeze({
  tanh: 1,
  sigmoid: 2,
  relu: 3,
  leakyRelu: 4,
  clip: 5,
  exp: 6,
  negate: 7,
  absolute: 8,
  reciprocal: 9,
  squareRoot: 10,
  logarithm: 11,
  elu: 12,
  softplus: 13,
  hardSigmoid: 14,
  erf: 15,
});
export const ARITHMETIC = Object.freeze({
  add: 0,
  subtract: 1,
  multiply: 2,
  divide: 3,
  minimum: 4,
  maximum: 5,
  power: 6,
});

/**
 * Return the axes in the order in which the elements lie, the farthest apart first.
 *
 * @param {View} tensor
 */
export function byMemory({ shape, strides }) {
  const apart = strides.map(Math.abs);
  return shape.map((_, axis) => axis).sort((a, b) => apart[b] - apart[a] || a - b);
}

/**
 * Return an activation of every element.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 * @param {number} kind
 * @param {readonly [number, number]} [numbers]
 */
export function activated(tracer, tensor, kind, numbers = [0, 0]) {
  const joined = withActivation(tracer, tensor, kind);
  if (joined !== undefined) return joined;
  let order = byMemory(tensor);
  let inside = transposed(tensor, order);
  if (!inside.isDense) {
    inside = tracer.dense(tensor);
    order = tensor.shape.map((_, axis) => axis);
  }
  const made = tracer.new(inside.shape);
  tracer.emit({
    operation: OPERATION.activate,
    kind,
    sizes: [inside.count],
    places: [inside.place, made.place],
    numbers,
  });
  return transposed(made, inverse(order));
}

/**
 * Return x and z joined number by number, as numpy broadcasts them.
 *
 * @param {Tracer} tracer
 * @param {number} kind
 * @param {View} x
 * @param {View} z
 */
export function combined(tracer, kind, x, z) {
  const shape = broadcastShapes(x.shape, z.shape);
  const same = (/** @type {View} */ tensor) => String(tensor.shape) === String(shape);
  const whole = expanded(same(z) && !same(x) ? z : x, shape);
  const order = byMemory(whole);
  const inMemory = (/** @type {View} */ tensor) => transposed(expanded(tensor, shape), order);
  const target = tracer.new(order.map((axis) => whole.shape[axis]));
  const [from, other] = [inMemory(x), inMemory(z)];
  const { sizes, strides } = merged(target.shape, from.strides, other.strides);
  tracer.emit({
    operation: OPERATION.arithmetic,
    kind,
    sizes,
    places: [from.place, other.place, target.place],
    distances: shaped(...strides),
    axes: sizes.length,
  });
  return transposed(target, inverse(order));
}

/**
 * Return the only number of a constant, or undefined.
 *
 * @param {Value | undefined} value
 */
function scalarOf(value) {
  const known = value instanceof Constant && value.array.size === 1 && value.array.dtype !== "bool";
  return known ? value.array.data[0] : undefined;
}

/**
 * @param {number} kind
 * @returns {Operator}
 */
function unary(kind) {
  return (tracer, _node, [value]) => {
    const tensor = tracer.floats(value);
    // Only this activation may take such a tensor: it has it already.
    return [tensor.applied ? tensor.with({ applied: "" }) : activated(tracer, tensor, kind)];
  };
}

/**
 * @param {number} kind
 * @param {number} alpha
 * @param {number} [beta]
 * @returns {Operator}
 */
function withAlpha(kind, alpha, beta = 0) {
  return (tracer, { attributes }, [value]) => {
    const numbers = /** @type {const} */ ([
      attributes["alpha"] ?? alpha,
      attributes["beta"] ?? beta,
    ]);
    return [activated(tracer, tracer.floats(value), kind, numbers)];
  };
}

/** @type {Operator} */
function clip(tracer, node, inputs) {
  const limit = (
    /** @type {string} */ name,
    /** @type {number} */ index,
    /** @type {number} */ none,
  ) => {
    if (node.attributes[name] !== undefined) return node.attributes[name];
    if (inputs[index] === undefined) return none;
    const value = scalarOf(inputs[index]);
    if (value !== undefined) return value;
    throw new PlanError(`${label(node)}: its ${name} is computed from the data`);
  };
  const limits = /** @type {const} */ ([limit("min", 1, -Infinity), limit("max", 2, Infinity)]);
  return [activated(tracer, tracer.floats(inputs[0]), ACTIVATION.clip, limits)];
}

/**
 * @param {number} kind
 * @returns {Operator}
 */
function binary(kind) {
  return (tracer, _node, [x, z]) => {
    if (kind === ARITHMETIC.add) {
      const joined = withBias(tracer, x, z) ?? withBias(tracer, z, x);
      if (joined !== undefined) return [joined];
    }
    return [combined(tracer, kind, tracer.floats(x), tracer.floats(z))];
  };
}

/** @type {Operator} */
function power(tracer, _node, [value, exponent]) {
  const x = tracer.floats(value);
  const known = scalarOf(exponent);
  if (known === 2) return [combined(tracer, ARITHMETIC.multiply, x, x)];
  if (known === 0.5) return [activated(tracer, x, ACTIVATION.squareRoot)];
  const z =
    exponent instanceof Constant
      ? new Constant(exponent.array.cast("float32"), exponent.isStatic)
      : exponent;
  return [combined(tracer, ARITHMETIC.power, x, tracer.floats(z))];
}

/**
 * @param {number} kind
 * @returns {Operator}
 */
function many(kind) {
  return (tracer, _node, inputs) => [
    inputs.map((value) => tracer.floats(value)).reduce((x, z) => combined(tracer, kind, x, z)),
  ];
}

/**
 * @param {string} name
 * @param {number} kind
 * @returns {Operator}
 */
function compare(name, kind) {
  return (tracer, node, inputs) => {
    const [x, z] = [tracer.tensor(inputs[0]), tracer.tensor(inputs[1])];
    if (x.dtype !== z.dtype || x.dtype === "bool") {
      throw new PlanError(`${label(node)}: compares ${x.dtype} with ${z.dtype}`);
    }
    const shape = broadcastShapes(x.shape, z.shape);
    const [from, other] = [expanded(x, shape), expanded(z, shape)];
    const made = tracer.new(shape, "bool");
    const { sizes, strides } = merged(shape, from.strides, other.strides);
    tracer.emit({
      operation: OPERATION.compare,
      kind: kind + (x.dtype === "int64" ? 16 : 0),
      sizes,
      places: [from.place, other.place, made.place],
      distances: shaped(...strides),
      axes: sizes.length,
      about: { operator: name, operands: inputs },
    });
    return [made];
  };
}

/** @type {Operator} */
function where(tracer, node, inputs) {
  const [condition, x, z] = [0, 1, 2].map((index) => tracer.tensor(inputs[index]));
  if (condition.dtype !== "bool" || x.dtype !== z.dtype || x.dtype === "bool") {
    throw new PlanError(`${label(node)}: chooses between ${x.dtype} and ${z.dtype}`);
  }
  const shape = broadcastShapes(condition.shape, x.shape, z.shape);
  const parts = [condition, x, z].map((tensor) => expanded(tensor, shape));
  const made = tracer.new(shape, x.dtype);
  const { sizes, strides } = merged(shape, ...parts.map((part) => part.strides));
  tracer.emit({
    operation: OPERATION.where,
    kind: x.dtype === "float32" ? 0 : 1,
    sizes,
    places: [...parts.map((part) => part.place), made.place],
    distances: shaped(...strides),
    axes: sizes.length,
  });
  return [made];
}

/** @type {Operator} */
function prelu(tracer, _node, inputs) {
  const [x, slope] = [tracer.floats(inputs[0]), tracer.floats(inputs[1])];
  const above = activated(tracer, x, ACTIVATION.relu);
  const below = activated(tracer, x, ACTIVATION.clip, [-Infinity, 0]);
  const scaled = combined(tracer, ARITHMETIC.multiply, below, slope);
  return [combined(tracer, ARITHMETIC.add, above, scaled)];
}

/** @type {Operator} */
function batchNorm(tracer, node, inputs) {
  const [, scale, shift, mean, variance] = constants(inputs);
  const { training_mode: training, epsilon = 1e-5 } = node.attributes;
  if (training || !scale || !shift || !mean || !variance) {
    throw new PlanError(`${label(node)}: computes its statistics`);
  }
  const x = tracer.floats(inputs[0]);
  const shape = [scale.size, ...new Array(Math.max(x.shape.length - 2, 0)).fill(1)];
  const factors = () =>
    scale.numbers().map((value, unit) => value / Math.sqrt(variance.data[unit] + epsilon));
  const key = `batch norm ${[scale, shift, mean, variance].map((array) => array.id).join(" ")}`;
  const factor = tracer.constant(`${key} factor ${shape.length}`, () =>
    arrayOf("float64", shape, factors()),
  );
  const added = tracer.constant(`${key} shift ${shape.length}`, () => {
    const own = factors();
    return arrayOf(
      "float64",
      shape,
      own.map((value, unit) => shift.data[unit] - mean.data[unit] * value),
    );
  });
  return [
    combined(tracer, ARITHMETIC.add, combined(tracer, ARITHMETIC.multiply, x, factor), added),
  ];
}

/**
 * @param {(tracer: Tracer, x: View) => View} gate
 * @returns {Operator}
 */
function gated(gate) {
  return (tracer, _node, [value]) => {
    const x = tracer.floats(value);
    return [combined(tracer, ARITHMETIC.multiply, x, gate(tracer, x))];
  };
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = {
  Abs: unary(ACTIVATION.absolute),
  Add: binary(ARITHMETIC.add),
  BatchNormalization: batchNorm,
  Clip: clip,
  Div: binary(ARITHMETIC.divide),
  Elu: withAlpha(ACTIVATION.elu, 1),
  Equal: compare("Equal", 0),
  Erf: unary(ACTIVATION.erf),
  Exp: unary(ACTIVATION.exp),
  Greater: compare("Greater", 3),
  GreaterOrEqual: compare("GreaterOrEqual", 4),
  HardSigmoid: withAlpha(ACTIVATION.hardSigmoid, 0.2, 0.5),
  HardSwish: gated((tracer, x) => activated(tracer, x, ACTIVATION.hardSigmoid, [1 / 6, 0.5])),
  LeakyRelu: withAlpha(ACTIVATION.leakyRelu, 0.01),
  Less: compare("Less", 1),
  LessOrEqual: compare("LessOrEqual", 2),
  Log: unary(ACTIVATION.logarithm),
  Max: many(ARITHMETIC.maximum),
  Min: many(ARITHMETIC.minimum),
  Mul: binary(ARITHMETIC.multiply),
  Neg: unary(ACTIVATION.negate),
  PRelu: prelu,
  Pow: power,
  Reciprocal: unary(ACTIVATION.reciprocal),
  Relu: unary(ACTIVATION.relu),
  Sigmoid: unary(ACTIVATION.sigmoid),
  Softplus: unary(ACTIVATION.softplus),
  Sqrt: unary(ACTIVATION.squareRoot),
  Sub: binary(ARITHMETIC.subtract),
  Sum: many(ARITHMETIC.add),
  Swish: gated((tracer, x) => activated(tracer, x, ACTIVATION.sigmoid)),
  Tanh: unary(ACTIVATION.tanh),
  Where: where,
};
