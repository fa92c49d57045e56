/** Steps of one frame in one call of the engine, the state kept in the engine's own memory. */

import { BATCH, TIME } from "../contract.js";
import { InputError } from "../errors.js";
import { Tensor, product, typeName } from "../tensor.js";

/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../engine/engine.js").Stepper} Stepper */
/** @typedef {import("../session.js").Session} Session */

/**
 * Steps of a model of one input and one output, followed by its states, with an engine that has
 * steps. The state is a copy of the stream's as long as `holdsState` is true.
 */
export class QuickSteps {
  /** Whether the engine has the newest state. */
  holdsState = false;
  #stepper;
  #shapes;
  #size;
  #shape;
  #answerSize;

  /**
   * @param {Stepper} stepper
   * @param {readonly (readonly number[])[]} shapes Those of the states.
   * @param {number} size Values of a frame.
   * @param {readonly number[]} shape That of an answer.
   */
  constructor(stepper, shapes, size, shape) {
    this.#stepper = stepper;
    this.#shapes = shapes;
    this.#size = size;
    this.#shape = shape;
    this.#answerSize = product(shape);
  }

  /**
   * Return the steps of a stream; undefined where the engine has none for this model.
   *
   * @param {Session} session
   * @param {number} batch
   */
  static of({ interface: face, engine }, batch) {
    const [input, output] = [face.dataInputs[0], face.dataOutputs[0]];
    if (engine.stepper === undefined || input === undefined || output === undefined) {
      return undefined;
    }
    if (!inOrder(face, input, output)) return undefined;
    const states = face.stateInputs.map((spec) => sizes(spec, batch));
    const shapes = [sizes(input, batch), ...states];
    const answer = sizes({ axes: output.axes.filter((axis) => axis !== TIME) }, batch);
    if (![...shapes, answer].flat().every((size) => size > 0)) return undefined;
    const stepper = engine.stepper(shapes);
    return stepper && new QuickSteps(stepper, states, product(shapes[0] ?? []), answer);
  }

  /**
   * Run one step.
   *
   * @param {unknown} frame
   * @param {readonly Tensor[]} state Taken where the engine has not the newest one.
   * @returns {Tensor | undefined} The answer; undefined, with nothing changed, where the frame is
   *   no `Float32Array` of a step's values, or holds NaN or infinity.
   */
  step(frame, state) {
    if (!this.#isFrame(frame)) return undefined;
    const answer = new Float32Array(this.#answerSize); // the dearest part of a small step
    return this.#run(frame, answer, state) ? new Tensor("float32", answer, this.#shape) : undefined;
  }

  /**
   * Run one step, and write its answer into memory of the caller.
   *
   * @param {unknown} frame
   * @param {unknown} answer
   * @param {readonly Tensor[]} state
   * @returns {boolean} False, with nothing changed, where the frame holds NaN or infinity.
   * @throws {InputError} If one of them is no `Float32Array` of as many values as a step has.
   */
  stepInto(frame, answer, state) {
    if (!this.#isFrame(frame)) throw unfit("frame", this.#size, frame);
    if (!(answer instanceof Float32Array) || answer.length !== this.#answerSize) {
      throw unfit("output", this.#answerSize, answer);
    }
    return this.#run(frame, answer, state);
  }

  /**
   * @param {unknown} frame
   * @returns {frame is Float32Array}
   */
  #isFrame(frame) {
    return frame instanceof Float32Array && frame.length === this.#size;
  }

  /**
   * @param {Float32Array} frame
   * @param {Float32Array} answer
   * @param {readonly Tensor[]} state
   */
  #run(frame, answer, state) {
    if (!this.holdsState) {
      this.#stepper.setState(state.map((tensor) => /** @type {Float32Array} */ (tensor.data)));
      this.holdsState = true;
    }
    return this.#stepper.step(frame, answer);
  }

  /** Return the newest state, which the engine then lets go. */
  takeState() {
    this.holdsState = false;
    const values = this.#stepper.state();
    return values.map((data, index) => new Tensor("float32", data, this.#shapes[index] ?? []));
  }

  /** Free what the engine holds. */
  close() {
    this.#stepper.close();
  }
}

/**
 * @param {string} name
 * @param {number} size
 * @param {unknown} got
 */
function unfit(name, size, got) {
  const length = ArrayBuffer.isView(got) ? ` of ${/** @type {Float32Array} */ (got).length}` : "";
  return new InputError(
    `${name}: expected a Float32Array of ${size} values, got ${typeName(got)}${length}`,
  );
}

/**
 * Whether a model has one input and one output of float32, each followed by the states.
 *
 * @param {import("../contract.js").Interface} face
 * @param {TensorSpec} input
 * @param {TensorSpec} output
 */
function inOrder(face, input, output) {
  const names = (/** @type {readonly TensorSpec[]} */ specs) => specs.map(({ name }) => name);
  const given = [input.name, ...names(face.stateInputs)];
  const made = [output.name, ...face.states.map((pair) => pair.output)];
  return (
    given.join("\n") === names(face.inputs).join("\n") &&
    made.join("\n") === names(face.outputs).join("\n") &&
    [...face.inputs, ...face.outputs].every((spec) => spec.dtype === "float32")
  );
}

/**
 * Return the sizes of one step; -1 for one that is not known.
 *
 * @param {{ readonly axes: TensorSpec["axes"] }} spec
 * @param {number} batch
 */
function sizes({ axes }, batch) {
  return axes.map((axis) => {
    if (axis === BATCH) return batch;
    if (axis === TIME) return 1;
    return typeof axis === "number" ? axis : -1;
  });
}
