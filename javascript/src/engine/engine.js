/**
 * What a session asks of the library that computes a model, and what makes one.
 *
 * Everything that reaches an engine was checked: names, dtypes, shapes, lengths, and in a stream
 * that numbers are finite. Whatever `run` throws or rejects with becomes an `EngineError` that
 * names `title`.
 */

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../contract.js").Contract} Contract */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../model-source.js").ModelSource} ModelSource */
/** @typedef {import("../tensor.js").Tensor} Tensor */

/**
 * A model opened by a library.
 *
 * @typedef {object} Engine
 * @property {string} name The name in code, such as `onnxruntime-web`.
 * @property {string} title The name in messages, such as `ONNX Runtime`.
 * @property {string} reason Why this engine was chosen, in one line.
 * @property {"cpu" | "webgpu"} device The device in use.
 * @property {boolean} synchronous Whether `run` returns the outputs themselves, not a promise of
 *   them; `Session.runSync` and `Stream.stepSync` need that.
 * @property {readonly TensorSpec[]} inputs The inputs of the graph; a dtype that the library does
 *   not report is empty.
 * @property {readonly TensorSpec[]} outputs The outputs of the graph, likewise.
 * @property {(outputs: readonly string[], feeds: Tensors) => readonly Tensor[] |
 *   Promise<readonly Tensor[]>} run Run the model once: every input of the graph by name, the names
 *   of the outputs that are wanted, and these outputs in that order, in memory that the engine does
 *   not write again.
 * @property {(shapes: readonly (readonly number[])[]) => Stepper | undefined} [stepper] Prepare
 *   steps of a model of one input and one output, each followed by the states: by the shapes of the
 *   inputs; undefined where the engine has none for it.
 * @property {() => void | Promise<void>} close Free what it holds.
 */

/**
 * Steps of one frame with the state in the engine's own memory.
 *
 * @typedef {object} Stepper
 * @property {(state: readonly Float32Array[]) => void} setState
 * @property {() => Float32Array[]} state A copy.
 * @property {(frame: Float32Array, answer: Float32Array) => boolean} step Write the answer; false,
 *   with nothing changed, for a frame with NaN or infinity. Tiny numbers of the state, and frames
 *     of nothing else, become zero.
 * @property {() => void} close Free what it holds.
 */

/**
 * How a model is to be opened.
 *
 * @typedef {object} EngineOptions
 * @property {Contract} contract The contract of the model.
 * @property {"cpu" | "webgpu"} device
 * @property {number} [threads] Threads inside one operator; undefined is the library's default.
 * @property {string} reason Why this engine was chosen.
 */

/**
 * What opens models: `engine` of `Session.open` may be one, instead of a name.
 *
 * @typedef {object} EngineFactory
 * @property {string} name The name in code.
 * @property {(source: ModelSource, options: EngineOptions) => Promise<Engine>} open Open a model:
 *   `source.path` where it is a file and the library opens files, else `await source.bytes()`.
 *   Throws a `ModelError` for a model that the engine does not run, an `OptionError` for an option
 *   that it has not.
 */

export {};
