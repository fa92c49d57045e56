/** `Scan`: a known cell becomes one call, any other body is laid out step by step. */

import { PlanError } from "../../errors.js";
import { isGraph, label } from "../model-file.js";
import { zeros } from "../nd-array.js";
import { LayerWeights } from "../packing.js";
import { OPERATION } from "../recipe.js";
import { Constant, View } from "../values.js";
import { NoMatch, readSteps } from "./cell-pattern.js";
import { picked, reshaped } from "./views.js";
import { productOf } from "./products.js";
import { inOrder, onDenseRows, runDirection, sum } from "./recurrent.js";

/** @typedef {import("../model-file.js").Graph} Graph */
/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../tracer.js").Operator} Operator */
/** @typedef {import("../tracer.js").Tracer} Tracer */
/** @typedef {import("../values.js").Value} Value */
/** @typedef {import("./cell-pattern.js").Step} Step */
/**
 * A Scan whose attributes were read.
 *
 * @typedef {object} Scan
 * @property {GraphNode} node
 * @property {Graph} body
 * @property {Value[]} initial
 * @property {View[]} walked
 * @property {readonly number[]} ways For each scanned input whether it is read from its end.
 * @property {readonly number[]} out For each output whether it is written from its end.
 */

/** Nodes of a body times steps that are laid out one by one. */
const MOST_CALLS = 50_000;

/** @type {Operator} */
function scan(tracer, node, inputs) {
  const read = readScan(tracer, node, inputs);
  try {
    return asLayers(tracer, read, readSteps(read.body, tracer.scope, read.initial.length));
  } catch (error) {
    // Parts of another node's kind or number are not steps of a known cell either.
    if (!(error instanceof NoMatch) && !(error instanceof TypeError)) throw error;
    return stepByStep(tracer, read);
  }
}

/**
 * @param {Tracer} tracer
 * @param {GraphNode} node
 * @param {(Value | undefined)[]} inputs
 * @returns {Scan}
 */
function readScan(tracer, node, inputs) {
  const { body, num_scan_inputs: scanned, ...attributes } = node.attributes;
  const given = inputs.filter((value) => value !== undefined);
  const states = inputs.length - scanned;
  const outputs = isGraph(body) ? body.outputs.length - states : -1;
  const sound = states >= 0 && scanned >= 1 && outputs >= 0 && given.length === inputs.length;
  if (!sound || body.inputs.length !== inputs.length) {
    throw new PlanError(`${label(node)}: a body that does not fit`);
  }
  for (const name of ["scan_input_axes", "scan_output_axes"]) {
    if (attributes[name]?.some(Boolean)) {
      throw new PlanError(`${label(node)}: scans along another axis than the first`);
    }
  }
  return {
    node,
    body,
    initial: given.slice(0, states),
    walked: given.slice(states).map((value) => tracer.tensor(value)),
    ways: directions(attributes["scan_input_directions"], scanned),
    out: directions(attributes["scan_output_directions"], outputs),
  };
}

/**
 * @param {readonly number[] | undefined} given
 * @param {number} size
 * @returns {readonly number[]}
 */
function directions(given, size) {
  return given ?? new Array(size).fill(0);
}

/**
 * @param {Tracer} tracer
 * @param {Scan} read
 * @param {Step[]} steps
 */
function asLayers(tracer, { initial, walked, ways, out }, steps) {
  const per = initial.length / steps.length;
  const prepared = steps.map((step) => prepare(tracer, step, walked));
  const finals = /** @type {View[]} */ ([]);
  const outputs = steps.map((step, index) => {
    const { x, weights, lengths } = prepared[index];
    const backward = ways[step.scanned];
    if (out[index] !== backward) throw new NoMatch();
    if (step.mask !== undefined && ways[step.mask] !== backward) throw new NoMatch();
    const [time, batch] = x.shape;
    const sizes = [weights.stateSize, weights.hiddenSize].slice(0, per);
    const [h0, c0] = sizes.map((size, part) =>
      stateOf(tracer, initial[index * per + part], batch, size),
    );
    const y = tracer.new([time, batch, weights.stateSize]);
    const ends = sizes.map((size) => tracer.new([batch, size]));
    const [hN, cN] = ends;
    runDirection(tracer, weights, { backward: Boolean(backward), x, h0, c0, lengths, y, hN, cN });
    finals.push(...ends);
    return step.early ? y.with({ applied: step.nonlinearity }) : y;
  });
  return [...finals, ...outputs];
}

/**
 * Return the input of a direction before its product, its weights, and the lengths.
 *
 * @param {Tracer} tracer
 * @param {Step} step
 * @param {readonly View[]} walked
 */
