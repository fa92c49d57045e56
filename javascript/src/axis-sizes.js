/** The size of an axis that is declared by an expression, such as `(time - 1)//2 + 1`. */

import { TIME } from "./contract.js";
import { InputError } from "./errors.js";

/** @typedef {import("./contract.js").Axis} Axis */
/** @typedef {import("./contract.js").TensorSpec} TensorSpec */
/** @typedef {import("./binding.js").Sizes} Sizes */

/** Characters of an expression. */
const LONGEST = 1000;
/** What no size of memory, nor a part of the expression of one, is beyond. */
const LARGEST = 2n ** 62n;
/** Parentheses inside each other, as Python allows them. */
const DEEPEST = 200;

const TOKEN = /\s*(?:(0+(?!\d)|[1-9]\d*)|([\p{ID_Start}_]\p{ID_Continue}*)|(\*\*|\/\/|[-+*%()]))/uy;
const NAME = /^[\p{ID_Start}_]\p{ID_Continue}*$/u;

/** What is not arithmetic on sizes, or has no size as its value. */
class NoSizeError extends Error {}

/**
 * Whether an axis is declared by an expression, not by a name alone.
 *
 * @param {Axis} axis
 * @returns {axis is string}
 */
export function isComputed(axis) {
  return typeof axis === "string" && !NAME.test(axis);
}

/**
 * Return the size of an axis, or undefined if it does not follow from `sizes`.
 *
 * @param {Axis} axis A size, a name, or an expression of names.
 * @param {Sizes} sizes The sizes of the named axes.
 * @returns {number | undefined}
 */
export function sizeOf(axis, sizes) {
  if (typeof axis === "number") return axis;
  if (axis.length > LONGEST) return undefined;
  try {
    const expression = new Expression(axis, sizes);
    return Number(expression.whole());
  } catch (error) {
    if (error instanceof NoSizeError) return undefined;
    throw error;
  }
}

/**
 * Check that a sequence is long enough for a model that drops steps, as a convolution does.
 *
 * Otherwise a layer inside may get no steps, on which ONNX Runtime may end the process.
 *
 * @param {Iterable<readonly [TensorSpec, Axis]>} axes Outputs, and their axes whose sizes are
 *   computed from those of the inputs.
 * @param {readonly TensorSpec[]} inputs The data inputs.
 * @param {Sizes} sizes The sizes of the named axes of the inputs.
 * @throws {InputError} If an output would have no steps.
 */
export function checkStepsAreLeft(axes, inputs, sizes) {
  for (const [spec, axis] of axes) {
    const size = sizeOf(axis, sizes);
    if (size === undefined || size >= 1) continue;
    const names = inputs.filter((given) => given.axes.includes(TIME)).map((given) => given.name);
    throw new InputError(
      `${names.join(", ")}: expected more than ${sizes.get(TIME)} step(s): ${spec} would have ` +
        `${axis} = ${size}`,
    );
  }
}

/** Python's arithmetic on whole numbers, read and computed in one pass. */
class Expression {
  #tokens;
  #at = 0;
  #depth = 0;
  #sizes;

  /**
   * @param {string} text
   * @param {Sizes} sizes
   */
  constructor(text, sizes) {
    this.#tokens = tokensOf(text);
    this.#sizes = sizes;
  }

  whole() {
    const value = this.#sum();
    if (this.#at < this.#tokens.length) throw new NoSizeError();
    return value;
  }

  /** @returns {bigint} */
  #sum() {
    let value = this.#product();
    for (let sign = this.#take("+", "-"); sign; sign = this.#take("+", "-")) {
      const right = this.#product();
      value = bounded(sign === "+" ? value + right : value - right);
    }
    return value;
  }

  /** @returns {bigint} */
  #product() {
    let value = this.#signed();
    for (let sign = this.#take("*", "//", "%"); sign; sign = this.#take("*", "//", "%")) {
      const right = this.#signed();
      if (sign === "*") value = bounded(value * right);
      else value = sign === "//" ? floorDivided(value, right) : remainder(value, right);
    }
    return value;
  }

  /** @returns {bigint} */
  #signed() {
    return this.#take("-") ? -this.#signed() : this.#power();
  }

  /** @returns {bigint} */
  #power() {
    const base = this.#atom();
    if (!this.#take("**")) return base;
    const exponent = this.#signed(); // binds to the right, and takes a sign
    const small = base >= -1n && base <= 1n;
    if (exponent < 0n || (!small && exponent >= 63n)) throw new NoSizeError();
    return bounded(small ? smallPower(base, exponent) : base ** exponent);
  }

  /** @returns {bigint} */
  #atom() {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new NoSizeError();
    if (/^\d/u.test(token)) return BigInt(token);
    if (token === "(") {
      this.#depth += 1;
      if (this.#depth > DEEPEST) throw new NoSizeError();
      const value = this.#sum();
      this.#depth -= 1;
      if (!this.#take(")")) throw new NoSizeError();
      return value;
    }
    const size = this.#sizes.get(token);
    if (size === undefined) throw new NoSizeError();
    return BigInt(size);
  }

  /** @param {string[]} signs */
  #take(...signs) {
    const token = this.#tokens[this.#at];
    if (token === undefined || !signs.includes(token)) return undefined;
    this.#at += 1;
    return token;
  }
}

/** @param {string} text */
function tokensOf(text) {
  const tokens = [];
  const trimmed = text.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < trimmed.length) {
    const found = TOKEN.exec(trimmed);
    if (found === null) throw new NoSizeError();
    tokens.push(found[1] ?? found[2] ?? found[3] ?? "");
  }
  return tokens;
}

/** @param {bigint} value */
function bounded(value) {
  if (value > LARGEST || value < -LARGEST) throw new NoSizeError();
  return value;
}

/**
 * @param {bigint} base -1, 0 or 1.
 * @param {bigint} exponent 0 or more.
 */
function smallPower(base, exponent) {
  return exponent === 0n ? 1n : base ** (exponent % 2n === 0n ? 2n : 1n);
}

/**
 * @param {bigint} left
 * @param {bigint} right
 */
function floorDivided(left, right) {
  if (right === 0n) throw new NoSizeError();
  const value = left / right;
  return left % right !== 0n && left < 0n !== right < 0n ? value - 1n : value;
}

/**
 * @param {bigint} left
 * @param {bigint} right
 */
function remainder(left, right) {
  return left - right * floorDivided(left, right);
}
