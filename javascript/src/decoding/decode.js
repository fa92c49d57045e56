/** `decode`: symbols from a model whose output is its next input. */

import { isMapping } from "../binding.js";
import { BATCH } from "../contract.js";
import { InputError, StateError } from "../errors.js";
import { inputTensor } from "../input-tensor.js";
import { checkOptions, wholeNumber } from "../options.js";
import { asTensor, typeName } from "../tensor.js";
import { findPorts } from "./ports.js";
import { BeamSearch, GreedySearch } from "./search.js";
import { listedSymbols, readLogits, rowsOf, symbolFrame, symbolsOf, takeRows } from "./symbols.js";

/** @typedef {import("../binding.js").State} State */
/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../binding.js").Values} Values */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../streaming/stream.js").Stream} Stream */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** @typedef {import("../tensor.js").TensorLike} TensorLike */
/** @typedef {import("./ports.js").Ports} Ports */
/** @typedef {import("./search.js").Hypothesis} Hypothesis */
/** @typedef {import("./search.js").Search} Search */
/**
 * How a decoder writes.
 *
 * @typedef {object} DecodeOptions
 * @property {number} maxSteps The most symbols that are chosen for a row, 1 or more, the stop
 *   symbol included.
 * @property {number | readonly number[] | null} [stop] The symbol that ends a sequence, or several;
 *   null always makes `maxSteps` steps.
 * @property {Values} [inputs] Inputs that are the same at every step, by name, such as the outputs
 *   of an encoder that an attention decoder reads, with the rows of the batch.
 * @property {State | null} [state] The initial state, such as the final one of an encoder; without
 *   one, zeros.
 * @property {number} [beam] How many hypotheses of each row are kept; 1 is greedy search.
 * @property {number} [lengthPenalty] With a beam, a hypothesis of n symbols, the stop symbol
 *   included, ranks by `score / n**lengthPenalty`.
 * @property {string} [symbol] The input that takes the symbols, where several fit.
 * @property {string} [logits] The output that holds the logits, where several fit.
 */
/**
 * What a decoder begins with.
 *
 * @typedef {object} Start
 * @property {number[][]} symbols Those of each row, which are fed before the first is chosen.
 * @property {Tensors} inputs The inputs that stay the same.
 * @property {readonly Tensor[] | undefined} state The initial states; undefined for zeros.
 */

const OPTIONS = [
  "maxSteps",
  "stop",
  "inputs",
  "state",
  "beam",
  "lengthPenalty",
  "symbol",
  "logits",
];

/** What `Session.decode` or `Session.transduce` wrote. */
export class Decoded {
  /** @param {readonly (readonly Hypothesis[])[]} hypotheses */
  constructor(hypotheses) {
    /** For each row of the batch its hypotheses, the best first; one with greedy search. */
    this.hypotheses = hypotheses;
  }

  get #best() {
    return this.hypotheses.map(([best]) => /** @type {Hypothesis} */ (best));
  }

  /** The symbols of each row's best hypothesis, without start and stop symbols. */
  get tokens() {
    return this.#best.map(({ tokens }) => tokens);
  }

  /** The score of each row's best hypothesis. */
  get scores() {
    return this.#best.map(({ score }) => score);
  }

  /** Whether each row's best hypothesis ends with a stop symbol. */
  get finished() {
    return this.#best.map(({ finished }) => finished);
  }
}

/**
 * Do what `Session.decode` says.
 *
 * @param {Session} session
 * @param {TensorLike} start
 * @param {DecodeOptions} options
 * @returns {Promise<Decoded>}
 */
export async function decode(session, start, options) {
  const checked = checkOptions("decode", options, OPTIONS);
  const { stop, inputs = {}, state, beam = 1, lengthPenalty = 0, symbol, logits } = checked;
  const maxSteps = wholeNumber("maxSteps", checked.maxSteps);
  wholeNumber("beam", beam);
  if (!Number.isFinite(lengthPenalty)) {
    throw new InputError(`lengthPenalty: expected a finite number, got ${String(lengthPenalty)}`);
  }
  session.checkStreamable();
  if (!isMapping(inputs)) {
    throw new InputError(`inputs: expected an object by name, got ${typeName(inputs)}`);
  }
  const ports = findPorts(session.interface, Object.keys(inputs), { symbol, logits });
  const begun = begin(session, start, ports.symbol, { inputs, state });
  const batch = begun.symbols.length;
  const stops = listedSymbols("stop", stop, ports.logits);
  if (beam > 1) checkBatchAxes(session.interface.stateInputs);
  const search =
    beam > 1 ? new BeamSearch(batch, stops, beam, lengthPenalty) : new GreedySearch(batch, stops);
  const rows = Array.from({ length: batch * beam }, (_, row) => Math.floor(row / beam));
  const stream = openStream(session, begun, rows);
  try {
    const prompt = rows.map((row) => begun.symbols[row] ?? []);
    await write(stream, session.interface.stateInputs, { ports, prompt, search, maxSteps });
  } finally {
    stream.close();
  }
  return new Decoded(search.hypotheses());
}

