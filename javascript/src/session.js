/** `Session`: a model opened by an engine, to be run, streamed and pooled. */

import { checkStepsAreLeft, isComputed } from "./axis-sizes.js";
import { Binder, collected, zeros } from "./binding.js";
import { checkPromise } from "./check-promise.js";
import { BATCH, METADATA_KEY, TIME, readContract } from "./contract.js";
import { decode } from "./decoding/decode.js";
import { transduce } from "./decoding/transduce.js";
import { openEngine } from "./engine/open.js";
import {
  ContractError,
  EngineError,
  InputError,
  RnnEdgeError,
  StateError,
  oneLine,
} from "./errors.js";
import { openSource } from "./model-source.js";
import { checkOptions } from "./options.js";
import { StreamPool } from "./pool/pool.js";
import { readGolden } from "./proof/golden.js";
import { checkGolden } from "./proof/golden-check.js";
import { Stream } from "./streaming/stream.js";

/** @typedef {import("./binding.js").Sizes} Sizes */
/** @typedef {import("./binding.js").State} State */
/** @typedef {import("./binding.js").Tensors} Tensors */
/** @typedef {import("./binding.js").Values} Values */
/** @typedef {import("./contract.js").Contract} Contract */
/** @typedef {import("./contract.js").TensorSpec} TensorSpec */
/** @typedef {import("./decoding/decode.js").DecodeOptions} DecodeOptions */
/** @typedef {import("./decoding/decode.js").Decoded} Decoded */
/** @typedef {import("./decoding/transduce.js").TransduceOptions} TransduceOptions */
/** @typedef {import("./engine/engine.js").Engine} Engine */
/** @typedef {import("./engine/engine.js").EngineFactory} EngineFactory */
/** @typedef {import("./engine/open.js").EngineName} EngineName */
/** @typedef {import("./model-source.js").Model} Model */
/** @typedef {import("./pool/pool.js").PoolOptions} PoolOptions */
/** @typedef {import("./proof/golden.js").GoldenFiles} GoldenFiles */
/** @typedef {import("./proof/golden-check.js").CheckResult} CheckResult */
/** @typedef {import("./streaming/stream.js").StreamOptions} StreamOptions */
/** @typedef {import("./tensor.js").Tensor} Tensor */
/** @typedef {import("./tensor.js").TensorLike} TensorLike */

/**
 * The result of one call of `Session.run`.
 *
 * @typedef {object} RunResult
 * @property {Tensor} output The first output: for a bare layer, every step's hidden state of the
 *   last layer.
 * @property {Tensors} outputs Every output by name, including the final states.
 * @property {readonly Tensor[]} state The final states in the order of `Interface.states`; ready to
 *   be the `state` of the next call.
 */
/**
 * What a call is run with beside its inputs.
 *
 * @typedef {object} RunOptions
 * @property {TensorLike | null} [lengths] Steps of each row, integers [batch] from 0 to time, for a
 *   model that was exported with lengths; without them every row is full.
 * @property {State | null} [state] The initial state; without one, zeros.
 */
/**
 * How a model is opened.
 *
 * @typedef {object} OpenOptions
 * @property {EngineName | EngineFactory} [engine] `wasm`, rnnedge's own; `onnxruntime-node`;
 *   `onnxruntime-web`; or `auto`, which takes the first that is there and knows the model; or what
 *   `onnxruntime(ort)` returns, for a page that imports the library itself.
 * @property {"cpu" | "webgpu"} [device] `webgpu` is WebGPU or an error.
 * @property {number} [threads] Threads inside one operator, 1 or more. Streams are best with 1.
 *   onnxruntime-web keeps the number of the first model for all.
 */
/** A call that passed the checks. @typedef {{ feeds: Tensors } | { result: RunResult }} Prepared */

/** A model opened by an engine. */
export class Session {
  #binder;
  #computedAxes;
  #outputNames;

