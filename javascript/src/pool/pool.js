/** `StreamPool`: streams that come and go over one model, stepped together. */

import { BATCH } from "../contract.js";
import { InputError, StateError, StreamError } from "../errors.js";
import { checkOptions, wholeNumber } from "../options.js";
import { takeConstants } from "../streaming/constant-inputs.js";
import { FLUSHED_EVERY, flushTiny } from "../streaming/silence-and-nan.js";
import { typeName } from "../tensor.js";
import { checkBatchAxes, grouped, joinRows, owned, splitRows, takenApart } from "./batching.js";
import { FrameQueue } from "./frame-queue.js";

/** @typedef {import("../binding.js").State} State */
/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../binding.js").Values} Values */
/** @typedef {import("../contract.js").Interface} Interface */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../session.js").RunResult} RunResult */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../streaming/step-output.js").Answer} Answer */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** @typedef {import("./batching.js").Frame} Frame */
/** @typedef {import("./batching.js").Group} Group */
/** One open stream. @typedef {{ state: readonly Tensor[], steps: number }} Slot */
/**
 * How a pool is made.
 *
 * @typedef {object} PoolOptions
 * @property {number} [capacity] The most streams that may be open at once, 1 or more.
 * @property {number} [maxDelayMs] Milliseconds that a frame passed to `submit` waits for others, 0
 *   or more.
 * @property {number} [maxWaiting] The most frames that wait for one batch, 1 or more.
 * @property {Values} [constants] Inputs without a batch axis that are the same at every step, by
 *   name.
 */

/**
 * Streams over one model, each with its own state, stepped together. Made by `Session.pool`.
 *
 * A step takes frames of any of the streams and runs them as one batch; the state of other streams
 * does not change by a bit. Steps run one after another, in the order in which they were called.
 */
export class StreamPool {
  #session;
  #capacity;
  #inputs;
  #constants;
  #axes;
  /** @type {Map<number, Slot>} */
  #slots = new Map();
  #opened = 0;
  #shut = false;
  #queue;
  /** @type {Promise<unknown>} */
  #turn = Promise.resolve();

  /**
   * @param {Session} session The opened model.
   * @param {PoolOptions} [options]
   */
  constructor(session, options = {}) {
    checkOptions("pool", options, ["capacity", "maxDelayMs", "maxWaiting", "constants"]);
    const { capacity = 1024, maxDelayMs = 2, maxWaiting = 1024, constants } = options;
    checkNumbers({ capacity, maxWaiting }, maxDelayMs);
    session.checkStreamable();
    const face = session.interface;
    [this.#inputs, this.#constants] = takeConstants(face, constants, new Map([[BATCH, 1]]));
    checkAxes(face, this.#inputs, this.#constants);
    this.#session = session;
    this.#capacity = capacity;
    this.#axes = face.stateInputs.map((spec) => spec.axes.indexOf(BATCH));
    this.#queue = new FrameQueue(this, maxDelayMs, maxWaiting);
  }

  /** How many streams are open. */
  get size() {
    return this.#slots.size;
  }

  /**
   * Whether a stream is open.
   *
   * @param {number} stream
   */
  has(stream) {
    return this.#slots.has(stream);
  }

  /**
   * Open a stream.
   *
   * @param {State} [state] The initial state, each [layers, 1, hidden]; without it, zeros.
   * @returns {number} Its number, which no other stream of this pool ever has.
   * @throws {StreamError} If the pool is full, or was shut down.
   * @throws {StateError} If the state does not fit.
   */
  open(state) {
    const rows = state === undefined ? this.#session.zeroState(1) : this.#checked(state);
    this.#checkNotShut();
    if (this.size >= this.#capacity) {
      throw new StreamError(
        `the pool is full with ${this.#capacity} stream(s): close one, or make a ` +
          "larger pool with Session.pool({ capacity })",
      );
    }
    const stream = this.#opened;
    this.#opened += 1;
    this.#slots.set(stream, { state: rows, steps: 0 });
    return stream;
  }

  /**
   * Close a stream: its state is lost, and its waiting frames are refused.
   *
   * @param {number} stream
   * @throws {StreamError} If it is not open.
   */
  close(stream) {
    this.#slot(stream);
    this.#slots.delete(stream);
    this.#queue.lookAgain();
  }

  /**
   * Return a copy of a stream's state.
   *
   * @param {number} stream
   * @returns {Tensor[]} A tensor [layers, 1, hidden] for each state of the model.
   * @throws {StreamError} If it is not open.
   */
  state(stream) {
    return this.#slot(stream).state.map((tensor) => tensor.copy());
  }

  /**
   * Set a stream's state, after the steps that were called before.
   *
   * @param {number} stream
   * @param {State} state Each [layers, 1, hidden].
   * @throws {StreamError} If the stream is not open.
   * @throws {StateError} If the state does not fit; the old state is kept.
   */
  async setState(stream, state) {
    const rows = this.#checked(state);
    this.#slot(stream);
    await this.#inTurn(() => {
      this.#slot(stream).state = rows;
    });
  }

