/**
 * ONNX's own recurrent operators: RNN, LSTM and GRU.
 *
 * https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`). A row of length zero hands
 * its initial state on, as in PyTorch; the operators' own text leaves it open.
 */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { arrayOf, concatenated } from "../nd-array.js";
import { LayerWeights } from "../packing.js";
import { OPERATION } from "../recipe.js";
import { constants, picked, transposed } from "./views.js";

/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").Value} Value */
/** @typedef {import("../values.js").View} View */
/**
 * What one direction of a layer reads and writes; the last axis of each is dense.
 *
 * @typedef {object} Direction
 * @property {boolean} backward Whether it starts at the end.
 * @property {View} x [time, batch, input].
 * @property {View | undefined} h0 [batch, state], or undefined for zeros.
 * @property {View | undefined} c0 [batch, hidden], likewise.
 * @property {View | undefined} lengths int64 [batch].
 * @property {View} y [time, batch, state], where its output goes.
 * @property {View} hN [batch, state], where its final state goes.
 * @property {View | undefined} cN [batch, hidden], of an LSTM.
 */

/**
 * For each gate in PyTorch's order (i, f, g, o; r, z, n) its place in ONNX's.
 *
 * @type {Readonly<Record<string, readonly number[]>>}
 */
const GATES = { RNN: [0], LSTM: [0, 2, 3, 1], GRU: [1, 0, 2] };

/**
 * Write down the call of one direction.
 *
 * @param {Tracer} tracer
 * @param {LayerWeights} weights
 * @param {Direction} direction
 */
export function runDirection(tracer, weights, { backward, x, h0, c0, lengths, y, hN, cN }) {
  const [time, batch] = x.shape;
  if (time === 0 || batch === 0) {
    throw new PlanError("a recurrent layer takes 1 or more steps, and 1 or more rows");
  }
  const rows = (/** @type {View | undefined} */ tensor) => tensor?.strides[0] ?? 0;
  tracer.emit({
    operation: OPERATION.layer,
    kind: Number(backward),
    sizes: [time, batch],
    places: [x, h0, c0, lengths, y, hN, cN].map((tensor) => tensor?.place),
    distances: [
      x.strides[0],
      x.strides[1],
      rows(h0),
      rows(c0),
      y.strides[0],
      y.strides[1],
      rows(hN),
      rows(cN),
    ],
    packed: packed(tracer, weights),
    writes: 3,
    about: { hiddenSize: weights.hiddenSize },
  });
}

/** @type {WeakMap<LayerWeights, number>} */
const NUMBERS = new WeakMap();
let numbered = 0;

/**
 * Return the weights of one direction as its call takes them; made once.
 *
 * @param {Tracer} tracer
 * @param {LayerWeights} weights
 */
function packed(tracer, weights) {
  const { hiddenSize: hidden, stateSize: state, weightIh, weightHh } = weights;
  const gates = Math.floor(weightIh.shape[0] / Math.max(hidden, 1));
  if (hidden === 0 || weightHh.shape[0] !== gates * hidden) {
    const expected = `[${gates * hidden}, ${state}]`;
    throw new PlanError(`weights [${weightHh.shape.join(", ")}], expected ${expected}`);
  }
  let number = NUMBERS.get(weights);
  if (number === undefined) NUMBERS.set(weights, (number = numbered++));
  return tracer.keep(`layer ${number}`, () => tracer.packer.layer(weights));
}

/**
 * Return a tensor whose last axis is dense.
 *
 * @param {Tracer} tracer
 * @param {View} tensor
 */
export function onDenseRows(tracer, tensor) {
  return tensor.shape.at(-1) === 1 || tensor.strides.at(-1) === 1 ? tensor : tracer.dense(tensor);
}

/**
 * Return the blocks of rows of an array, one for each gate, in another order.
 *
 * @param {NdArray} array
 * @param {readonly number[]} order
 */
export function inOrder(array, order) {
  const size = array.shape[0] / order.length;
  if (!Number.isInteger(size)) throw new PlanError("weights that are not whole gates");
  return concatenated(
    order.map((gate) => array.rows(gate * size, (gate + 1) * size)),
    0,
  );
}