/**
 * Check what a decoder begins with.
 *
 * @param {Session} session
 * @param {TensorLike} start
 * @param {TensorSpec} symbol
 * @param {{ inputs: Values, state: State | null | undefined }} given
 * @returns {Start}
 */
function begin(session, start, symbol, { inputs, state }) {
  const { dataInputs, stateInputs } = session.interface;
  const { tensors, parts, sizes } = readInputs(dataInputs, inputs);
  const states = state && Object.values(session.binder.state(state, sizes));
  const pairs = (states ?? []).map((tensor, at) => [stateInputs[at], tensor]);
  parts.push(.../** @type {[TensorSpec, Tensor][]} */ (pairs));
  const counts = parts.map(([spec, tensor]) => ({ spec, rows: rowsOf(spec, tensor) }));
  const batch = counts.find(({ rows }) => rows !== undefined)?.rows ?? 1;
  const symbols = symbolsOf(start, batch, symbol);
  const wrong = counts.find(({ rows }) => rows !== undefined && rows !== symbols.length);
  if (wrong !== undefined) {
    throw new InputError(
      `start: expected as many symbols as ${wrong.spec.name} has rows, ${wrong.rows}, got ` +
        `${symbols.length}`,
    );
  }
  return { symbols, inputs: tensors, state: states ?? undefined };
}

/**
 * @param {readonly TensorSpec[]} dataInputs
 * @param {Values} inputs
 */
function readInputs(dataInputs, inputs) {
  const specs = new Map(dataInputs.map((spec) => [spec.name, spec]));
  const tensors = /** @type {Tensors} */ (Object.create(null));
  const parts = /** @type {[TensorSpec, Tensor][]} */ ([]);
  const sizes = /** @type {Map<string, number>} */ (new Map());
  for (const [name, value] of Object.entries(inputs)) {
    const spec = specs.get(name);
    const tensor = spec ? inputTensor(spec, value, InputError) : asTensor(name, value, InputError);
    tensors[name] = tensor;
    if (spec === undefined || spec.axes.length !== tensor.shape.length) continue;
    parts.push([spec, tensor]);
    spec.axes.forEach((axis, at) => {
      if (typeof axis === "string") sizes.set(axis, tensor.shape[at] ?? 0);
    });
  }
  return { tensors, parts, sizes };
}

/**
 * Open a stream that has the state and the inputs of `rows` of the batch.
 *
 * @param {Session} session
 * @param {Start} begun
 * @param {readonly number[]} rows
 */
function openStream(session, begun, rows) {
  const { dataInputs, stateInputs } = session.interface;
  const names = Object.keys(begun.inputs);
  const constants = /** @type {Tensors} */ (Object.create(null));
  for (const [name, tensor] of Object.entries(begun.inputs)) {
    const spec = dataInputs.find((one) => one.name === name);
    constants[name] = spec === undefined ? tensor : takeRows(spec, tensor, rows);
  }
  const stream = session.stream({ batch: rows.length, ...(names.length ? { constants } : {}) });
  if (begun.state !== undefined) stream.state = takeAll(stateInputs, begun.state, rows);
  return stream;
}

/**
 * @param {readonly TensorSpec[]} specs
 * @param {readonly Tensor[]} state
 * @param {readonly number[]} rows
 */
function takeAll(specs, state, rows) {
  return state.map((tensor, at) => takeRows(/** @type {TensorSpec} */ (specs[at]), tensor, rows));
}

/**
 * Step until every row has stopped; a row that has is fed its first symbol again.
 *
 * @param {Stream} stream
 * @param {readonly TensorSpec[]} states
 * @param {{ ports: Ports, prompt: readonly number[][], search: Search, maxSteps: number }} task
 */
async function write(stream, states, { ports, prompt, search, maxSteps }) {
  // The symbols are the only input that is not a constant.
  const step = (/** @type {readonly number[]} */ symbols) =>
    stream.step({ [ports.symbol.name]: symbolFrame(ports.symbol, symbols) });
  const read = prompt[0]?.length ?? 1;
  for (let at = 0; at < read - 1; at++) await step(prompt.map((row) => row[at] ?? 0));
  const last = prompt.map((row) => row.at(-1) ?? 0);
  let symbols = /** @type {readonly number[]} */ (last);
  for (let made = 0; made < maxSteps; made++) {
    const chosen = search.advance(readLogits(ports, await step(symbols), search.live));
    const { live } = search;
    if (!live.includes(true)) return;
    if (chosen.parents !== undefined) stream.state = takeAll(states, stream.state, chosen.parents);
    symbols = chosen.symbols.map((symbol, row) => (live[row] ? symbol : (last[row] ?? 0)));
  }
}

/**
 * Check that rows of the states can be exchanged.
 *
 * @param {readonly TensorSpec[]} states
 */
function checkBatchAxes(states) {
  const whole = states.find((spec) => !spec.axes.includes(BATCH));
  if (whole === undefined) return;
  throw new StateError(`beam: the state ${whole} has no ${BATCH} axis: use beam: 1`);
}