function prepare(tracer, step, walked) {
  const projected = walked[step.scanned];
  const call = productOf(tracer, projected);
  if (call === undefined || projected.shape.length !== 3) throw new NoMatch();
  const {
    x,
    weights: { rows, owner, bias },
  } = call.about;
  if (rows.shape[0] !== step.weightHh.shape[0]) throw new NoMatch();
  const key = `scan ${tracer.path.join(".")} ${owner.id} ${bias?.id ?? ""} ${step.scanned}`;
  const weights = tracer.keep(key, () => weightsOf(step, rows, bias));
  const lengths = step.mask === undefined ? undefined : lengthsOf(tracer, walked[step.mask], x);
  return { x: onDenseRows(tracer, x), weights, lengths };
}

/**
 * @param {Step} step
 * @param {NdArray} rows
 * @param {NdArray | undefined} given
 */
function weightsOf(step, rows, given) {
  const { cell, nonlinearity, order, weightHh, biasHh, projection } = step;
  let [bias, biasN] = [
    given && inOrder(given, order),
    /** @type {NdArray | undefined} */ (undefined),
  ];
  if (biasHh !== undefined) {
    const other = inOrder(biasHh, order);
    const reset = (biasHh.size / 3) * 2;
    bias = sum(bias ?? zeros("float32", other.shape), other, reset);
    biasN = other.rows(reset, other.size);
  }
  return new LayerWeights({
    cell,
    nonlinearity,
    weightIh: inOrder(rows, order),
    weightHh: inOrder(weightHh, order),
    bias,
    biasN,
    projection,
  });
}

/**
 * Return the lengths [batch] that a mask [time, batch, 1] is made of: `steps < lengths`.
 *
 * @param {Tracer} tracer
 * @param {View} mask
 * @param {View} x
 */
function lengthsOf(tracer, mask, x) {
  const call = tracer.producer(mask);
  if (call?.operation !== OPERATION.compare || call.about?.["operator"] !== "Less")
    throw new NoMatch();
  const [column, ends] = call.about["operands"];
  const [time, batch] = x.shape;
  if (!(column instanceof Constant) || !(ends instanceof View)) throw new NoMatch();
  const { array } = column;
  const counts =
    String(array.shape) === String([time, 1, 1]) && array.data.every((step, at) => step === at);
  if (!counts || String(ends.shape) !== String([1, batch, 1])) throw new NoMatch();
  return tracer.dense(reshaped(tracer, ends, [batch]));
}

/**
 * @param {Tracer} tracer
 * @param {Value} value
 * @param {number} batch
 * @param {number} size
 */
function stateOf(tracer, value, batch, size) {
  if (value instanceof Constant && !value.array.data.some((number) => number !== 0))
    return undefined;
  const state = onDenseRows(tracer, tracer.floats(value));
  if (String(state.shape) !== String([batch, size])) throw new NoMatch();
  return state;
}

/**
 * Lay the body out once for each step.
 *
 * @param {Tracer} tracer
 * @param {Scan} read
 */
function stepByStep(tracer, { node, body, initial, walked, ways, out }) {
  const time = walked[0].shape[0];
  if (walked.some((tensor) => tensor.shape[0] !== time) || time === 0) {
    throw new PlanError(`${label(node)}: scans tensors of different lengths`);
  }
  const nodes = Math.max(body.nodes.length, 1);
  if (time * nodes > MOST_CALLS) {
    throw new PlanError(
      `${label(node)}: ${time} steps of a body that is not an RNN, LSTM or GRU; the native ` +
        `engine takes up to ${Math.floor(MOST_CALLS / nodes)}: give it in chunks`,
    );
  }
  let state = /** @type {Value[]} */ (initial.map((value) => tracer.tensor(value)));
  const made = /** @type {View[]} */ ([]);
  for (let step = 0; step < time; step++) {
    const parts = walked.map((tensor, index) =>
      picked(tensor, 0, ways[index] ? time - 1 - step : step),
    );
    const values = [...state, ...parts];
    const bound = body.inputs.map(
      ({ name }, index) => /** @type {const} */ ([name, values[index]]),
    );
    const results = tracer.branch(body, 0, /** @type {[string, Value][]} */ (bound));
    state = results.slice(0, initial.length);
    results.slice(initial.length).forEach((value, index) => {
      const part = tracer.tensor(value);
      made[index] ??= tracer.new([time, ...part.shape], part.dtype);
      const target = picked(made[index], 0, out[index] ? time - 1 - step : step);
      if (String(target.shape) !== String(part.shape)) {
        throw new PlanError(`${label(node)}: an output changes its shape`);
      }
      tracer.copy(part, target);
    });
  }
  if (made.some((tensor) => tensor.count === 0)) {
    throw new PlanError(`${label(node)}: gives an empty output`);
  }
  return [...state, ...made];
}

/** @type {Readonly<Record<string, Operator>>} */
export const OPERATORS = { Scan: scan };
