/** Operators on constants: what the shapes of a call tell, and what is made of weights. */

import { halfToNumber, numberToHalf } from "../../dtypes.js";
import { PlanError } from "../../errors.js";
import {
  MOST,
  arrayOf,
  broadcastShapes,
  concatenated,
  count,
  denseStrides,
  repeatedStrides,
  walk,
  zeros,
} from "../nd-array.js";
import {
  axesOf,
  given,
  integers,
  keptAxes,
  newShape,
  nonEmpty,
  normalAxis,
  shapeOf,
  sliced,
  splitSizes,
  withNewAxes,
} from "./shape-rules.js";

/** @typedef {import("../nd-array.js").ConstantDtype} ConstantDtype */
/** @typedef {import("../tracer.js").Fold} Fold */
/** @typedef {import("./shape-rules.js").Part} Part */
/** @typedef {import("../nd-array.js").NdArray} NdArray */

/** @type {Readonly<Record<number, ConstantDtype>>} */
const DTYPES = {
  1: "float32",
  2: "uint8",
  3: "int8",
  6: "int32",
  7: "int64",
  9: "bool",
  11: "float64",
};
const FLOAT16 = 10;

/**
 * The entries of a slice along an axis.
 *
 * @param {NdArray} array
 * @param {number} axis
 * @param {Part} part
 */
function taken(array, axis, { start, step, size }) {
  const strides = denseStrides(array.shape);
  const shape = [...array.shape];
  shape[axis] = size;
  const offset = size ? start * strides[axis] : 0;
  strides[axis] *= step;
  return array.strided(shape, strides, offset);
}

/** @type {Fold} */
function constant({ attributes }) {
  if ("value" in attributes) return [attributes["value"]];
  for (const [name, dtype] of /** @type {const} */ ([
    ["value_int", "int64"],
    ["value_ints", "int64"],
    ["value_float", "float32"],
    ["value_floats", "float32"],
  ])) {
    const value = attributes[name];
    if (value === undefined) continue;
    return [
      Array.isArray(value) ? arrayOf(dtype, [value.length], value) : arrayOf(dtype, [], [value]),
    ];
  }
  throw new PlanError("a constant of another kind than numbers");
}

/** @type {Fold} */
function constantOfShape(node, inputs) {
  const value = node.attributes["value"] ?? zeros("float32", [1]);
  const made = zeros(value.dtype, integers(inputs, 0) ?? []);
  made.data.fill(value.data[0]);
  return [made];
}

/** @type {Fold} */
function gather(node, inputs) {
  const [data, indices] = [given(inputs, 0), given(inputs, 1)];
  const axis = normalAxis(node.attributes["axis"] ?? 0, data.shape.length);
  const size = data.shape[axis];
  const shape = [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)];
  const made = zeros(data.dtype, shape);
  const inner = count(data.shape.slice(axis + 1));
  const outer = count(data.shape.slice(0, axis));
  indices.numbers().forEach((number, at) => {
    if (!(number >= -size && number < size))
      throw new PlanError(`an index of ${number} into ${size}`);
    const from = number < 0 ? number + size : number;
    for (let row = 0; row < outer; row++) {
      const start = (row * size + from) * inner;
      made.data.set(data.data.subarray(start, start + inner), (row * indices.size + at) * inner);
    }
  });
  return [made];
}

/** @type {Fold} */
function slice(node, inputs) {
  let data = given(inputs, 0);
  for (const { axis, part } of sliced(node, inputs, data.shape)) data = taken(data, axis, part);
  return [data];
}

/** @type {Fold} */
function unsqueeze(node, inputs) {
  const data = given(inputs, 0);
  const axes = axesOf(node, inputs) ?? [];
  return [data.reshaped(withNewAxes(data.shape, axes, 1))];
}

/** @type {Fold} */
function squeeze(node, inputs) {
  const data = given(inputs, 0);
  return [data.reshaped(keptAxes(node, inputs, data.shape).map((axis) => data.shape[axis]))];
}

/** @type {Fold} */
function reshape(node, inputs) {
  const data = given(inputs, 0);
  const wanted = nonEmpty(node.attributes["shape"]) ?? integers(inputs, 1) ?? [];
  return [data.reshaped(newShape(node, data.shape, wanted))];
}

/** @type {Fold} */
function cast({ attributes }, inputs) {
  const [data, to] = [given(inputs, 0), attributes["to"]];
  if (to === FLOAT16) {
    const made = zeros("float32", data.shape);
    data.data.forEach((value, index) => (made.data[index] = halfToNumber(numberToHalf(value))));
    return [made];
  }
  const dtype = DTYPES[to];
  if (dtype === undefined) throw new PlanError(`casts to data_type ${to}`);
  return [data.cast(dtype)];
}

