/** `transduce`: symbols from the frames of an encoder, by the step of a transducer. */

import { boundLengths } from "../binding.js";
import { BATCH, TIME } from "../contract.js";
import { InputError, StateError } from "../errors.js";
import { inputTensor } from "../input-tensor.js";
import { checkOptions, wholeNumber } from "../options.js";
import { joinRows } from "../pool/batching.js";
import { checkFinite } from "../streaming/silence-and-nan.js";
import { Tensor, product } from "../tensor.js";
import { Decoded } from "./decode.js";
import { findPorts } from "./ports.js";
import { chosenScore, highest } from "./search.js";
import {
  listedSymbols,
  numbersOf,
  readLogits,
  symbolFrame,
  symbolsOf,
  takeRows,
} from "./symbols.js";

/** @typedef {import("../binding.js").State} State */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../tensor.js").TensorLike} TensorLike */
/** @typedef {import("./ports.js").Ports} Ports */
/**
 * How a transducer writes.
 *
 * @typedef {object} TransduceOptions
 * @property {number} blank The symbol that moves on to the next frame.
 * @property {number} [maxSymbols] The most symbols that are written at one frame, 1 or more.
 * @property {TensorLike | null} [lengths] Frames of each row, integers [batch]; without them every
 *   row is full.
 * @property {TensorLike | null} [start] The symbol before the first, one or one for each row;
 *   without it, the blank.
 * @property {State | null} [state] The initial state of the predictor; without one, zeros.
 * @property {string} [frame] The input that takes the frames, where several fit.
 * @property {string} [symbol] The input that takes the symbols, where several fit.
 * @property {string} [logits] The output that holds the logits, where several fit.
 */
/**
 * One row: where it is, and what it has written.
 *
 * @typedef {object} Row
 * @property {number} at Its frame.
 * @property {number} end Its frames.
 * @property {number} here Symbols written at this frame.
 * @property {number} symbol The last one.
 * @property {number} score
 * @property {number[]} tokens
 * @property {number[]} frames
 */
/**
 * @typedef {{ frame: TensorSpec, ports: Ports, frames: Tensor, blank: number, most: number }} Task
 */

const OPTIONS = ["blank", "maxSymbols", "lengths", "start", "state", "frame", "symbol", "logits"];

/**
 * Do what `Session.transduce` says.
 *
 * @param {Session} session
 * @param {TensorLike} frames
 * @param {TransduceOptions} options
 * @returns {Promise<Decoded>}
 */
export async function transduce(session, frames, options) {
  const checked = checkOptions("transduce", options, OPTIONS);
  const most = wholeNumber("maxSymbols", checked.maxSymbols ?? 10);
  session.checkStreamable();
  const face = session.interface;
  const frame = frameInput(face.dataInputs, checked.frame);
  const ports = findPorts(face, [frame.name], checked);
  const tensor = checkedFrames(frame, frames);
  const [batch = 0, time = 0] = tensor.shape;
  const ends = checked.lengths ?? Array.from({ length: batch }, () => time);
  const lengths = numbersOf(boundLengths("lengths", ends, batch, time));
  const [blank] = listedSymbols("blank", checked.blank ?? NaN, ports.logits);
  const begun = symbolsOf(checked.start ?? blank, batch, ports.symbol);
  if (begun.length !== batch || begun.some((row) => row.length !== 1)) {
    throw new InputError(`start: expected one symbol, or one for each of ${batch} row(s)`);
  }
  const states = session.binder.state(checked.state, new Map([[BATCH, batch]]));
  const whole = face.stateInputs.find((spec) => !spec.axes.includes(BATCH));
  if (whole !== undefined) {
    throw new StateError(`the state ${whole} has no ${BATCH} axis: each row has its own frame`);
  }
  const rows = lengths.map((end, row) => {
    const symbol = begun[row]?.[0] ?? 0;
    return { at: 0, end, here: 0, symbol, score: 0, tokens: [], frames: [] };
  });
  const task = { frame, ports, frames: tensor, blank: Number(blank), most };
  await walk(session, rows, Object.values(states), task);
  return new Decoded(
    rows.map(({ tokens, score, frames: places }) => [
      { tokens, score, finished: true, frames: places },
    ]),
  );
}

/**
 * Walk until every row is at its end; all rows run side by side, each at its own frame.
 *
 * @param {Session} session
 * @param {readonly Row[]} rows
 * @param {readonly Tensor[]} begun
 * @param {Task} task
 */
