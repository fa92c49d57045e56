/** `Stream`: one running sequence whose state is kept between calls. */

import { EXCHANGED, byName } from "../binding.js";
import { BATCH, TIME } from "../contract.js";
import { InputError, StateError, StreamError } from "../errors.js";
import { inputTensor } from "../input-tensor.js";
import { checkOptions, wholeNumber } from "../options.js";
import { product } from "../tensor.js";
import { takeConstants } from "./constant-inputs.js";
import { withBatch, withoutBatch } from "./one-row.js";
import { QuickSteps } from "./quick-steps.js";
import { FLUSHED_EVERY, checkFinite, flushTiny, silence } from "./silence-and-nan.js";
import { readState, writeState } from "./state-file.js";
import { only, withoutTime } from "./step-output.js";

/** @typedef {import("../binding.js").State} State */
/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../binding.js").Values} Values */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../session.js").RunResult} RunResult */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** @typedef {import("../tensor.js").TensorLike} TensorLike */
/** @typedef {import("./step-output.js").Answer} Answer */
/** A frame with its time axes, and whether it came without. @typedef {[Tensors, boolean]} Chunk */

/**
 * A running sequence, or `batch` of them side by side, whose state is kept between calls.
 *
 * Made by `Session.stream`. The outputs of chunks are those of the whole sequence in one call. Each
 * call is awaited before the next: a call during a call is refused.
 *
 * Numbers of the state below 1e-18 become zero every few steps.
 */
export class Stream {
  #session;
  #batch;
  #inputs;
  #constants;
  #quick;
  /** @type {readonly Tensor[]} */
  #kept;
  #steps = 0;
  #busy = false;
  #closed = false;

