/** The engine of rnnedge's own kernels, as WebAssembly: steps in microseconds, tens of KB. */

import { TensorSpec } from "../contract.js";
import { dtypeOf } from "../dtypes.js";
import { DeviceError, OptionError } from "../errors.js";
import { Plan } from "../plan/plan.js";
import { Tensor } from "../tensor.js";
import { Kernels } from "./kernels.js";
import { Constants, Program } from "./program.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../engine/engine.js").Engine} Engine */
/** @typedef {import("../engine/engine.js").EngineFactory} EngineFactory */
/** @typedef {import("../engine/engine.js").EngineOptions} EngineOptions */
/** @typedef {import("../plan/model-file.js").ValueInfo} ValueInfo */
/** @typedef {import("../plan/packing.js").DirectionWeights} DirectionWeights */
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
     * @param {DirectionWeights} weights
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
    const type = wide ? BigInt64Array : /** @type {any} */ (data.constructor);
    const values = wide ? BigInt64Array.from(/** @type {Int32Array} */ (data), BigInt) : data;
    this.#kernels.view(type, address, data.length).set(values);
  }

  /**
   * @param {string} dtype That of the graph.
   * @param {import("../plan/values.js").PlanDtype} own That of the program.
   * @param {readonly number[]} shape
   * @param {number} address
   */
  #read(dtype, own, shape, address) {
    const type = /** @type {any} */ (dtypeOf(own)?.array);
    const size = shape.reduce((all, axis) => all * axis, 1);
    const made = new Tensor(own, this.#kernels.view(type, address, size).slice(), shape);
    return dtype === own || dtype === "" ? made : made.astype(dtype);
  }
}

/** @param {ValueInfo} info */
function specOf({ name, dtype, axes }) {
  return new TensorSpec(
    name,
    dtype,
    axes.map((axis, position) => (axis === undefined || axis === "" ? `${name}.${position}` : axis)),
  );
}
