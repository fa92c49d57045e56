/**
 * The contract of an exported model: what the exporter wrote into the `metadata_props` of the file
 * under `METADATA_KEY`, as one JSON value.
 */

import { ContractError } from "./errors.js";
import { JsonRecord, parse, printable, whole } from "./json-record.js";
import { ascii } from "./printable.js";

/** @typedef {import("./json-record.js").Json} Json */

export const METADATA_KEY = "rnnedge.contract";
/** The newest format of the contract that this version reads. */
export const FORMAT_VERSION = 1;
export const BATCH = "batch";
export const TIME = "time";

/** Characters of a contract. */
const LONGEST = 2 ** 24;
/** Levels of nesting that the arguments of a forward may have. */
const DEEPEST = 32;
/** Those that numpy 1 takes. */
const MOST_AXES = 32;
const DTYPES = new Set([
  ...["bool", "float16", "float32", "float64", "bfloat16", "complex64", "complex128", "object"],
  ...["", "u"].flatMap((sign) => [4, 8, 16, 32, 64].map((bits) => `${sign}int${bits}`)),
]);
const CELLS = ["rnn", "lstm", "gru", "custom"];

/** A fixed size, or the name of a dynamic one. @typedef {number | string} Axis */

/** Name, dtype and axes of one graph input or output. */
export class TensorSpec {
  /**
   * @param {string} name The name in the graph.
   * @param {string} dtype The name of the numpy dtype, such as `float32`.
   * @param {readonly Axis[]} axes One entry for each axis: a size, or the name of an axis of any
   *   size.
   */
  constructor(name, dtype, axes) {
    this.name = name;
    this.dtype = dtype;
    this.axes = axes;
  }

  /** `name dtype[axis, axis]`. */
  toString() {
    return `${this.name} ${this.dtype}[${this.axes.join(", ")}]`;
  }
}

/**
 * Which output holds the value that `input` takes on the next call.
 * @typedef {{ readonly input: string, readonly output: string }} StatePair
 */

/** The inputs and outputs of a model. */
export class Interface {
  /**
   * @param {object} fields
   * @param {readonly TensorSpec[]} fields.inputs Graph inputs in graph order, lengths and states
   *   among them.
   * @param {readonly TensorSpec[]} fields.outputs Graph outputs in graph order, final states among
   *   them.
   * @param {readonly StatePair[]} [fields.states] Pairs of initial and final state.
   * @param {string | null} [fields.lengths] Name of the int64 [batch] input that ends each row.
   */
  constructor({ inputs, outputs, states = [], lengths = null }) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.states = states;
    this.lengths = lengths;
    const initial = new Set(states.map((pair) => pair.input));
    const final = new Set(states.map((pair) => pair.output));
    /** The inputs that are neither a state nor the lengths. */
    this.dataInputs = inputs.filter((spec) => !initial.has(spec.name) && spec.name !== lengths);
    /** The initial states, in the order of `states`. */
    this.stateInputs = states.map((pair) => named(pair.input, inputs));
    /** The outputs that are not a final state. */
    this.dataOutputs = outputs.filter((spec) => !final.has(spec.name));
  }
}

/**
 * One recurrent layer of the model, with the argument names of `torch.nn.RNN`.
 *
 * @typedef {object} LayerInfo
 * @property {string} name Path of the layer inside the exported module; empty for a bare layer.
 * @property {string} cell `rnn`, `lstm`, `gru` or `custom`.
 * @property {number} input_size
 * @property {number} hidden_size
 * @property {number} num_layers
 * @property {string} nonlinearity
 * @property {boolean} bias
 * @property {boolean} batch_first
 * @property {boolean} bidirectional
 * @property {number} proj_size
 * @property {string} lowering The ONNX form that it was exported as.
 * @property {number} weights Elements in all of its weights and biases.
 * @property {string} reason Why this form was chosen.
 */
/**
 * The whole contract of an exported model.
 *
 * @typedef {object} Contract
 * @property {Interface} interface Inputs, outputs, states and lengths.
 * @property {readonly LayerInfo[]} layers The recurrent layers in it.
 * @property {string} dtype The dtype that the weights are stored in.
 * @property {string | null} quantization null, or the kind of quantization.
 * @property {string} target What the lowerings were chosen for.
 * @property {number} opset Version of the ONNX operator set.
 * @property {string} weightsDigest `sha256:` and the digest of all weights.
 * @property {{ readonly [name: string]: string }} versions Package name to version, of what
 *   exported the model.
 * @property {readonly string[]} hindrances What keeps chunks from giving what the whole sequence
 *   gives; empty when the model can be streamed exactly.
 * @property {readonly string[]} calibrated The int8 parameters that were rounded with calibration
 *   data.
 * @property {number} format Format version of the contract itself.
 */

/**
 * Read a contract.
 *
 * @param {string} text The value under `METADATA_KEY`.
 * @param {string} [source] Where it was found, for the error message.
 * @returns {Contract} The contract, checked.
 * @throws {ContractError} If the text is not a contract, or its format is newer than
 *   `FORMAT_VERSION`.
 */
export function readContract(text, source = "the model") {
  let record;
  let version;
  try {
    record = new JsonRecord(parse(text, LONGEST));
    version = record.value("format");
  } catch (error) {
    const why = messageOf(error);
    throw new ContractError(
      `${source} has no readable contract under '${METADATA_KEY}' (${why}): export it again`,
      { cause: error },
    );
  }
  if (typeof version !== "number" || version < 1 || version > FORMAT_VERSION) {
    throw new ContractError(
      `${source} has contract format ${shown(version)}, and this version reads formats up to ` +
        `${FORMAT_VERSION}: update rnnedge, or export it again`,
    );
  }
  try {
    return contractOf(record);
  } catch (error) {
    const why = messageOf(error);
    throw new ContractError(
      `${source} has a damaged contract under '${METADATA_KEY}' (${why}): export it again`,
      { cause: error },
    );
  }
}