/** @type {Operator} */
function layOut(tracer, node, inputs) {
  const backward = directionsOf(node);
  const weights = weightsOf(tracer, node, inputs, backward.length);
  const x = onDenseRows(tracer, tracer.floats(inputs[0]));
  const inputSize = weights[0].weightIh.shape[1];
  if (x.shape.length !== 3 || x.shape[2] !== inputSize) {
    throw new PlanError(`${label(node)}: an input of shape [${x.shape.join(", ")}]`);
  }
  const [time, batch] = x.shape;
  const [, , , , sequenceLens, ...initial] = inputs;
  const hidden = weights[0].hiddenSize;
  const shape = [weights.length, batch, hidden];
  const lengths = lengthsOf(tracer, node, sequenceLens, batch);
  const states = ["initial_h", "initial_c"].map((name, index) => {
    const value = initial[index];
    if (value === undefined) return undefined;
    return onDenseRows(tracer, checked(name, tracer.floats(value), shape));
  });
  const lstm = weights[0].cell === "lstm";
  const y = tracer.new([time, batch, weights.length, hidden]);
  const finals = Array.from({ length: lstm ? 2 : 1 }, () => tracer.new(shape));
  weights.forEach((own, index) => {
    const part = (/** @type {View | undefined} */ tensor) => tensor && picked(tensor, 0, index);
    runDirection(tracer, own, {
      backward: backward[index],
      x,
      h0: part(states[0]),
      c0: lstm ? part(states[1]) : undefined,
      lengths,
      y: picked(y, 2, index),
      hN: picked(finals[0], 0, index),
      cN: part(finals[1]),
    });
  });
  return [transposed(y, [0, 2, 1, 3]), ...finals];
}

/**
 * @param {Tracer} tracer
 * @param {GraphNode} node
 * @param {Value | undefined} value
 * @param {number} batch
 */
function lengthsOf(tracer, node, value, batch) {
  if (value === undefined) return undefined;
  const lengths = tracer.dense(checked("sequence_lens", tracer.tensor(value), [batch]));
  if (lengths.dtype !== "int64") throw new PlanError(`${label(node)}: lengths of ${lengths.dtype}`);
  return lengths;
}

/**
 * Return a tensor that must have a shape.
 *
 * @param {string} name
 * @param {View} tensor
 * @param {readonly number[]} shape
 */
function checked(name, tensor, shape) {
  if (String(tensor.shape) === String(shape)) return tensor;
  throw new PlanError(`${name}: expected [${shape.join(", ")}], got [${tensor.shape.join(", ")}]`);
}

/**
 * Return for each direction of a recurrent operator whether it starts at the end.
 *
 * @param {GraphNode} node
 */
function directionsOf(node) {
  const way = node.attributes["direction"] ?? "forward";
  if (way === "forward") return [false];
  if (way === "reverse") return [true];
  if (way === "bidirectional") return [false, true];
  throw new PlanError(`${label(node)}: direction '${way}'`);
}

/**
 * Return each direction's weights; made once.
 *
 * @param {Tracer} tracer
 * @param {GraphNode} node
 * @param {(Value | undefined)[]} inputs
 * @param {number} directions
 */
function weightsOf(tracer, node, inputs, directions) {
  const [, w, r, b] = constants(inputs);
  if (w === undefined || r === undefined || (inputs[3] !== undefined && b === undefined)) {
    throw new PlanError(`${label(node)}: its weights are computed from the data`);
  }
  const relu = checkAttributes(node, inputs, directions);
  checkSizes(node, directions, w, r, b);
  const before = node.opType === "GRU" && !node.attributes["linear_before_reset"];
  const key = `weights ${before} ${relu} ${node.opType} ${w.id} ${r.id} ${b?.id ?? ""}`;
  return tracer.keep(key, () =>
    Array.from({ length: directions }, (_, way) => {
      const parts = { w: w.entry(way), r: r.entry(way), b: b?.entry(way) };
      return direction(node.opType, parts, before, relu);
    }),
  );
}

