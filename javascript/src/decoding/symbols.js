/** The symbols of a decoder, and the rows of what it reads. */

import { BATCH } from "../contract.js";
import { dtypeOf } from "../dtypes.js";
import { EngineError, InputError } from "../errors.js";
import { joinRows, splitRows } from "../pool/batching.js";
import { Tensor, asTensor, numberAt, product } from "../tensor.js";
import { symbolShape } from "./ports.js";
import { highest } from "./search.js";

/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../streaming/step-output.js").Answer} Answer */
/** @typedef {import("../tensor.js").TensorLike} TensorLike */
/** @typedef {import("./ports.js").Ports} Ports */

/**
 * Return the highest symbol that a dtype of integers holds.
 *
 * @param {string} dtype
 */
function largest(dtype) {
  const [, unsigned, bits] = /^(u?)int(\d+)$/u.exec(dtype) ?? [];
  return 2 ** (Number(bits) - (unsigned ? 0 : 1)) - 1;
}

/** @param {Tensor} tensor */
function isWhole({ dtype }) {
  return ["i", "u"].includes(dtypeOf(dtype)?.kind ?? "");
}

/**
 * Return the numbers of a tensor.
 *
 * @param {Tensor} tensor
 */
export function numbersOf(tensor) {
  return Array.from({ length: tensor.size }, (_, index) => numberAt(tensor, index));
}

/**
 * Read the symbols that a decoder begins with.
 *
 * @param {unknown} start As the caller passed them.
 * @param {number} batch How many rows one symbol is for.
 * @param {TensorSpec} spec The input that takes them.
 * @returns {number[][]} Those of each row.
 * @throws {InputError} If they are not symbols, or the dtype of the input does not hold them.
 */
export function symbolsOf(start, batch, spec) {
  const tensor = asTensor("start", start, InputError);
  const symbols = numbersOf(tensor);
  if (!isWhole(tensor) || tensor.shape.length > 2 || !symbols.length || Math.min(...symbols) < 0) {
    throw new InputError(
      "start: expected a symbol (an integer of 0 or more), one for each row [batch], or the same " +
        `number for each [batch, steps], got ${tensor}`,
    );
  }
  const top = Math.max(...symbols);
  if (top > largest(spec.dtype))
    throw new InputError(`start: ${spec} cannot take the symbol ${top}`);
  const [rows, steps = 1] = tensor.shape;
  if (rows === undefined) return Array.from({ length: batch }, () => symbols);
  return Array.from({ length: rows }, (_, row) => symbols.slice(row * steps, (row + 1) * steps));
}

/**
 * Check symbols that end a sequence, or move a transducer on.
 *
 * @param {string} name
 * @param {unknown} given
 * @param {TensorSpec} logits
 * @returns {number[]}
 */
export function listedSymbols(name, given, logits) {
  const tensor = asTensor(name, given ?? [], InputError);
  const [count, symbols] = [logits.axes.at(-1), numbersOf(tensor)];
  const ends = typeof count === "number" ? count : Infinity;
  const isListed = tensor.shape.length <= 1 && (isWhole(tensor) || symbols.length === 0);
  if (isListed && symbols.every((symbol) => symbol >= 0 && symbol < ends)) return symbols;
  const several = name === "stop" ? ", several of them, or null" : "";
  const shown = symbols.length === 1 ? symbols[0] : tensor;
  throw new InputError(`${name}: expected a symbol from 0 to ${ends - 1}${several}, got ${shown}`);
}

/**
 * Return symbols as the tensor of one step.
 *
 * @param {TensorSpec} spec
 * @param {readonly number[]} symbols
 */
export function symbolFrame(spec, symbols) {
  const shape = symbolShape(spec, symbols.length);
  return new Tensor("float64", Float64Array.from(symbols), shape).astype(spec.dtype);
}

/**
 * Return how many rows a tensor has; undefined where it has no batch axis.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 */
export function rowsOf({ axes }, { shape }) {
  return axes.includes(BATCH) && shape.length === axes.length
    ? shape[axes.indexOf(BATCH)]
    : undefined;
}

/**
 * Return rows of a tensor; all of it where it has no batch axis.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 * @param {readonly number[]} rows
 */
export function takeRows(spec, tensor, rows) {
  if (rowsOf(spec, tensor) === undefined) return tensor;
  const at = spec.axes.indexOf(BATCH);
  const split = splitRows(tensor, at);
  return joinRows(
    rows.map((row) => /** @type {Tensor} */ (split[row])),
    at,
  );
}

/**
 * Read the logits of a step.
 *
 * @param {Ports} ports What the logits are called.
 * @param {Answer} answer What the step gave.
 * @param {readonly boolean[]} live The rows that are not finished.
 * @returns {Float64Array[]} Those of each row.
 * @throws {EngineError} If a row that is `live` has none to choose by: NaN, infinity, or all
 *   -infinity.
 * @throws {InputError} If the next input does not hold every symbol.
 */
export function readLogits({ symbol, logits: { name } }, answer, live) {
  const tensor = answer instanceof Tensor ? answer : /** @type {Tensor} */ (answer[name]);
  const count = product(tensor.shape) / live.length;
  if (count - 1 > largest(symbol.dtype)) {
    throw new InputError(`${symbol}: cannot take each of ${count} symbols`);
  }
  const numbers = Float64Array.from(numbersOf(tensor));
  return live.map((isLive, row) => {
    const logits = numbers.subarray(row * count, (row + 1) * count);
    const top = logits.some(Number.isNaN) ? NaN : logits[highest(logits)];
    if (isLive && !Number.isFinite(top)) {
      const shown = String(top).replace("NaN", "nan").replace("Infinity", "inf");
      throw new EngineError(
        `${name}: expected logits to choose by, got ${shown} as the highest of row ${row}`,
      );
    }
    return logits;
  });
}
