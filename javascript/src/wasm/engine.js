/** The engine of rnnedge's own kernels, as WebAssembly: steps in microseconds, tens of KB. */

import { TensorSpec } from "../contract.js";
import { dtypeOf } from "../dtypes.js";
import { DeviceError, OptionError, PlanError } from "../errors.js";
import { Plan } from "../plan/plan.js";
import { FLUSHED_EVERY, TINY } from "../streaming/silence-and-nan.js";
import { Tensor, product } from "../tensor.js";
import { Kernels } from "./kernels.js";
import { Constants, Program } from "./program.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../engine/engine.js").Engine} Engine */
/** @typedef {import("../engine/engine.js").EngineFactory} EngineFactory */
/** @typedef {import("../engine/engine.js").EngineOptions} EngineOptions */
/** @typedef {import("../engine/engine.js").Stepper} Stepper */
/** @typedef {import("../plan/model-file.js").ValueInfo} ValueInfo */
/** @typedef {import("../plan/packing.js").LayerWeights} LayerWeights */
/** @typedef {import("../plan/tracer.js").Packer} Packer */
/** @typedef {import("./program.js").Packed} Packed */

/** Shapes whose programs are kept. */
const MOST_PROGRAMS = 64;
const CELLS = ["rnn", "lstm", "gru", "gru_reset_before"];

/**
 * Opens models with the native kernels in WebAssembly.
 *
 * @type {EngineFactory}
 */
export const wasm = Object.freeze({
  name: "wasm",
  /**
   * @param {import("../model-source.js").ModelSource} source
   * @param {EngineOptions} options
   */
  async open(source, options) {
    if (options.device !== "cpu") {
      throw new DeviceError(
        `device '${options.device}': the wasm engine runs on the CPU: use device: 'cpu'`,
      );
    }
    if (options.threads !== undefined && options.threads !== 1) {
      throw new OptionError(
        `threads: ${options.threads}: the wasm engine runs on one thread: leave it out`,
      );
    }
    const content = await source.bytes();
    const kernels = await Kernels.open();
    const plan = new Plan(content, source.name, packerOf(kernels));
    return new WasmEngine(kernels, plan, options.reason);
  },
});

/**
 * What packs weights into the memory of kernels.
 *
 * @param {Kernels} kernels
 * @returns {Packer}
 */
export function packerOf(kernels) {
  return {
    /**
     * @param {LayerWeights} weights
     * @returns {Packed}
     */
    layer({ cell, nonlinearity, hiddenSize, stateSize, ...own }) {
      const { weightIh, weightHh, bias, biasN, projection } = own;
      const arrays = [weightIh, weightHh, bias, biasN, projection].map((array) => array?.data);
      const sizes = [weightIh.shape[1], hiddenSize, stateSize];
      const [number, relu] = [CELLS.indexOf(cell), Number(nonlinearity === "relu")];
      const address = kernels.withFloats(arrays, (at) =>
        kernels.call.make_layer(number, relu, ...sizes, ...at),
      );
      return { kind: 1, address };
    },
    /**
     * @param {import("../plan/nd-array.js").NdArray} rows
     * @param {import("../plan/nd-array.js").NdArray | undefined} bias
     * @returns {Packed}
     */
    matrix(rows, bias) {
      const [units, inputs] = rows.shape;
      const address = kernels.withFloats([rows.data, bias?.data], ([weights, added]) =>
        kernels.call.make_matrix(weights, added, units, inputs),
      );
      return { kind: 2, address };
    },
  };
}

/** @implements {Engine} */
export class WasmEngine {
  name = "wasm";
  title = "The wasm engine";
  synchronous = true;
  /** @type {"cpu"} */
  device = "cpu";
  #kernels;
  #constants;
  #plan;
  /** @type {Map<string, Program>} */
  #programs = new Map();

  /**
   * @param {Kernels} kernels
   * @param {Plan} plan
   * @param {string} reason
   */
  constructor(kernels, plan, reason) {
    this.#kernels = kernels;
    this.#constants = new Constants(kernels);
    this.#plan = plan;
    this.reason = reason;
    this.inputs = plan.inputs.map(specOf);
    this.outputs = plan.outputs.map(specOf);
  }

