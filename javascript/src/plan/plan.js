/** `Plan`: a model as kernel calls over memory with fixed places. */

import { PlanError } from "../errors.js";
import { checkOperators, planDtype } from "./known.js";
import { readGraph } from "./model-file.js";
import { FOLDS } from "./operators/folding.js";
import { OPERATORS } from "./operators/index.js";
import { Kept, Tracer } from "./tracer.js";

/** @typedef {import("./tracer.js").Packer} Packer */
/** @typedef {import("./recipe.js").Recipe} Recipe */

/** Sizes of the batch and of other dynamic axes at which a model is laid out when it is opened. */
const TRIALS = /** @type {const} */ ([
  [2, 16],
  [1, 1],
  [1, 512],
  [2, 4000],
]);

/** A model that the native engine runs, without ONNX Runtime. */
export class Plan {
  #graph;
  #packer;
  #dtypes;
  #kept = new Kept();

  /**
   * Read a model and lay it out once, to see that it is known.
   *
   * @param {Uint8Array} content The bytes of an `.onnx` file.
   * @param {string} source What they are called in messages.
   * @param {Packer} packer What makes a call's weights of those of the file.
   * @throws {ModelError} When they are not a model, or are cut off.
   * @throws {PlanError} When the native engine does not know a part of it, named by its node.
   */
  constructor(content, source, packer) {
    this.#graph = readGraph(content, source);
    this.#packer = packer;
    const { initializers } = this.#graph;
    /** The graph's inputs. */
    this.inputs = this.#graph.inputs.filter((info) => !initializers.has(info.name));
    /** The graph's outputs. */
    this.outputs = this.#graph.outputs;
    this.#dtypes = this.inputs.map(planDtype);
    checkOperators(this.#graph);
    /** The hidden sizes of its recurrent layers, in order. */
    this.hiddenSizes = this.#try();
  }

  /**
   * Return the calls for inputs of these shapes.
   *
   * @param {readonly (readonly number[])[]} shapes Of each input, in the order of `inputs`.
   * @returns {Recipe}
   * @throws {PlanError} When they do not fit, or a node takes at these shapes something unknown.
   */
  recipe(shapes) {
    const given = this.inputs.map(({ name }, index) => ({
      name,
      shape: shapes[index],
      dtype: this.#dtypes[index],
    }));
    return new Tracer(OPERATORS, FOLDS, this.#packer, this.#kept).run(this.#graph, given);
  }

  /** Lay the model out at a few shapes, until one is taken. */
  #try() {
    let first;
    for (const [batch, other] of TRIALS) {
      const shapes = this.inputs.map(({ axes }) => axes.map((axis) => sizeOf(axis, batch, other)));
      try {
        return this.recipe(shapes).hiddenSizes;
      } catch (error) {
        if (!(error instanceof PlanError)) throw error;
        first ??= error;
      }
    }
    throw first;
  }
}

/**
 * @param {number | string | undefined} axis
 * @param {number} batch
 * @param {number} other
 */
function sizeOf(axis, batch, other) {
  if (typeof axis === "number") return axis;
  return axis?.toLowerCase().includes("batch") ? batch : other;
}