/** @param {unknown} error What reading raised: a `RangeError`; anything else is a fault of ours. */
function messageOf(error) {
  if (error instanceof RangeError) return error.message;
  throw error;
}

/** @param {Json} version */
function shown(version) {
  if (typeof version === "string") return ascii(version).slice(0, 40);
  return version !== null && typeof version === "object" ? "of another kind" : String(version);
}

/**
 * Read the fields; what a later version adds within the format is passed over.
 *
 * @param {JsonRecord} record
 * @returns {Contract}
 */
function contractOf(record) {
  return {
    interface: readInterface(record.record("interface")),
    layers: record.records("layers").map(readLayer),
    dtype: record.text("dtype"),
    quantization: record.value("quantization") === null ? null : record.text("quantization"),
    target: record.text("target"),
    opset: record.whole("opset", 1),
    weightsDigest: record.text("weights_digest"),
    format: record.whole("format", 1),
    hindrances: record.has("hindrances") ? record.texts("hindrances") : [],
    calibrated: record.has("calibrated") ? record.texts("calibrated") : [],
    versions: record.has("versions") ? record.textByName("versions") : {},
  };
}

/** @param {JsonRecord} record */
function readInterface(record) {
  const lengths = record.value("lengths") === null ? null : record.text("lengths");
  const inputs = record.records("inputs").map(readTensor);
  const outputs = record.records("outputs").map(readTensor);
  const states = record
    .records("states")
    .map((pair) => ({ input: pair.text("input"), output: pair.text("output") }));
  if (record.has("arguments")) checkDepth(record.value("arguments"));
  checkNames(inputs, "inputs");
  checkNames(outputs, "outputs");
  checkPairs(states, inputs, outputs);
  if (lengths !== null) named(lengths, inputs);
  return new Interface({ inputs, outputs, states, lengths });
}

/** @param {JsonRecord} record */
function readTensor(record) {
  const dtype = record.text("dtype");
  if (!DTYPES.has(dtype)) {
    throw new RangeError(`${record.text("name")}: ${dtype} is not the name of a dtype`);
  }
  const axes = record.items("axes");
  if (axes.length > MOST_AXES) {
    throw new RangeError(`${record.text("name")}: expected at most ${MOST_AXES} axes`);
  }
  return new TensorSpec(
    record.text("name"),
    dtype,
    axes.map(([axis, place]) =>
      typeof axis === "string" ? printable(axis, place) : whole(axis, place),
    ),
  );
}

/**
 * @param {JsonRecord} record
 * @returns {LayerInfo}
 */
function readLayer(record) {
  const cell = record.text("cell");
  if (!CELLS.includes(cell)) throw new RangeError(`${cell} is not one of ${CELLS.join(", ")}`);
  return {
    name: record.text("name", { empty: true }),
    cell,
    input_size: record.whole("input_size"),
    hidden_size: record.whole("hidden_size"),
    num_layers: record.whole("num_layers"),
    nonlinearity: record.text("nonlinearity", { empty: cell === "custom" }),
    bias: record.flag("bias"),
    batch_first: record.flag("batch_first"),
    bidirectional: record.flag("bidirectional"),
    proj_size: record.whole("proj_size"),
    lowering: record.text("lowering"),
    weights: record.whole("weights"),
    reason: record.has("reason") ? record.text("reason", { empty: true }) : "",
  };
}

/**
 * @param {readonly TensorSpec[]} specs
 * @param {string} kind
 */
function checkNames(specs, kind) {
  if (new Set(specs.map((spec) => spec.name)).size < specs.length) {
    throw new RangeError(`${kind}: a name occurs twice`);
  }
}

/**
 * Check that a state comes out as it goes in.
 *
 * @param {readonly StatePair[]} pairs
 * @param {readonly TensorSpec[]} inputs
 * @param {readonly TensorSpec[]} outputs
 */
function checkPairs(pairs, inputs, outputs) {
  for (const pair of pairs) {
    const [before, after] = [named(pair.input, inputs), named(pair.output, outputs)];
    const differs = (/** @type {Axis} */ axis, /** @type {number} */ index) =>
      typeof axis === "number" &&
      typeof after.axes[index] === "number" &&
      axis !== after.axes[index];
    if (
      before.dtype !== after.dtype ||
      before.axes.length !== after.axes.length ||
      before.axes.some(differs)
    ) {
      throw new RangeError(`state ${before} comes out as ${after}`);
    }
  }
  if (new Set(pairs.map((pair) => pair.input)).size < pairs.length) {
    throw new RangeError("states: a name occurs twice");
  }
}

/**
 * @param {string} name
 * @param {readonly TensorSpec[]} specs
 */
function named(name, specs) {
  const found = specs.find((spec) => spec.name === name);
  if (found === undefined) {
    throw new RangeError(`${name} is not one of ${specs.map((spec) => spec.name).join(", ")}`);
  }
  return found;
}

/**
 * Check that the arguments of a forward are nested no deeper than a call is.
 *
 * @param {Json} given
 */
function checkDepth(given) {
  if (!(given instanceof Map)) throw new RangeError("arguments: expected an object");
  let level = /** @type {Json[]} */ ([given]);
  for (let depth = 0; depth <= DEEPEST; depth++) {
    if (level.length === 0) return;
    level = level.flatMap((value) => {
      if (value instanceof Map) return [...value.values()];
      return Array.isArray(value) ? value : [];
    });
  }
  throw new RangeError(`arguments: nested deeper than ${DEEPEST}`);
}