async function walk(session, rows, begun, { frame, ports, frames, blank, most }) {
  let state = begun;
  for (;;) {
    const live = rows.map(({ at, end }) => at < end);
    if (!live.includes(true)) return;
    const symbols = rows.map(({ symbol }) => symbol);
    const feeds = {
      [frame.name]: withTime(frame, framesAt(frame, frames, rows)),
      [ports.symbol.name]: withTime(ports.symbol, symbolFrame(ports.symbol, symbols)),
    };
    const result = await session.run(feeds, { state });
    const logits = readLogits(ports, result.outputs, live);
    const wrote = rows.map((row, index) => {
      const own = logits[index];
      return own !== undefined && live[index] === true && advance(row, own, blank, most);
    });
    state = kept(session.interface.stateInputs, wrote, result.state, state);
  }
}

/**
 * Let a row write the most likely symbol, or move on to its next frame.
 *
 * @param {Row} row
 * @param {Float64Array} logits
 * @param {number} blank
 * @param {number} most
 * @returns {boolean} Whether it wrote.
 */
function advance(row, logits, blank, most) {
  const symbol = highest(logits);
  const wrote = symbol !== blank;
  row.score += chosenScore(logits);
  if (wrote) {
    row.tokens.push(symbol);
    row.frames.push(row.at);
    row.symbol = symbol;
    row.here += 1;
  }
  if (wrote && row.here < most) return true;
  row.at += 1;
  row.here = 0;
  return wrote;
}

/**
 * Return the state of each row: the next one where a symbol was written.
 *
 * @param {readonly TensorSpec[]} specs
 * @param {readonly boolean[]} wrote
 * @param {readonly Tensor[]} after
 * @param {readonly Tensor[]} before
 */
function kept(specs, wrote, after, before) {
  return specs.map((spec, at) => {
    const [next, last] = /** @type {[Tensor, Tensor]} */ ([after[at], before[at]]);
    const rows = wrote.map((isNew, row) => takeRows(spec, isNew ? next : last, [row]));
    return joinRows(rows, spec.axes.indexOf(BATCH));
  });
}

/**
 * Return the frame of each row, without its time axis.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} frames [batch, time, ...]
 * @param {readonly Row[]} rows
 */
function framesAt(spec, frames, rows) {
  const [, time = 1, ...rest] = frames.shape;
  const size = product(rest);
  const place = spec.axes.filter((axis) => axis !== TIME).indexOf(BATCH);
  const own = rows.map(({ at }, row) => {
    const from = (row * time + Math.min(at, time - 1)) * size;
    const values = frames.data.slice(from, from + size);
    return new Tensor(frames.dtype, values, rest.toSpliced(place, 0, 1));
  });
  return joinRows(own, place);
}

/**
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 */
function withTime({ axes }, tensor) {
  const at = axes.indexOf(TIME);
  return at < 0 ? tensor : tensor.reshape(tensor.shape.toSpliced(at, 0, 1));
}

/**
 * @param {readonly TensorSpec[]} specs
 * @param {string | undefined} name
 * @returns {TensorSpec}
 */
function frameInput(specs, name) {
  const fitting = specs.filter(
    (spec) =>
      spec.dtype.startsWith("float") &&
      spec.axes.includes(BATCH) &&
      (name === undefined || name === spec.name),
  );
  const [only] = fitting;
  if (only !== undefined && fitting.length === 1) return only;
  const wanted =
    name === undefined ? "one float[batch, features] input" : `a float input '${name}'`;
  throw new InputError(
    `frame: expected a model with ${wanted} for the frames of the encoder, got ` +
      `${specs.join("; ")}${fitting.length ? ": pass { frame: 'name' }" : ""}`,
  );
}

/**
 * Return the frames, [batch, time, ...], after their shape and dtype were checked.
 *
 * @param {TensorSpec} spec
 * @param {TensorLike} frames
 */
function checkedFrames(spec, frames) {
  const tensor = inputTensor({ ...spec, name: "frames" }, frames, InputError);
  const rest = spec.axes.filter((axis) => axis !== BATCH && axis !== TIME);
  const { dtype, shape } = tensor;
  const fits = rest.every((axis, at) => typeof axis === "string" || axis === shape[at + 2]);
  if (dtype === spec.dtype && shape.length === 2 + rest.length && !shape.includes(0) && fits) {
    checkFinite(spec, tensor);
    return tensor;
  }
  const expected = [BATCH, TIME, ...rest].join(", ");
  throw new InputError(`frames: expected ${spec.dtype}[${expected}], got ${tensor}`);
}
