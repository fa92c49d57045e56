/** What flows between the nodes of a model while its plan is laid out for given shapes. */

import { count, denseStrides } from "./nd-array.js";

/** @typedef {import("./nd-array.js").NdArray} NdArray */
/** @typedef {"float32" | "int64" | "bool"} PlanDtype */

/** Bytes of one element. */
export const ITEM = Object.freeze({ float32: 4, int64: 8, bool: 1 });
export const DTYPE_CODE = Object.freeze({ float32: 0, int64: 1, bool: 2 });

let buffers = 0;

/** Memory that calls read and write. */
export class Buffer {
  /**
   * A larger buffer that it is a part of.
   * @type {Place | undefined}
   */
  parent;

  /** Its number among those of its home; for the arena its offset in bytes. */
  index = -1;

  /**
   * @param {"arena" | "constant" | "input" | "output"} home Where it lies in the end.
   * @param {number} size Bytes.
   * @param {NdArray} [array] The values of a constant.
   */
  constructor(home, size, array) {
    this.home = home;
    this.size = size;
    this.array = array;
    this.id = buffers++;
  }

  /** The buffer that holds it, itself where it is not a part, and the offset in it. */
  root() {
    let [buffer, offset] = /** @type {[Buffer, number]} */ ([this, 0]);
    while (buffer.parent !== undefined) {
      offset += buffer.parent.offset;
      buffer = buffer.parent.buffer;
    }
    return { buffer, offset };
  }
}

/** A tensor that is known when the plan runs: a view of a buffer. */
export class View {
  /** An activation that it has, where the graph gives it without: only that one may take it. */
  applied = "";

  /**
   * @param {readonly number[]} shape
   * @param {PlanDtype} dtype
   * @param {Buffer} buffer
   * @param {number} offset Elements from the start of the buffer.
   * @param {readonly number[]} strides Elements from one entry of an axis to the next.
   */
  constructor(shape, dtype, buffer, offset, strides) {
    this.shape = shape;
    this.dtype = dtype;
    this.buffer = buffer;
    this.offset = offset;
    this.strides = strides;
  }

  /**
   * The same memory seen differently.
   *
   * @param {{ shape?: readonly number[], strides?: readonly number[], offset?: number,
   *   applied?: string }} changes
   */
  with({
    shape = this.shape,
    strides = this.strides,
    offset = this.offset,
    applied = this.applied,
  }) {
    const made = new View(shape, this.dtype, this.buffer, offset, strides);
    made.applied = applied;
    return made;
  }

  get count() {
    return count(this.shape);
  }

  /** Bytes of its elements. */
  get bytes() {
    return this.count * ITEM[this.dtype];
  }

  /** Whether its elements lie one after the other in the order of its axes. */
  get isDense() {
    return isDense(this.shape, this.strides);
  }

  /** Its buffer and the offset in bytes. */
  get place() {
    return { buffer: this.buffer, offset: this.offset * ITEM[this.dtype] };
  }
}

/** A value that is known now: a weight, or what follows from the shapes. */
export class Constant {
  /**
   * @param {NdArray} array
   * @param {boolean} isStatic Whether it is the same at all shapes.
   */
  constructor(array, isStatic) {
    this.array = array;
    this.isStatic = isStatic;
  }
}

/** @typedef {View | Constant} Value */
/** @typedef {{ buffer: Buffer, offset: number }} Place */

/**
 * One call of a kernel.
 *
 * @typedef {object} Call
 * @property {number} operation
 * @property {number} kind
 * @property {readonly number[]} sizes
 * @property {readonly (Place | undefined)[]} places
 * @property {readonly number[]} [distances]
 * @property {number} [axes]
 * @property {readonly [number, number]} [numbers]
 * @property {unknown} [packed] What the packer made of the weights.
 * @property {number} [writes] How many of `places`, counted from the end, it writes: 1.
 * @property {Record<string, any>} [about] What later nodes need to know of it.
 * @property {string} [node] The node that it is of.
 */

/**
 * The buffers that a call reads.
 *
 * @param {Call} call
 */
export function takenBy(call) {
  const end = call.places.length - (call.writes ?? 1);
  return call.places.slice(0, end).flatMap((place) => (place ? [place.buffer] : []));
}

/**
 * The buffers that a call writes.
 *
 * @param {Call} call
 */
export function writtenBy(call) {
  const end = call.places.length - (call.writes ?? 1);
  return call.places.slice(end).flatMap((place) => (place ? [place.buffer] : []));
}

/**
 * Whether these strides are those of `denseStrides`, as far as the sizes can tell.
 *
 * @param {readonly number[]} shape
 * @param {readonly number[]} strides
 */
export function isDense(shape, strides) {
  const dense = denseStrides(shape);
  return shape.every((size, axis) => size === 1 || strides[axis] === dense[axis]);
}

/**
 * Join axes that can be walked as one, and drop those of size 1.
 *
 * @param {readonly number[]} shape
 * @param {...(readonly number[])} strides Those of each operand.
 * @returns {{ sizes: number[], strides: number[][] }}
 */
export function merged(shape, ...strides) {
  const sizes = /** @type {number[]} */ ([]);
  const kept = strides.map(() => /** @type {number[]} */ ([]));
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const last = sizes.length - 1;
    const joins = last >= 0 && kept.every((left, own) => left[last] === strides[own][axis] * size);
    if (joins) {
      sizes[last] *= size;
      kept.forEach((left, own) => (left[last] = strides[own][axis]));
    } else {
      sizes.push(size);
      kept.forEach((left, own) => left.push(strides[own][axis]));
    }
  });
  return { sizes, strides: kept };
}
