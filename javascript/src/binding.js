/** `Binder`: the inputs of a call, checked against what the graph declares. */

import { BATCH, TIME } from "./contract.js";
import { dtypeOf } from "./dtypes.js";
import { InputError, StateError } from "./errors.js";
import { inputTensor } from "./input-tensor.js";
import { Tensor, asTensor } from "./tensor.js";

/** @typedef {import("./contract.js").Interface} Interface */
/** @typedef {import("./contract.js").TensorSpec} TensorSpec */
/** @typedef {import("./tensor.js").TensorLike} TensorLike */
/** @typedef {import("./tensor.js").ErrorClass} ErrorClass */
/** Sizes of named axes. @typedef {Map<string, number>} Sizes */
/** Tensors by name. @typedef {{ [name: string]: Tensor }} Tensors */
/** Values by name. @typedef {{ readonly [name: string]: TensorLike }} Values */
/**
 * The only state, (h,) or (h, c) in the order of `Interface.states`, or an object by input name.
 * @typedef {Tensor | readonly TensorLike[] | Values} State
 */

/** Checks the inputs of a call against an interface, and returns what the engine is fed. */
export class Binder {
  #inputs;
  #states;
  #lengths;

  /** @param {Interface} face */
  constructor(face) {
    this.#inputs = face.dataInputs;
    this.#states = face.stateInputs;
    this.#lengths = face.inputs.find((spec) => spec.name === face.lengths);
  }

  /**
   * Check the data inputs.
   *
   * @param {TensorLike | Values} data
   * @returns {[Tensors, Sizes]} The inputs by name, and the sizes of their named axes.
   * @throws {InputError} If a name, dtype or shape does not fit.
   */
  data(data) {
    const specs = this.#inputs;
    if (isMapping(data) && specs.length === 0) throw new InputError("the model has no data inputs");
    const values = byName(specs, data);
    const given = Object.keys(values).sort();
    const expected = specs.map((spec) => spec.name);
    const unknown = given.filter((name) => !expected.includes(name));
    const missing = expected.filter((name) => !given.includes(name)).sort();
    if (unknown.length || missing.length) {
      const wrong = unknown.length ? unknown : missing;
      throw new InputError(
        `expected the inputs ${expected.join(", ")}; ` +
          `${unknown.length ? "unknown" : "missing"}: ${wrong.join(", ")}`,
      );
    }
    const sizes = /** @type {Sizes} */ (new Map());
    return [collected(specs, (spec) => bound(spec, values[spec.name], sizes, InputError)), sizes];
  }

  /**
   * Check a state, or make zeros if there is none.
   *
   * @param {State | null | undefined} state
   * @param {Sizes} sizes The sizes of named axes; those of the state are added.
   * @returns {Tensors} The initial states by input name, in the order of `Interface.states`.
   * @throws {StateError} If it does not fit, or the model has no state.
   */
  state(state, sizes) {
    const specs = this.#states;
    if (state === null || state === undefined)
      return collected(specs, (spec) => zeros(spec, sizes));
    if (specs.length === 0) {
      throw new StateError("the model takes no state: export it with states (--states)");
    }
    const values = this.#inOrder(state);
    return collected(specs, (spec, index) => bound(spec, values[index], sizes, StateError));
  }

  /**
   * Check the lengths of the rows, or make full ones if there are none.
   *
   * @param {TensorLike | null | undefined} lengths Integers [batch] from 0 to time.
   * @param {Sizes} sizes The sizes of the named axes of the inputs.
   * @returns {Tensors} The lengths by input name; empty for a model without lengths.
   * @throws {InputError} If they do not fit, or the model takes none.
   */
  lengths(lengths, sizes) {
    const spec = this.#lengths;
    const none = lengths === null || lengths === undefined;
    if (spec === undefined) {
      if (none) return {};
      throw new InputError("the model takes no lengths: export it with lengths=True (--lengths)");
    }
    const [batch, time] = [sizes.get(BATCH), sizes.get(TIME)];
    if (!none) {
      return { [spec.name]: boundLengths(spec.name, lengths, batch, time).astype(spec.dtype) };
    }
    if (batch === undefined || time === undefined) {
      throw new InputError(`${spec.name}: expected the steps of each row, got none`);
    }
    const full = new Float64Array(batch).fill(time);
    return { [spec.name]: new Tensor("float64", full, [batch]).astype(spec.dtype) };
  }

