/** `Program`: a plan at fixed shapes, in the memory of the kernels. */

import { EngineError, InputError } from "../errors.js";
import { ITEM } from "../plan/values.js";

/** @typedef {import("../plan/nd-array.js").NdArray} NdArray */
/** @typedef {import("../plan/recipe.js").EncodedCall} EncodedCall */
/** @typedef {import("../plan/recipe.js").Recipe} Recipe */
/** @typedef {import("../plan/values.js").PlanDtype} PlanDtype */
/** @typedef {import("./kernels.js").Kernels} Kernels */
/** Weights in the memory of the kernels. @typedef {{ kind: 1 | 2, address: number }} Packed */

/** How many numbers a call is, and where they stand: those of `engine.c`. */
const AT = { operation: 0, kind: 1, axes: 2, packedKind: 3, packed: 4, numbers: 5, sizes: 6 };
const AT_PLACES = 14;
const AT_DISTANCES = 30;
const CALL = 54;

const INDEX_OUT_OF_RANGE = 1;

/** Constants of programs, each held once as long as a program uses it. */
export class Constants {
  #kernels;
  /** @type {Map<NdArray, { address: number, users: number }>} */
  #held = new Map();

  /** @param {Kernels} kernels */
  constructor(kernels) {
    this.#kernels = kernels;
  }

  /**
   * Return where an array lies.
   *
   * @param {NdArray} array
   * @param {PlanDtype} dtype
   */
  hold(array, dtype) {
    const found = this.#held.get(array);
    if (found !== undefined) {
      found.users += 1;
      return found.address;
    }
    const address = this.#kernels.take(Math.max(array.size * ITEM[dtype], 1));
    this.#held.set(array, { address, users: 1 });
    if (dtype === "int64") {
      this.#kernels.view(BigInt64Array, address, array.size).set(array.numbers().map(wide));
    } else if (dtype === "bool") {
      this.#kernels.view(Uint8Array, address, array.size).set(array.data);
    } else {
      this.#kernels.view(Float32Array, address, array.size).set(array.data);
    }
    return address;
  }

  /** @param {NdArray} array */
  letGo(array) {
    const found = this.#held.get(array);
    if (found === undefined || (found.users -= 1) > 0) return;
    this.#held.delete(array);
    this.#kernels.call.give_back(found.address);
  }
}

/** @param {number} value */
function wide(value) {
  if (Number.isSafeInteger(value)) return BigInt(value);
  throw new EngineError(`the model computes with the integer ${value}, which is rounded here`);
}

export class Program {
  #kernels;
  #constants;
  #arrays;
  #address;

  /**
   * @param {Kernels} kernels
   * @param {Constants} constants
   * @param {Recipe} recipe
   * @throws {EngineError} If a call does not fit its buffers, or memory is short.
   */
  constructor(kernels, constants, recipe) {
    this.#kernels = kernels;
    this.#constants = constants;
    this.recipe = recipe;
    this.#arrays = /** @type {NdArray[]} */ ([]);
    try {
      const addresses = recipe.constants.map(({ array, dtype }) => {
        const address = constants.hold(array, dtype);
        this.#arrays.push(array);
        return address;
      });
      this.#address = make(kernels, recipe, addresses);
    } catch (error) {
      this.#arrays.forEach((array) => constants.letGo(array));
      throw error;
    }
    /** Where each input lies, and then each output. */
    this.addresses = this.#bound();
  }

  #bound() {
    const { inputs, outputs } = this.recipe;
    return Array.from({ length: inputs.length + outputs.length }, (_, index) =>
      this.#kernels.call.buffer_of(this.#address, index),
    );
  }

  /**
   * Run what the inputs hold.
   *
   * @throws {InputError} When an index or a length is out of its range.
   */
  run() {
    this.#check(this.#kernels.call.run(this.#address));
  }

  /**
   * Run one step of a model of one input and one output, followed by its states: what `addresses`
   * says of them changes.
   *
   * @returns {boolean} False, with nothing changed, where the input holds NaN or infinity.
   */
  step() {
    const failure = this.#kernels.call.step(this.#address);
    if (failure === -1) return false;
    this.#check(failure);
    return true;
  }

  /**
   * Let tiny numbers of the state become zero every few steps.
   *
   * @param {number} steps
   * @param {number} tiny
   */
  flushEvery(steps, tiny) {
    this.#kernels.call.flush_every(this.#address, steps, tiny);
  }

  /** Where the states before the next step lie. */
  get states() {
    return this.#bound().slice(1, this.recipe.inputs.length);
  }

  /** @param {number} failure */
  #check(failure) {
    if (failure === 0) return;
    const { call } = this.#kernels;
    const { sizes } = this.recipe.calls[call.failed_call()];
    const value = call.failed_value();
    throw new InputError(
      failure === INDEX_OUT_OF_RANGE
        ? `an index is ${value}, and the table has ${sizes[2]} rows`
        : `a length is ${value}, expected 0 to ${sizes[0]}`,
    );
  }

  /** Give the memory back. */
  free() {
    this.#kernels.call.free_program(this.#address);
    this.#arrays.forEach((array) => this.#constants.letGo(array));
  }
}

/**
 * @param {Kernels} kernels
 * @param {Recipe} recipe
 * @param {readonly number[]} addresses Where the constants lie.
 */
function make(kernels, recipe, addresses) {
  const { constants, inputs, outputs, calls } = recipe;
  const sizes = [
    recipe.arena,
    ...constants.map(({ array, dtype }) => array.size * ITEM[dtype]),
    ...inputs,
    ...outputs.map(({ shape, dtype }) => shape.reduce((all, size) => all * size, ITEM[dtype])),
  ];
  const bytes = 8 * (sizes.length + addresses.length + calls.length * CALL);
  const memory = kernels.take(bytes);
  try {
    const extents = kernels.view(BigInt64Array, memory, sizes.length);
    extents.set(sizes.map(BigInt));
    const second = memory + extents.byteLength;
    kernels.view(Int32Array, second, addresses.length).set(addresses);
    const third = second + 8 * addresses.length;
    const packed = kernels.view(BigInt64Array, third, calls.length * CALL);
    calls.forEach((call, index) => write(packed.subarray(index * CALL, (index + 1) * CALL), call));
    const made = kernels.call.make_program(
      constants.length,
      inputs.length,
      outputs.length,
      calls.length,
      memory,
      second,
      third,
    );
    if (made !== 0) return made;
    const failed = calls[kernels.call.failed_call()];
    throw new EngineError(
      failed === undefined
        ? "the model takes more memory than there is"
        : `${failed.node}: does not fit its memory, or takes more than there is`,
    );
  } finally {
    kernels.call.give_back(memory);
  }
}

/**
 * Write a call down as `engine.c` reads it.
 *
 * @param {BigInt64Array} to
 * @param {EncodedCall} call
 */
function write(to, call) {
  to.fill(0n);
  to[AT.operation] = BigInt(call.operation);
  to[AT.kind] = BigInt(call.kind);
  to[AT.axes] = BigInt(call.axes);
  const packed = /** @type {Packed | undefined} */ (call.packed);
  to[AT.packedKind] = BigInt(packed?.kind ?? 0);
  to[AT.packed] = BigInt(packed?.address ?? 0);
  new Float32Array(to.buffer, to.byteOffset + 8 * AT.numbers, 2).set(call.numbers);
  to.set(call.sizes.map(BigInt), AT.sizes);
  to.fill(-1n, AT_PLACES, AT_DISTANCES);
  to.set(call.places.map(BigInt), AT_PLACES);
  to.set(call.distances.map(BigInt), AT_DISTANCES);
}