  /**
   * Set a stream's state to zeros, after the steps that were called before.
   *
   * @param {number} stream
   * @throws {StreamError} If the stream is not open.
   */
  async reset(stream) {
    await this.setState(stream, this.#session.zeroState(1));
  }

  /**
   * Run one frame for each of some streams, in one batch for each chunk length.
   *
   * @param {ReadonlyMap<number, Frame>} frames Stream to frame: float32 [features] for one step, or
   *   [time, features] for a chunk; for a model of several inputs, an object by name.
   * @returns {Promise<Map<number, Answer>>} Stream to output, without a batch axis, and without a
   *   time axis for one step; for a model of several outputs, an object by name.
   * @throws {StreamError} If a stream is not open; no state changes.
   * @throws {InputError} If a frame does not fit, or holds NaN or infinity; its property `streams`
   *   has the streams. No state changes.
   * @throws {EngineError} If the engine fails; no state changes.
   */
  async step(frames) {
    if (!(frames instanceof Map)) {
      throw new InputError(`frames: expected a Map of stream to frame, got ${typeName(frames)}`);
    }
    const groups = grouped(this.#inputs, frames);
    return this.#inTurn(() => this.#run(groups, [...frames.keys()]));
  }

  /**
   * Queue a frame, to be run with frames of other streams that come within `maxDelayMs`. Frames of
   * one stream run in the order in which they were submitted.
   *
   * @param {number} stream
   * @param {Frame} frame As `step` takes it; it is copied.
   * @returns {Promise<Answer>} The output. If the engine fails on a batch, each of its frames is
   *   run alone, so that only the frames it fails on end with an `EngineError`.
   * @throws {StreamError} If the stream is not open, or the pool was shut down.
   * @throws {InputError} If the frame does not fit, or holds NaN or infinity.
   */
  async submit(stream, frame) {
    this.#checkNotShut();
    this.#slot(stream);
    return this.#queue.put(stream, owned(this.#inputs, stream, frame));
  }

  /** Run the waiting frames, and close all streams. */
  async shutdown() {
    this.#shut = true;
    await this.#queue.close();
    await this.#inTurn(() => this.#slots.clear());
  }

  /**
   * Run a function after those before it, and those after it afterwards.
   *
   * @template Result
   * @param {() => Result | Promise<Result>} work
   * @returns {Promise<Result>}
   */
  #inTurn(work) {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /**
   * Run each group, and then keep the states of all.
   *
   * @param {readonly Group[]} groups
   * @param {readonly number[]} order
   */
  async #run(groups, order) {
    const members = groups.map((group) => group.streams.map((stream) => this.#slot(stream)));
    const results = /** @type {RunResult[]} */ ([]);
    for (const [index, group] of groups.entries()) {
      const slots = /** @type {readonly Slot[]} */ (members[index]);
      const state = this.#axes.map((at, place) =>
        joinRows(
          slots.map((slot) => /** @type {Tensor} */ (slot.state[place])),
          at,
        ),
      );
      const inputs = Object.assign(Object.create(null), group.batch, this.#constants);
      results.push(await this.#session.run(inputs, { state }));
    }
    const answers = /** @type {Map<number, Answer>} */ (new Map());
    const specs = this.#session.interface.dataOutputs;
    for (const [index, group] of groups.entries()) {
      const result = /** @type {RunResult} */ (results[index]);
      this.#keep(/** @type {readonly Slot[]} */ (members[index]), result.state);
      const outputs = takenApart(specs, result.outputs, group);
      group.streams.forEach((stream, row) =>
        answers.set(stream, /** @type {Answer} */ (outputs[row])),
      );
    }
    return new Map(order.map((stream) => [stream, /** @type {Answer} */ (answers.get(stream))]));
  }

  /**
   * Keep the states of a group; every few steps of a stream, its tiny numbers become zero. The
   * steps of each stream are counted, so that its state does not depend on other streams.
   *
   * @param {readonly Slot[]} slots
   * @param {readonly Tensor[]} state
   */
  #keep(slots, state) {
    const parts = state.map((tensor, place) => splitRows(tensor, this.#axes[place] ?? 0));
    slots.forEach((slot, row) => {
      slot.state = parts.map((rows) => /** @type {Tensor} */ (rows[row]));
      slot.steps += 1;
      if (slot.steps % FLUSHED_EVERY === 0) slot.state.forEach(flushTiny);
    });
  }

  /** @param {State} state */
  #checked(state) {
    const checked = this.#session.binder.state(state, new Map([[BATCH, 1]]));
    return Object.values(checked).map((tensor) => tensor.copy());
  }

  /** @param {number} stream */
  #slot(stream) {
    const slot = this.#slots.get(stream);
    if (slot === undefined) throw new StreamError(`stream ${stream}: is not open in this pool`);
    return slot;
  }

  #checkNotShut() {
    if (!this.#shut) return;
    throw new StreamError("the pool was shut down: make another with Session.pool");
  }
}

/**
 * @param {{ [name: string]: number }} counts
 * @param {number} maxDelayMs
 */
function checkNumbers(counts, maxDelayMs) {
  for (const [name, number] of Object.entries(counts)) wholeNumber(name, number);
  if (!(Number.isFinite(maxDelayMs) && maxDelayMs >= 0)) {
    throw new InputError(`maxDelayMs: expected 0 or more, got ${String(maxDelayMs)}`);
  }
}

/**
 * Check that rows of all tensors but the constants can be joined.
 *
 * @param {Interface} face
 * @param {readonly TensorSpec[]} inputs
 * @param {Tensors} constants
 */
function checkAxes(face, inputs, constants) {
  for (const spec of face.dataInputs) {
    if (Object.hasOwn(constants, spec.name) && spec.axes.includes(BATCH)) {
      throw new InputError(
        `constants: ${spec} has a ${BATCH} axis: pass it with the frames of each stream`,
      );
    }
  }
  const remedy = ": pass it once, as Session.pool({ constants: { name: value } })";
  checkBatchAxes(inputs, InputError, remedy);
  checkBatchAxes([...face.stateInputs, ...face.dataOutputs], StateError);
}