  /**
   * Return the values of a state in the order of `Interface.states`.
   *
   * @param {State} state
   * @returns {readonly TensorLike[]}
   */
  #inOrder(state) {
    const names = this.#states.map((spec) => spec.name);
    if (isMapping(state)) {
      const given = Object.keys(state);
      if (given.length !== names.length || !names.every((name) => given.includes(name))) {
        throw new StateError(`expected the states ${names.join(", ")}, got ${given.join(", ")}`);
      }
      return names.map((name) => /** @type {TensorLike} */ (state[name]));
    }
    const values = isListOfTensors(state) ? state : [/** @type {TensorLike} */ (state)];
    if (values.length !== names.length) {
      throw new StateError(
        `expected ${names.length} state(s) (${names.join(", ")}), got ${values.length} array(s)`,
      );
    }
    return values;
  }
}

/**
 * Whether a value is an object of values by name, as `{ input: x }` is.
 *
 * @param {unknown} value
 * @returns {value is Values}
 */
export function isMapping(value) {
  if (typeof value !== "object" || value === null) return false;
  const parent = /** @type {unknown} */ (Object.getPrototypeOf(value));
  return parent === null || parent === Object.prototype || Object.getPrototypeOf(parent) === null;
}

/**
 * Return the inputs of a call by name; a single array is the only input.
 *
 * @param {readonly TensorSpec[]} specs
 * @param {TensorLike | Values} data
 * @returns {Values}
 * @throws {InputError} If it is a single array, and the model has several inputs or none.
 */
export function byName(specs, data) {
  if (isMapping(data)) return data;
  const [only] = specs;
  if (specs.length !== 1 || only === undefined) {
    const names = specs.map((spec) => spec.name).join(", ");
    throw new InputError(`expected a mapping with the inputs ${names}, got one array`);
  }
  return { [only.name]: data };
}

/**
 * Check a value against a spec, and record the sizes of its named axes.
 *
 * @param {TensorSpec} spec
 * @param {unknown} value
 * @param {Sizes} sizes
 * @param {ErrorClass} ErrorType
 * @returns {Tensor}
 */
export function bound(spec, value, sizes, ErrorType) {
  const tensor = inputTensor(spec, value, ErrorType);
  let fits = tensor.dtype === spec.dtype && tensor.shape.length === spec.axes.length;
  if (fits) {
    spec.axes.forEach((axis, index) => {
      const size = tensor.shape[index] ?? 0;
      if (typeof axis === "string" && !sizes.has(axis)) sizes.set(axis, size);
      fits &&= size === (typeof axis === "string" ? sizes.get(axis) : axis);
    });
  }
  if (!fits) throw new ErrorType(mismatch(spec, tensor, sizes));
  return tensor;
}

/** Advice, as the end of a sentence. */
export const EXCHANGED = "; time and batch of the input seem to be exchanged";

/**
 * Check the lengths of rows, integers [batch] from 0 to time; undefined is an unknown size.
 *
 * @param {string} name
 * @param {TensorLike} lengths
 * @param {number | undefined} batch
 * @param {number | undefined} time
 */
export function boundLengths(name, lengths, batch, time) {
  const values = asTensor(name, lengths, InputError);
  if (!isWhole(values.dtype) && values.size) {
    throw new InputError(
      `${name}: expected integers, got ${values.dtype}; convert them with .astype('int64')`,
    );
  }
  if (values.shape.length !== 1 || (batch !== undefined && values.size !== batch)) {
    const rows = batch === undefined ? "row" : `of the ${batch} row(s)`;
    const advice = String(values.shape) === String(time) ? EXCHANGED : "";
    const message = `${name}: expected one length for each ${rows} of the batch, got shape`;
    throw new InputError(`${message} [${values.shape.join(", ")}]${advice}`);
  }
  checkRange(name, values, time);
  return values;
}

