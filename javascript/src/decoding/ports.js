/** Which input a decoder reads its last symbol from, and which output holds the logits. */

import { BATCH, TIME } from "../contract.js";
import { InputError } from "../errors.js";

/** @typedef {import("../contract.js").Axis} Axis */
/** @typedef {import("../contract.js").Interface} Interface */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/**
 * Where symbols enter a model and logits leave it.
 *
 * @typedef {object} Ports
 * @property {TensorSpec} symbol An integer input [batch], or [batch, time].
 * @property {TensorSpec} logits A float output [batch, symbols], or [batch, time, symbols].
 */
/** @typedef {{ symbol?: string | undefined, logits?: string | undefined }} Named */

/**
 * Find both by their dtype and axes, unless the caller names them.
 *
 * @param {Interface} face The inputs and outputs of the model.
 * @param {readonly string[]} given Names of the inputs that keep one value.
 * @param {Named} named
 * @returns {Ports}
 * @throws {InputError} If none or several fit, or the named one does not.
 */
export function findPorts(face, given, named) {
  const free = face.dataInputs.filter((spec) => !given.includes(spec.name));
  const wanted = { option: "symbol", kind: "integer[batch] input" };
  const symbol = theOne(wanted, free.filter(takesSymbols), free, named.symbol);
  const missing = free.filter((spec) => spec !== symbol).map((spec) => spec.name);
  if (missing.length) {
    throw new InputError(
      `inputs: expected a value for ${missing.join(", ")}, which the model takes at every step ` +
        `as well as ${symbol.name}: pass { inputs: { ${missing[0]}: tensor } }`,
    );
  }
  let fitting = face.dataOutputs.filter(givesLogits);
  if (named.logits === undefined) {
    // A fixed number of symbols; attention weights have one for each place.
    const fixed = fitting.filter((spec) => typeof spec.axes.at(-1) === "number");
    if (fixed.length) fitting = fixed;
  }
  const output = { option: "logits", kind: "float[batch, symbols] output" };
  return { symbol, logits: theOne(output, fitting, face.dataOutputs, named.logits) };
}

/**
 * Return the shape of a step's symbols, without a time axis of any size.
 *
 * @param {TensorSpec} spec
 * @param {number} rows
 */
export function symbolShape(spec, rows) {
  return spec.axes.filter((axis) => axis !== TIME).map((axis) => (axis === BATCH ? rows : 1));
}

/**
 * Return the one that fits, or the one of that name.
 *
 * @param {{ option: string, kind: string }} wanted
 * @param {readonly TensorSpec[]} fitting
 * @param {readonly TensorSpec[]} specs
 * @param {string | undefined} name
 * @returns {TensorSpec}
 */
function theOne({ option, kind }, fitting, specs, name) {
  const named = fitting.filter((spec) => name === undefined || spec.name === name);
  const [found] = named;
  if (found !== undefined && named.length === 1) return found;
  const there = specs.join("; ") || "none";
  if (name !== undefined) {
    throw new InputError(`${option}: expected ${kind}, got '${name}': the model has ${there}`);
  }
  if (named.length) {
    const choices = named.map((spec) => `{ ${option}: '${spec.name}' }`).join(" or ");
    throw new InputError(`${option}: several of the model fit: pass ${choices}`);
  }
  throw new InputError(
    `${option}: expected a model with an ${kind}, got ${there}: export the step with its ` +
      "embedding and its last layer inside",
  );
}

/** @param {TensorSpec} spec */
function takesSymbols({ dtype, axes }) {
  return /^u?int/u.test(dtype) && hasOneNumberARow(axes);
}

/** @param {TensorSpec} spec */
function givesLogits({ dtype, axes }) {
  const last = axes.at(-1);
  const isFixed = last !== undefined && last !== BATCH && last !== TIME;
  return dtype.startsWith("float") && isFixed && hasOneNumberARow(axes.slice(0, -1));
}

/** @param {readonly Axis[]} axes */
function hasOneNumberARow(axes) {
  const rows = axes.filter((axis) => axis === BATCH);
  return rows.length === 1 && axes.every((axis) => axis === BATCH || axis === TIME || axis === 1);
}