/** @type {Fold} */
function range(_node, inputs) {
  const [start, limit, delta] = [0, 1, 2].map((index) => given(inputs, index).data[0]);
  const size = Math.max(Math.ceil((limit - start) / delta), 0);
  const made = zeros(given(inputs, 0).dtype, [size]);
  for (let index = 0; index < size; index++) made.data[index] = start + index * delta;
  return [made];
}

/** @type {Fold} */
function expand(_node, inputs) {
  const data = given(inputs, 0);
  const shape = broadcastShapes(data.shape, integers(inputs, 1) ?? []);
  if (count(shape) > MOST) throw new PlanError("a constant is too large");
  return [data.strided(shape, repeatedStrides(data.shape, shape))];
}

/** @type {Fold} */
function tile(_node, inputs) {
  let data = given(inputs, 0);
  const repeats = integers(inputs, 1) ?? [];
  if (repeats.length !== data.shape.length) throw new PlanError("repeats for another rank");
  repeats.forEach((times, axis) => {
    if (count(data.shape) * times > MOST) throw new PlanError("a constant is too large");
    data =
      times > 0
        ? concatenated(new Array(times).fill(data), axis)
        : taken(data, axis, { start: 0, step: 1, size: 0 });
  });
  return [data];
}

/** @type {Fold} */
function split(node, inputs) {
  const data = given(inputs, 0);
  const axis = normalAxis(node.attributes["axis"] ?? 0, data.shape.length);
  let start = 0;
  return splitSizes(node, inputs, data.shape[axis]).map((size) => {
    const part = taken(data, axis, { start, step: 1, size });
    start += size;
    return part;
  });
}

/** @type {Fold} */
function dequantize({ attributes }, inputs) {
  const [data, scale] = [given(inputs, 0), given(inputs, 1)];
  if (attributes["block_size"]) throw new PlanError("weights quantized in blocks");
  const zero = inputs[2];
  const shape = data.shape.map(() => 1);
  if (scale.shape.length) {
    shape[normalAxis(attributes["axis"] ?? 1, data.shape.length)] = scale.size;
  }
  const strides = repeatedStrides(shape, data.shape);
  const made = zeros("float32", data.shape);
  const single = Math.fround;
  walk(data.shape, [strides], (index, [at]) => {
    made.data[index] = single(data.data[index] - (zero?.data[at] ?? 0)) * single(scale.data[at]);
  });
  return [made];
}

/**
 * @param {(so: number, far: number) => number} join
 * @param {number} [start] What an empty axis gives; without it, it is refused.
 * @returns {Fold}
 */
function reduced(join, start) {
  return (node, inputs) => {
    const data = given(inputs, 0);
    const rank = data.shape.length;
    let axes = axesOf(node, inputs) ?? [];
    if (!axes.length) {
      if (node.attributes["noop_with_empty_axes"]) return [data];
      axes = data.shape.map((_, axis) => axis);
    }
    const dropped = new Set(axes.map((axis) => normalAxis(axis, rank)));
    const kept = data.shape.map((size, axis) => (dropped.has(axis) ? 1 : size));
    if (start === undefined && data.size === 0) throw new PlanError("an empty axis is reduced");
    const found = new Array(count(kept)).fill(start);
    walk(data.shape, [repeatedStrides(kept, data.shape)], (index, [at]) => {
      found[at] = found[at] === undefined ? data.data[index] : join(found[at], data.data[index]);
    });
    const shape =
      (node.attributes["keepdims"] ?? 1) ? kept : kept.filter((_, a) => !dropped.has(a));
    return [arrayOf(data.dtype, shape, found)];
  };
}

/**
 * @param {(x: number) => number} compute
 * @param {ConstantDtype} [dtype]
 * @returns {Fold}
 */
function each(compute, dtype) {
  return (_node, inputs) => {
    const data = given(inputs, 0);
    const made = zeros(dtype ?? data.dtype, data.shape);
    data.data.forEach((value, index) => (made.data[index] = compute(value)));
    return [made];
  };
}

/**
 * @param {(x: number, z: number) => number} compute
 * @param {ConstantDtype} [dtype]
 * @returns {Fold}
 */
function both(compute, dtype) {
  return (_node, inputs) => [joined(given(inputs, 0), given(inputs, 1), compute, dtype)];
}

/**
 * @param {NdArray} x
 * @param {NdArray} z
 * @param {(x: number, z: number) => number} compute
 * @param {ConstantDtype} [dtype]
 */