  /**
   * Use `Session.open`.
   *
   * @param {Engine} engine
   * @param {Contract} contract
   * @param {{ name: string, path?: string | undefined }} source
   */
  constructor(engine, contract, source) {
    /** What computes the model: `engine.name` says which engine, `engine.reason` why. */
    this.engine = engine;
    /** What the exporter promised. */
    this.contract = contract;
    /** The inputs, outputs, states and lengths of the model. */
    this.interface = contract.interface;
    /** The file that the model was opened from; undefined for bytes and URLs. */
    this.path = source.path;
    checkPromise(source.name, "inputs", this.interface.inputs, engine.inputs);
    checkPromise(source.name, "outputs", this.interface.outputs, engine.outputs);
    this.#binder = new Binder(this.interface);
    this.#outputNames = [
      ...this.interface.dataOutputs.map((spec) => spec.name),
      ...this.interface.states.map((pair) => pair.output),
    ];
    this.#computedAxes = this.interface.outputs.flatMap((spec) =>
      spec.axes.filter(isComputed).map((axis) => /** @type {const} */ ([spec, axis])),
    );
  }

  /**
   * Open a model.
   *
   * @param {Model} model Its bytes; a URL, which is fetched; or in Node the path of a file.
   * @param {OpenOptions} [options]
   * @returns {Promise<Session>}
   * @throws {MissingPackageError} If the package of the engine is not installed.
   * @throws {ModelError} If the model is missing, damaged, or refused by the engine.
   * @throws {ContractError} If it has no contract, or one that is damaged or of a newer format.
   * @throws {DeviceError} If the device is not available.
   * @throws {OptionError} For an option with a wrong value.
   */
  static async open(model, options = {}) {
    checkOptions("Session.open", options, ["engine", "device", "threads"]);
    const { engine = "auto", device = "cpu", threads } = options;
    const source = await openSource(model);
    const text = (await source.metadata()).get(METADATA_KEY);
    if (text === undefined) {
      throw new ContractError(
        `${source.name} has no contract under '${METADATA_KEY}': export it with rnnedge, or run ` +
          "it with ONNX Runtime itself",
      );
    }
    const contract = readContract(text, source.name);
    const opened = await openEngine(source, contract, { engine, device, threads });
    source.release();
    try {
      return new Session(opened, contract, source);
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /** The device in use. */
  get device() {
    return this.engine.device;
  }

  /** `sha256:` and the digest of the weights: a saved state belongs to the model with the same. */
  get digest() {
    return this.contract.weightsDigest;
  }

  /** What keeps chunks from giving what the whole sequence gives. */
  get hindrances() {
    return this.contract.hindrances;
  }

  /** What checks the inputs of a call. */
  get binder() {
    return this.#binder;
  }

  /** The inputs and outputs with their axes. */
  toString() {
    const [inputs, outputs] = [this.interface.inputs, this.interface.outputs];
    return `Session(${inputs.join(", ")} -> ${outputs.join(", ")}, device='${this.device}')`;
  }

  /**
   * Run whole sequences. The inputs must not change before the result is there.
   *
   * @param {TensorLike | Values} input float32 [time, batch, features], or [batch, time, features]
   *   for a batch_first model; for a model of several inputs, an object by name.
   * @param {RunOptions} [options]
   * @returns {Promise<RunResult>} Every output by name, and the final state.
   * @throws {InputError} For an input of the wrong name, rank, size or dtype, for lengths that do
   *   not fit, and for a sequence without steps.
   * @throws {StateError} For a state that does not fit, or a model that takes none.
   * @throws {EngineError} If the engine fails.
   */
  async run(input, options = {}) {
    const prepared = this.#prepare(input, options);
    if ("result" in prepared) return prepared.result;
    try {
      return this.#result(await this.engine.run(this.#outputNames, prepared.feeds));
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /**
   * Do the same as `run` at once, with an engine that can: where `engine.synchronous` is true.
   *
   * @param {TensorLike | Values} input
   * @param {RunOptions} [options]
   * @returns {RunResult}
   */
  runSync(input, options = {}) {
    this.checkSynchronous("runSync", "run");
    const prepared = this.#prepare(input, options);
    if ("result" in prepared) return prepared.result;
    try {
      const values = this.engine.run(this.#outputNames, prepared.feeds);
      return this.#result(/** @type {readonly Tensor[]} */ (values));
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /**
   * Start a stream: a running sequence whose state is kept between calls.
   *
   * @param {StreamOptions} [options]
   * @returns {Stream} The stream, at a state of zeros.
   * @throws {StateError} If the model has no states to keep, or reads the future.
   * @throws {InputError} If `batch` is not 1 or more, or a constant does not fit.
   */
  stream(options = {}) {
    return new Stream(this, options);
  }

  /**
   * Make a pool of streams that come and go, and are stepped together.
   *
   * @param {PoolOptions} [options]
   * @returns {StreamPool} The pool, without streams.
   * @throws {StateError} If the model has no states to keep, reads the future, or has a state or an
   *   output without a batch axis.
   * @throws {InputError} If a number is out of its range, an input has no batch axis and is no
   *   constant, or a constant has one or does not fit.
   */
  pool(options = {}) {
    return new StreamPool(this, options);
  }

  /**
   * Let a model write symbols: what it chooses at one step is its input at the next.
   *
   * The model takes integer symbols [batch] (or [batch, time]) and gives logits [batch, symbols]
   * (or [batch, time, symbols]), with its embedding and its last layer inside.
   *
   * @param {TensorLike} start The symbol that starts a sequence; one for each row, integers
   *   [batch]; or a prompt of the same length for each row, integers [batch, steps].
   * @param {DecodeOptions} options
   * @returns {Promise<Decoded>} The symbols of each row, and the hypotheses behind them.
   * @throws {InputError} If an argument does not fit, or the model is of another form.
   * @throws {StateError} If the model has no states, or the state does not fit.
   * @throws {EngineError} If the engine fails, or gives logits that nothing can be chosen by.
   */
  async decode(start, options) {
    return decode(this, start, options);
  }

  /**
   * Let the step of a transducer (RNN-T) write symbols for the frames of an encoder.
   *
   * The model is predictor and joint network: it takes one frame float [batch, features] and the
   * last symbol, integers [batch] (both with or without a time axis), and gives logits [batch,
   * symbols]. Each row stays at a frame until the most likely symbol is the blank; its state
   * changes only where it writes another.
   *
   * @param {TensorLike} frames float32 [batch, time, features], what the encoder gives.
   * @param {TransduceOptions} options
   * @returns {Promise<Decoded>} The symbols of each row, and the frame at which each was written.
   * @throws {InputError} If an argument does not fit, or the model is of another form.
   * @throws {StateError} If the model has no states, or the state does not fit.
   * @throws {EngineError} If the engine fails, or gives logits that nothing can be chosen by.
   */
  async transduce(frames, options) {
    return transduce(this, frames, options);
  }

  /**
   * Run golden vectors, and compare what comes out with what PyTorch gave.
   *
   * @param {GoldenFiles} files The folder that `rnnedge validate --golden` wrote: its path in Node,
   *   its URL, or its files by name.
   * @param {{ model?: Model | undefined }} [options] The model file, whose digest is compared with
   *   that of the vectors; without it, the file that was opened.
   * @returns {Promise<CheckResult[]>} Findings; a model with one whose `passed` is false must not
   *   be used.
   * @throws {GoldenError} If the vectors cannot be read.
   */
  async checkGolden(files, options = {}) {
    const { model = this.path } = checkOptions("checkGolden", options, ["model"]);
    return checkGolden(this, await readGolden(files, this.interface), model);
  }

  /** Free what the engine holds; later calls fail. */
  async close() {
    await this.engine.close();
  }

  /**
   * Return a state of zeros.
   *
   * @param {number} batch Rows, 0 or more.
   * @returns {Tensor[]} In the order of `Interface.states`.
   * @throws {StateError} If a state has an axis whose size only the inputs tell.
   */
  zeroState(batch) {
    return this.interface.stateInputs.map((spec) => zeros(spec, new Map([[BATCH, batch]])));
  }

  /**
   * Check that the model can be run in chunks.
   *
   * @throws {StateError} If the model has no states, or reads the future.
   */
  checkStreamable() {
    const { states } = this.interface;
    if (this.hindrances.length) {
      const remedy = states.length ? ", which takes a state and gives the next" : "";
      throw new StateError(
        "the model cannot be streamed, since chunks would not give what the whole sequence " +
          `gives: ${this.hindrances.join("; ")}; use Session.run${remedy}`,
      );
    }
    if (states.length === 0) {
      throw new StateError(
        "the model has no states to keep between calls: export it with states (--states)",
      );
    }
  }

  /**
   * @param {string} method
   * @param {string} other What works with every engine.
   */
  checkSynchronous(method, other) {
    if (this.engine.synchronous) return;
    throw new EngineError(`${method}: ${this.engine.title} answers later only: use await ${other}`);
  }

  /**
   * Check a call.
   *
   * @param {TensorLike | Values} input
   * @param {RunOptions} options
   * @returns {Prepared}
   */
  #prepare(input, options) {
    const { lengths, state } = checkOptions("run", options, ["lengths", "state"]);
    const [data, sizes] = this.#binder.data(input);
    const feeds = Object.assign(
      data,
      this.#binder.state(state, sizes),
      this.#binder.lengths(lengths, sizes),
    );
    if ([...sizes.values()].includes(0)) return { result: this.#emptyResult(sizes) };
    checkStepsAreLeft(this.#computedAxes, this.interface.dataInputs, sizes);
    return { feeds };
  }

  /**
   * @param {readonly Tensor[]} values
   * @returns {RunResult}
   */
  #result(values) {
    const outputs = /** @type {Tensors} */ (Object.create(null));
    this.#outputNames.forEach((name, index) => {
      outputs[name] = /** @type {Tensor} */ (values[index]);
    });
    const first = /** @type {Tensor} */ (values[0]);
    return { output: first, outputs, state: values.slice(this.interface.dataOutputs.length) };
  }

  /** @param {unknown} error */
  #failure(error) {
    if (error instanceof RnnEdgeError) return error;
    return new EngineError(`${this.engine.title} failed: ${oneLine(error)}`, { cause: error });
  }

  /**
   * Return what PyTorch gives for an empty batch, without the engine, which may abort.
   *
   * @param {Sizes} sizes
   */
  #emptyResult(sizes) {
    const { dataInputs, outputs } = this.interface;
    if (sizes.get(TIME) === 0) {
      const names = dataInputs.filter((s) => s.axes.includes(TIME)).map((s) => s.name);
      throw new InputError(
        `${names.join(", ")}: expected a ${TIME} axis of 1 or more steps, got 0`,
      );
    }
    const axes = outputs.flatMap((spec) => spec.axes);
    if (axes.some((axis) => typeof axis === "string" && !sizes.has(axis))) {
      const empty = [...sizes].filter(([, size]) => size === 0).map(([axis]) => axis);
      throw new InputError(
        `axis ${empty.join(", ")} is empty, and ${this.engine.title} may abort the process on it`,
      );
    }
    const made = collected(outputs, (spec) => zeros(spec, sizes));
    return this.#result(this.#outputNames.map((name) => /** @type {Tensor} */ (made[name])));
  }
}