/** @param {string} dtype */
function isWhole(dtype) {
  return ["i", "u"].includes(dtypeOf(dtype)?.kind ?? "");
}

/**
 * @param {string} name
 * @param {Tensor} values
 * @param {number | undefined} time
 */
function checkRange(name, values, time) {
  const longest = time ?? Infinity;
  for (let row = 0; row < values.size; row++) {
    const value = /** @type {number} */ (values.data[row]);
    if (value >= 0 && value <= longest) continue;
    const allowed = time === undefined ? "of 0 or more" : `from 0 to ${time}, the number of steps`;
    throw new InputError(`${name}: expected lengths ${allowed}, got ${value} at row ${row}`);
  }
}

/**
 * Return zeros with the axes of a spec.
 *
 * @param {TensorSpec} spec
 * @param {Sizes} sizes The sizes of named axes.
 * @returns {Tensor}
 */
export function zeros(spec, sizes) {
  const shape = spec.axes.map((axis) => {
    const size = typeof axis === "number" ? axis : sizes.get(axis);
    if (size !== undefined) return size;
    throw new StateError(
      `${spec.name}: the size of its axis '${axis}' does not follow from the inputs: ` +
        "pass the state",
    );
  });
  return Tensor.zeros(spec.dtype, shape);
}

/**
 * Return a tensor for each spec, by name.
 *
 * @param {readonly TensorSpec[]} specs
 * @param {(spec: TensorSpec, index: number) => Tensor} make
 * @returns {Tensors}
 */
export function collected(specs, make) {
  const made = /** @type {Tensors} */ (Object.create(null));
  specs.forEach((spec, index) => (made[spec.name] = make(spec, index)));
  return made;
}

/**
 * @param {State} state
 * @returns {state is readonly TensorLike[]}
 */
function isListOfTensors(state) {
  return Array.isArray(state) && !state.some((item) => typeof item === "number");
}

/**
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 * @param {Sizes} sizes
 */
function mismatch(spec, tensor, sizes) {
  const sameRank = tensor.shape.length === spec.axes.length;
  const known = spec.axes.filter((axis) => typeof axis === "string" && sizes.has(axis));
  let message = `${spec.name}: expected ${spec.dtype}[${spec.axes.join(", ")}]`;
  if (sameRank && known.length) {
    message += ` with ${known.map((axis) => `${axis}=${sizes.get(String(axis))}`).join(", ")}`;
  }
  message += `, got ${tensor}`;
  if (tensor.dtype !== spec.dtype && dtypeOf(tensor.dtype)?.kind !== "b") {
    message += `; convert it with .astype('${spec.dtype}')`;
  } else if (tensor.shape.length === spec.axes.length - 1 && spec.axes.includes(BATCH)) {
    const shape = [...tensor.shape];
    shape.splice(spec.axes.indexOf(BATCH), 0, 1);
    message += `; one sequence is a batch of 1: x.reshape([${shape.join(", ")}])`;
  } else if (sameRank) {
    message += moved(spec, tensor, sizes);
  }
  return message;
}

/**
 * Say how the axes would fit in another order, as the end of a sentence, or nothing.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 * @param {Sizes} sizes
 */
function moved({ axes }, { shape }, sizes) {
  const isFixed = (/** @type {number} */ place) => typeof axes[place] === "number";
  const wrong = shape.flatMap((size, place) =>
    isFixed(place) && axes[place] !== size ? [place] : [],
  );
  const [to] = wrong;
  if (to === undefined) {
    // A state, or a second input, of another batch than the first.
    const [time, rows] = [sizes.get(TIME), shape[axes.indexOf(BATCH)]];
    return rows !== undefined && rows === time && rows !== sizes.get(BATCH) ? EXCHANGED : "";
  }
  const from = shape.findIndex((size, place) => size === axes[to] && !isFixed(place));
  if (wrong.length > 1 || from < 0) return "";
  return `; its axis of ${axes[to]} stands at ${from}, and belongs at ${to}`;
}