function joined(x, z, compute, dtype) {
  if (x.dtype !== z.dtype) throw new PlanError(`joins ${x.dtype} with ${z.dtype}`);
  const shape = broadcastShapes(x.shape, z.shape);
  const made = zeros(dtype ?? x.dtype, shape);
  const strides = [repeatedStrides(x.shape, shape), repeatedStrides(z.shape, shape)];
  walk(shape, strides, (index, [from, other]) => {
    made.data[index] = compute(x.data[from], z.data[other]);
  });
  return made;
}

/**
 * @param {(x: number, z: number) => number} compute
 * @returns {Fold}
 */
function many(compute) {
  return (_node, inputs) => {
    const arrays = inputs.map((_, index) => given(inputs, index));
    return [arrays.reduce((x, z) => joined(x, z, compute))];
  };
}

/** @type {Fold} */
function divide(_node, inputs) {
  const [x, z] = [given(inputs, 0), given(inputs, 1)];
  const whole = x.isWhole;
  return [
    joined(x, z, (a, b) => {
      if (b === 0) throw new PlanError("a division by zero");
      return whole ? Math.trunc(a / b) : a / b;
    }),
  ];
}

/** @type {Fold} */
function modulo({ attributes }, inputs) {
  const byC = attributes["fmod"];
  return [
    joined(given(inputs, 0), given(inputs, 1), (a, b) => {
      if (b === 0) throw new PlanError("a division by zero");
      return byC ? a % b : a - Math.floor(a / b) * b;
    }),
  ];
}

/** @type {Fold} */
function where(_node, inputs) {
  const [condition, x, z] = [0, 1, 2].map((index) => given(inputs, index));
  if (x.dtype !== z.dtype) throw new PlanError(`chooses between ${x.dtype} and ${z.dtype}`);
  const shape = broadcastShapes(condition.shape, x.shape, z.shape);
  const made = zeros(x.dtype, shape);
  const strides = [condition, x, z].map((array) => repeatedStrides(array.shape, shape));
  walk(shape, strides, (index, [at, from, other]) => {
    made.data[index] = condition.data[at] ? x.data[from] : z.data[other];
  });
  return [made];
}

/**
 * Rounds to the nearest whole number, and to an even one between two.
 *
 * @param {number} x
 */
function rint(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest === 0.5) return below % 2 === 0 ? below : below + 1;
  return rest < 0.5 ? below : below + 1;
}

/** @param {number} x */
function squareRoot(x) {
  if (x < 0) throw new PlanError("a square root of a negative number");
  return Math.sqrt(x);
}

/**
 * Operators that are computed at once where all of their inputs are constants.
 *
 * @type {Readonly<Record<string, Fold>>}
 */
export const FOLDS = Object.freeze({
  Abs: each(Math.abs),
  Add: both((x, z) => x + z),
  And: both((x, z) => Number(x && z)),
  Cast: cast,
  Ceil: each(Math.ceil),
  Concat: (node, inputs) => {
    const arrays = inputs.map((_, index) => given(inputs, index));
    return [concatenated(arrays, normalAxis(node.attributes["axis"], arrays[0].shape.length))];
  },
  Constant: constant,
  ConstantOfShape: constantOfShape,
  DequantizeLinear: dequantize,
  Div: divide,
  Equal: both((x, z) => Number(x === z), "bool"),
  Expand: expand,
  Floor: each(Math.floor),
  Gather: gather,
  Greater: both((x, z) => Number(x > z), "bool"),
  GreaterOrEqual: both((x, z) => Number(x >= z), "bool"),
  Identity: (_node, inputs) => [given(inputs, 0)],
  Less: both((x, z) => Number(x < z), "bool"),
  LessOrEqual: both((x, z) => Number(x <= z), "bool"),
  Max: many(Math.max),
  Min: many(Math.min),
  Mod: modulo,
  Mul: both((x, z) => x * z),
  Neg: each((x) => -x),
  Not: each((x) => Number(!x)),
  Or: both((x, z) => Number(x || z)),
  Range: range,
  ReduceMax: reduced(Math.max),
  ReduceMin: reduced(Math.min),
  ReduceProd: reduced((x, z) => x * z, 1),
  ReduceSum: reduced((x, z) => x + z, 0),
  Reshape: reshape,
  Round: each(rint),
  Shape: (node, inputs) => [shapeOf(node, given(inputs, 0).shape)],
  Size: (_node, inputs) => [arrayOf("int64", [], [given(inputs, 0).size])],
  Slice: slice,
  Split: split,
  Sqrt: each(squareRoot),
  Squeeze: squeeze,
  Sub: both((x, z) => x - z),
  Tile: tile,
  Transpose: (node, inputs) => {
    const data = given(inputs, 0);
    return [node.attributes["perm"] ? data.transposed(node.attributes["perm"]) : data.turned];
  },
  Unsqueeze: unsqueeze,
  Where: where,
});
