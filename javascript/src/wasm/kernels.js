/**
 * `Kernels`: the native engine's C, compiled to WebAssembly, with memory of its own.
 *
 * `native/wasm/engine.c` says what its functions take.
 */

import { EngineError, oneLine } from "../errors.js";
import { MODULE } from "./module.js";

/**
 * What the module exports.
 *
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} memory
 * @property {(bytes: number) => number} take
 * @property {(address: number) => void} give_back
 * @property {(weights: number, bias: number, units: number, inputs: number) => number} make_matrix
 * @property {(...numbers: number[]) => number} make_layer
 * @property {(...numbers: number[]) => number} make_program
 * @property {(program: number) => void} free_program
 * @property {(program: number, index: number) => number} buffer_of
 * @property {(program: number) => number} run
 * @property {(program: number) => number} step
 * @property {(program: number, steps: number, tiny: number) => void} flush_every
 * @property {() => number} failed_call
 * @property {() => number} failed_value
 */

/** @type {Promise<WebAssembly.Module> | undefined} */
let compiled;

/** Return the compiled module; it is read once. */
async function compile() {
  compiled ??= readModule().then((bytes) => WebAssembly.compile(bytes));
  try {
    return await compiled;
  } catch (error) {
    compiled = undefined;
    throw error;
  }
}

/** Return the module's bytes, unpacked. */
async function readModule() {
  const packed = Uint8Array.from(atob(MODULE), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).arrayBuffer();
}

export class Kernels {
  /** @param {Exports} exports */
  constructor(exports) {
    this.call = exports;
  }

  /**
   * Return kernels with empty memory.
   *
   * @returns {Promise<Kernels>}
   * @throws {EngineError} If the module cannot be read, or has instructions that are unknown here.
   */
  static async open() {
    try {
      const instance = await WebAssembly.instantiate(await compile(), { math: MATH });
      return new Kernels(/** @type {Exports} */ (/** @type {unknown} */ (instance.exports)));
    } catch (error) {
      if (error instanceof EngineError) throw error;
      throw new EngineError(
        `the wasm engine needs WebAssembly with SIMD, which every browser has had since 2023: ` +
          oneLine(error),
        { cause: error },
      );
    }
  }

  /**
   * Return memory of so many bytes, at a multiple of 64.
   *
   * @param {number} bytes
   * @throws {EngineError} If there is no more.
   */
  take(bytes) {
    const address = this.call.take(bytes);
    if (address === 0) throw tooLarge(bytes);
    return address;
  }

  /**
   * Return the memory of numbers. A view is of no use any more when memory was taken after it.
   *
   * @template {ArrayBufferView} View
   * @param {{ new (buffer: ArrayBuffer, offset: number, length: number): View }} type
   * @param {number} address
   * @param {number} length
   */
  view(type, address, length) {
    return new type(this.call.memory.buffer, address, length);
  }

  /**
   * Call a function with copies of arrays of float32, 0 for one that is left out.
   *
   * @param {readonly (ArrayLike<number> | undefined)[]} arrays
   * @param {(addresses: number[]) => number} use Returns what it made.
   * @returns {number}
   */
  withFloats(arrays, use) {
    const addresses = /** @type {number[]} */ ([]);
    try {
      for (const array of arrays) {
        if (array === undefined) {
          addresses.push(0);
          continue;
        }
        const address = this.take(array.length * 4);
        addresses.push(address);
        this.view(Float32Array, address, array.length).set(array);
      }
      const made = use(addresses);
      if (made === 0)
        throw tooLarge(arrays.reduce((sum, array) => sum + (array?.length ?? 0), 0) * 4);
      return made;
    } finally {
      for (const address of addresses) this.call.give_back(address);
    }
  }
}

/** @param {number} bytes */
function tooLarge(bytes) {
  return new EngineError(`the model takes more memory than there is (${bytes} bytes more)`);
}

/** Functions of one number that few models take. */
const MATH = {
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  pow: Math.pow,
  erf,
};

/**
 * erf(x): its Taylor series near zero, the continued fraction of erfc elsewhere.
 *
 * @param {number} x
 */
function erf(x) {
  const size = Math.abs(x);
  if (!(size < 6)) return Number.isNaN(x) ? NaN : Math.sign(x);
  if (size < 2.5) {
    let [term, total] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
      term *= -(x * x) / n;
      total += term / (2 * n + 1);
    }
    return (total * 2) / Math.sqrt(Math.PI);
  }
  let fraction = size;
  for (let n = 60; n > 0; n--) fraction = size + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-size * size) / (fraction * Math.sqrt(Math.PI)));
}