/**
 * @param {GraphNode} node
 * @param {number} directions
 * @param {NdArray} w
 * @param {NdArray} r
 * @param {NdArray | undefined} b
 */
function checkSizes(node, directions, w, r, b) {
  const gates = GATES[node.opType].length;
  const hidden = node.attributes["hidden_size"] || r.shape.at(-1);
  const wanted = [directions, gates * hidden];
  const fits = w.shape.length === 3 && String(w.shape.slice(0, 2)) === String(wanted);
  if (!fits || String(r.shape) !== String([...wanted, hidden])) {
    throw new PlanError(
      `${label(node)}: weights of shapes [${w.shape.join(", ")}] and [${r.shape.join(", ")}]`,
    );
  }
  if (b !== undefined && String(b.shape) !== String([directions, 2 * gates * hidden])) {
    throw new PlanError(`${label(node)}: biases of shape [${b.shape.join(", ")}]`);
  }
}

/**
 * @param {string} operator
 * @param {{ w: NdArray, r: NdArray, b: NdArray | undefined }} parts
 * @param {boolean} before
 * @param {boolean} relu
 */
function direction(operator, { w, r, b }, before, relu) {
  const order = GATES[operator];
  const cell = /** @type {import("../packing.js").PlanCell} */ (
    before ? "gru_reset_before" : operator.toLowerCase()
  );
  const own = {
    cell,
    nonlinearity: relu ? /** @type {const} */ ("relu") : /** @type {const} */ ("tanh"),
    weightIh: inOrder(w, order).cast("float32"),
    weightHh: inOrder(r, order).cast("float32"),
  };
  if (b === undefined) return new LayerWeights(own);
  const half = b.size / 2;
  const [biasIh, biasHh] = [b.rows(0, half), b.rows(half, b.size)].map((part) =>
    inOrder(part, order),
  );
  if (cell !== "gru") return new LayerWeights({ ...own, bias: sum(biasIh, biasHh, half) });
  const reset = (half / 3) * 2;
  return new LayerWeights({
    ...own,
    bias: sum(biasIh, biasHh, reset),
    biasN: biasHh.rows(reset, half),
  });
}

/**
 * Return x, and z added to its first numbers.
 *
 * @param {NdArray} x
 * @param {NdArray} z
 * @param {number} first
 */
export function sum(x, z, first) {
  const made = arrayOf("float32", x.shape, x.data);
  for (let index = 0; index < first; index++) made.data[index] += z.data[index];
  return made;
}

/** @type {Readonly<Record<string, readonly string[]>>} */
const USUAL = { RNN: ["tanh"], LSTM: ["sigmoid", "tanh", "tanh"], GRU: ["sigmoid", "tanh"] };

/**
 * Refuse what the kernels do not have; return whether an RNN's nonlinearity is relu.
 *
 * @param {GraphNode} node
 * @param {(Value | undefined)[]} inputs
 * @param {number} directions
 */
function checkAttributes(node, inputs, directions) {
  const { attributes, opType } = node;
  for (const name of ["layout", "input_forget", "clip"]) {
    if (attributes[name] !== undefined && (attributes[name] !== 0 || name === "clip")) {
      throw new PlanError(`${label(node)}: ${name} is not supported by the native engine`);
    }
  }
  if (opType === "LSTM" && inputs[7] !== undefined) {
    throw new PlanError(`${label(node)}: peepholes are not supported by the native engine`);
  }
  return isRelu(node, directions);
}

/**
 * @param {GraphNode} node
 * @param {number} directions
 */
function isRelu(node, directions) {
  const named = /** @type {string[]} */ (node.attributes["activations"] ?? []);
  const found = named.map((name) => name.toLowerCase());
  const repeated = (/** @type {readonly string[]} */ names) =>
    String(new Array(directions).fill(names).flat());
  if (node.opType === "RNN" && String(found) === repeated(["relu"])) return true;
  if (found.length && String(found) !== repeated(USUAL[node.opType])) {
    throw new PlanError(`${label(node)}: activations ${found.join(", ")} are not known`);
  }
  return false;
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = { GRU: layOut, LSTM: layOut, RNN: layOut };