  /**
   * Start at a state of zeros.
   *
   * @param {Session} session The opened model.
   * @param {StreamOptions} [options]
   */
  constructor(session, options = {}) {
    const { batch = 1, constants } = checkOptions("stream", options, ["batch", "constants"]);
    wholeNumber("batch", batch);
    session.checkStreamable();
    this.#session = session;
    this.#batch = batch;
    const sizes = new Map([[BATCH, batch]]);
    [this.#inputs, this.#constants] = takeConstants(session.interface, constants, sizes);
    this.#kept = session.zeroState(batch);
    this.#quick = constants === undefined ? QuickSteps.of(session, batch) : undefined;
  }

  /** The newest state, which the engine may hold. */
  get #state() {
    if (this.#quick?.holdsState) this.#kept = this.#quick.takeState();
    return this.#kept;
  }

  set #state(state) {
    if (this.#quick !== undefined) this.#quick.holdsState = false;
    this.#kept = state;
  }

  /** Rows that run side by side. */
  get batch() {
    return this.#batch;
  }

  /**
   * The state after the last step, (h,) or (h, c), each [layers, batch, hidden]; a copy.
   *
   * @returns {Tensor[]}
   */
  get state() {
    this.#checkFree();
    return this.#state.map((tensor) => tensor.copy());
  }

  /** @param {State} state */
  set state(state) {
    const checked = this.#session.binder.state(state, new Map([[BATCH, this.#batch]]));
    this.#checkFree();
    this.#state = Object.values(checked).map((tensor) => tensor.copy());
  }

  /**
   * Set the state to zeros.
   *
   * @param {readonly number[]} [rows] Which rows of the batch; without it, all. The state of other
   *   rows does not change.
   * @throws {StateError} For a row that the stream does not have, or a state without a batch axis.
   */
  reset(rows) {
    if (rows === undefined) {
      this.#checkFree();
      this.#state = this.#session.zeroState(this.#batch);
      return;
    }
    const fits = (/** @type {number} */ row) =>
      Number.isInteger(row) && row >= 0 && row < this.#batch;
    if (!Array.isArray(rows) || !rows.every(fits)) {
      throw new StateError(
        `rows: expected integers from 0 to ${this.#batch - 1}, got ${JSON.stringify(rows)}`,
      );
    }
    const specs = this.#session.interface.stateInputs;
    const whole = specs.find((spec) => !spec.axes.includes(BATCH));
    if (whole !== undefined) {
      throw new StateError(`rows: ${whole} has no ${BATCH} axis: use reset() for the whole state`);
    }
    const state = this.state;
    specs.forEach((spec, index) => clearRows(spec, /** @type {Tensor} */ (state[index]), rows));
    this.#state = state;
  }

  /** A second stream that continues from the same state. */
  clone() {
    this.#checkFree();
    const twin = new Stream(this.#session, { batch: this.#batch, constants: this.#constants });
    twin.#state = this.state;
    twin.#steps = this.#steps;
    return twin;
  }

  /**
   * Write the state, from which any process can continue, bit for bit: the bytes are those of
   * Python's `Stream.save`.
   *
   * @param {string} [path] In Node, an `.npz` file; an existing one is replaced, whole or not at
   *   all.
   * @param {{ force?: boolean }} [options] Whether a file that holds something else may be
   *   replaced.
   * @returns {Promise<Uint8Array>} The content of the file.
   * @throws {WriteError} If the file must not or cannot be written.
   */
  async save(path, options = {}) {
    const { force = false } = checkOptions("save", options, ["force"]);
    return writeState(path, this.#session, this.state, { force });
  }

  /**
   * Continue from a state that `save` wrote, here or in Python.
   *
   * @param {string | URL | Uint8Array | ArrayBuffer} file Its path in Node, its URL, or its bytes.
   * @throws {StateError} If the file cannot be read, or has the state of another model or batch;
   *   the state of the stream does not change.
   */
  async load(file) {
    this.state = await readState(file, this.#session);
  }

  /** Let the state go; later calls are refused. */
  close() {
    this.#checkFree();
    this.#closed = true;
    this.#state = [];
    this.#quick?.close();
  }

  /**
   * Run one step, or a chunk of steps, and keep the state.
   *
   * @param {TensorLike | Values} frame float32 [batch, features] for one step, or a `Tensor` or
   *   numbers [features] in a stream of one row; with a time axis, as `Session.run` takes it, for a
   *   chunk. A typed array alone is one step if it has as many values as one. For a model of
   *   several inputs, an object by name, without the constants.
   * @returns {Promise<Answer>} The output, without its time axis for one step, with it for a chunk,
   *   and without its batch axis where the frame had shapes without one; for a model of several
   *   outputs, an object by name.
   * @throws {InputError} If the frame does not fit, or holds NaN or infinity; the state does not
   *   change.
   * @throws {EngineError} If the engine fails; the state does not change.
   * @throws {StreamError} If the stream is closed, or in use.
   */
  async step(frame) {
    this.#checkFree();
    const answer = this.#quick?.step(frame, this.#kept);
    if (answer !== undefined) return answer;
    const rows = this.#rows(frame);
    const [chunk, single] = this.#chunk(rows ?? frame);
    this.#busy = true;
    try {
      const result = await this.#session.run(chunk, { state: this.#state });
      return this.#keep(result, { single, bare: rows !== undefined });
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Do the same as `step` at once, with an engine that can: where `engine.synchronous` is true.
   *
   * @param {TensorLike | Values} frame
   * @returns {Answer}
   */
  stepSync(frame) {
    this.#checkFree();
    const answer = this.#quick?.step(frame, this.#kept);
    if (answer !== undefined) return answer;
    this.#session.checkSynchronous("stepSync", "step");
    const rows = this.#rows(frame);
    const [chunk, single] = this.#chunk(rows ?? frame);
    const result = this.#session.runSync(chunk, { state: this.#state });
    return this.#keep(result, { single, bare: rows !== undefined });
  }

  /**
   * Run one step at once, and write its output into memory of the caller, which is used again: a
   * step of a small model takes about half of the time of `stepSync`, and leaves nothing to
   * collect.
   *
   * @param {Float32Array} frame The values of one step, of all rows.
   * @param {Float32Array} output As many values as the output of a step has.
   * @returns {Float32Array} `output`.
   * @throws {InputError} If one of them does not fit, or the frame holds NaN or infinity; the state
   *   does not change.
   * @throws {StreamError} If the stream is closed, in use, or has no such steps: they need the wasm
   *   engine, and a model of one float32 input and one output.
   */
  stepInto(frame, output) {
    this.#checkFree();
    if (this.#quick === undefined) {
      throw new StreamError(
        "stepInto: needs the wasm engine, and a model of one float32 input and output: use step",
      );
    }
    if (!this.#quick.stepInto(frame, output, this.#kept)) this.stepSync(frame); // which says why
    return output;
  }

  /**
   * Return the frames of a stream of one row that came without their batch axes.
   *
   * @param {TensorLike | Values} frame
   */
  #rows(frame) {
    const free = this.#inputs.filter(({ name }) => !Object.hasOwn(this.#constants, name));
    return this.#batch === 1 ? withBatch(free, frame) : undefined;
  }

  /**
   * @param {RunResult} result
   * @param {{ single: boolean, bare: boolean }} frame Whether it had no time axes, no batch axes.
   */
  #keep(result, { single, bare }) {
    const specs = this.#session.interface.dataOutputs;
    const answers = withoutTime(specs, result.outputs, { single });
    this.#state = result.state;
    this.#steps += 1;
    if (this.#steps % FLUSHED_EVERY === 0) this.#state.forEach(flushTiny);
    return bare ? withoutBatch(specs, only(answers)) : only(answers);
  }

  /**
   * Return a copy of the inputs by name with their time axes, and whether the frame had none. An
   * engine may read it later, when the caller has written the next frame into the same memory.
   *
   * @param {TensorLike | Values} frame
   * @returns {Chunk}
   */
  #chunk(frame) {
    const given = byName(this.#inputs, frame);
    for (const name of Object.keys(this.#constants)) {
      if (Object.hasOwn(given, name)) {
        throw new InputError(`${name}: is a constant of the stream: leave it out of the frame`);
      }
    }
    /** @type {{ [name: string]: TensorLike }} */
    const chunk = Object.assign(Object.create(null), given, this.#constants);
    let single = false;
    for (const spec of this.#inputs) {
      if (!Object.hasOwn(given, spec.name)) continue; // `Session.run` says what is missing
      let value = this.#framed(spec, inputTensor(spec, given[spec.name], InputError), given);
      if (spec.axes.includes(TIME) && value.shape.length < spec.axes.length) {
        checkFrame(spec, value, this.#batch);
        value = value.reshape(value.shape.toSpliced(spec.axes.indexOf(TIME), 0, 1));
        single = true;
      }
      this.#checkBatch(spec, value);
      checkFinite(spec, value);
      chunk[spec.name] = silence(value.copy());
    }
    return [/** @type {Tensors} */ (chunk), single];
  }

  /**
   * Return a typed array of one step's values, which came without a shape, with that of one step.
   *
   * @param {TensorSpec} spec
   * @param {Tensor} value
   * @param {Values} given
   */
  #framed(spec, value, given) {
    if (!ArrayBuffer.isView(given[spec.name])) return value;
    const axes = spec.axes.filter((axis) => axis !== TIME);
    const shape = axes.map((axis) => (axis === BATCH ? this.#batch : Number(axis)));
    return product(shape) === value.size ? value.reshape(shape) : value;
  }

  /**
   * @param {TensorSpec} spec
   * @param {Tensor} value
   */
  #checkBatch(spec, value) {
    const axis = spec.axes.indexOf(BATCH);
    if (axis < 0 || value.shape.length !== spec.axes.length) return; // `Session.run` says why not
    const rows = value.shape[axis];
    if (rows === this.#batch) return;
    const exchanged = value.shape[spec.axes.indexOf(TIME)] === this.#batch;
    throw new InputError(
      `${spec.name}: expected ${this.#batch} row(s), the batch of the stream, got ${rows}` +
        (exchanged ? EXCHANGED : ""),
    );
  }

  /** Refuse a call of a closed stream, or during another call. */
  #checkFree() {
    if (this.#busy) {
      throw new StreamError(
        "the stream is in use by another call: await each call before the next",
      );
    }
    if (this.#closed) {
      throw new StreamError("the stream is closed: open a new one with Session.stream");
    }
  }
}

/**
 * How a stream is started.
 *
 * @typedef {object} StreamOptions
 * @property {number} [batch] Rows that run side by side, 1 or more.
 * @property {Values} [constants] Inputs that are the same at every step, by name, such as
 *   `{ sr: 16000 }`: a step takes only the others.
 */

/**
 * Set rows of a state to zero.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 * @param {readonly number[]} rows
 */
function clearRows(spec, tensor, rows) {
  const axis = spec.axes.indexOf(BATCH);
  const inner = product(tensor.shape.slice(axis + 1));
  const count = tensor.shape[axis] ?? 0;
  for (let outer = 0; outer < product(tensor.shape.slice(0, axis)); outer++) {
    for (const row of rows) {
      const start = (outer * count + row) * inner;
      tensor.data.fill(/** @type {never} */ (0), start, start + inner);
    }
  }
}

/**
 * Check a frame with the shape that the caller passed, before it gets a time axis.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} frame
 * @param {number} rows
 */
function checkFrame(spec, frame, rows) {
  const axes = spec.axes.filter((axis) => axis !== TIME);
  const fits =
    frame.shape.length === axes.length &&
    axes.every((axis, index) => typeof axis === "string" || axis === frame.shape[index]);
  if (frame.dtype === spec.dtype && fits) return;
  let remedy = "";
  if (frame.dtype !== spec.dtype) remedy = `; convert it with .astype('${spec.dtype}')`;
  else if (rows > 1 && axes.includes(BATCH) && frame.shape.length === axes.length - 1) {
    remedy = `; the stream has ${rows} rows, and takes a frame of each in one array`;
  }
  throw new InputError(
    `${spec.name}: expected ${spec.dtype}[${axes.join(", ")}] for one step, or ` +
      `[${spec.axes.join(", ")}] for a chunk, got ${frame}${remedy}`,
  );
}