  /**
   * @param {readonly string[]} names
   * @param {Tensors} feeds
   * @returns {Tensor[]}
   */
  run(names, feeds) {
    const given = this.inputs.map(({ name }) => feeds[name]);
    const program = this.#program(given.map((tensor) => tensor.shape));
    given.forEach((tensor, index) => this.#write(program.addresses[index], tensor));
    program.run();
    const { outputs } = program.recipe;
    return names.map((name) => {
      const index = outputs.findIndex((output) => output.name === name);
      const { shape, dtype } = outputs[index];
      const address = program.addresses[this.inputs.length + index];
      return this.#read(this.outputs[index].dtype, dtype, shape, address);
    });
  }

  /**
   * @param {readonly (readonly number[])[]} shapes
   * @returns {WasmStepper | undefined}
   */
  stepper(shapes) {
    const kernels = this.#kernels;
    try {
      const program = new Program(kernels, this.#constants, this.#plan.recipe(shapes));
      const { inputs, outputs } = program.recipe;
      const states = outputs.slice(1).map(({ shape }) => shape.join());
      if (states.join(";") === shapes.slice(1).join(";") && inputs.length === outputs.length) {
        return new WasmStepper(kernels, program);
      }
      program.free();
    } catch (error) {
      if (!(error instanceof PlanError)) throw error; // a step refuses it, and says why
    }
    return undefined;
  }

  /** Let the memory of the kernels go. */
  close() {
    this.#programs.clear();
    this.#kernels = /** @type {Kernels} */ (/** @type {unknown} */ (undefined));
  }

  /** @param {readonly (readonly number[])[]} shapes */
  #program(shapes) {
    const key = shapes.join(";");
    const found = this.#programs.get(key);
    if (found !== undefined) return found;
    const recipe = this.#plan.recipe(shapes);
    if (this.#programs.size >= MOST_PROGRAMS) {
      const [[oldest, program]] = this.#programs;
      program.free();
      this.#programs.delete(oldest);
    }
    const made = new Program(this.#kernels, this.#constants, recipe);
    this.#programs.set(key, made);
    return made;
  }

  /**
   * @param {number} address
   * @param {Tensor} tensor
   */
  #write(address, { dtype, data }) {
    const wide = dtype === "int32"; // the kernels have int64 alone
    const values = wide ? BigInt64Array.from(/** @type {Int32Array} */ (data), BigInt) : data;
    this.#numbers(wide ? "int64" : dtype, address, data.length).set(values);
  }

  /**
   * @param {string} dtype That of the graph.
   * @param {import("../plan/values.js").PlanDtype} own That of the program.
   * @param {readonly number[]} shape
   * @param {number} address
   */
  #read(dtype, own, shape, address) {
    const made = new Tensor(own, this.#numbers(own, address, product(shape)).slice(), shape);
    return dtype === own || dtype === "" ? made : made.astype(dtype);
  }

  /**
   * @param {string} dtype
   * @param {number} address
   * @param {number} length
   * @returns {any} A typed array.
   */
  #numbers(dtype, address, length) {
    const type = /** @type {typeof Float32Array} */ (dtypeOf(dtype)?.array);
    return this.#kernels.view(type, address, length);
  }
}

/** Programs of streams that were let go without `close`. @type {FinalizationRegistry<Program>} */
const LEFT = new FinalizationRegistry((program) => program.free());

/**
 * Steps of one stream, in a program of its own.
 *
 * @implements {Stepper}
 */
class WasmStepper {
  #kernels;
  #program;
  /** @type {Float32Array} */
  #frame;
  /** @type {Float32Array} */
  #answer;
  /** @type {ArrayBuffer} */
  #memory;

  /**
   * @param {Kernels} kernels
   * @param {Program} program
   */
  constructor(kernels, program) {
    this.#kernels = kernels;
    this.#program = program;
    program.flushEvery(FLUSHED_EVERY, TINY);
    [this.#frame, this.#answer] = this.#views();
    this.#memory = kernels.call.memory.buffer;
    LEFT.register(this, program, this);
  }

  /** @param {readonly Float32Array[]} state */
  setState(state) {
    this.#program.states.forEach((address, index) => {
      this.#kernels.view(Float32Array, address, state[index].length).set(state[index]);
    });
  }

  state() {
    const { outputs } = this.#program.recipe;
    return this.#program.states.map((address, index) => {
      const size = product(outputs[index + 1].shape);
      return this.#kernels.view(Float32Array, address, size).slice();
    });
  }

  /**
   * @param {Float32Array} frame
   * @param {Float32Array} answer
   */
  step(frame, answer) {
    const { buffer } = this.#kernels.call.memory;
    if (this.#memory !== buffer) {
      this.#memory = buffer; // it has grown, and the old views are empty
      [this.#frame, this.#answer] = this.#views();
    }
    this.#frame.set(frame);
    if (!this.#program.step()) return false;
    answer.set(this.#answer);
    return true;
  }

  close() {
    LEFT.unregister(this);
    this.#program.free();
  }

  /** @returns {[Float32Array, Float32Array]} */
  #views() {
    const { inputs, outputs } = this.#program.recipe;
    const [frame, answer] = [0, inputs.length].map((index) => this.#program.addresses[index]);
    return [
      this.#kernels.view(Float32Array, frame, inputs[0] / 4),
      this.#kernels.view(Float32Array, answer, product(outputs[0].shape)),
    ];
  }
}

/** @param {ValueInfo} info */
function specOf({ name, dtype, axes }) {
  return new TensorSpec(
    name,
    dtype,
    axes.map((axis, position) =>
      axis === undefined || axis === "" ? `${name}.${position}` : axis,
    ),
  );
}
