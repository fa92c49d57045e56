/** JSON that a stranger may have written: parsed with limits, and read field by field. */

import { ascii, isPrintable } from "./printable.js";

/** Characters of a name or a sentence. */
const LONGEST_TEXT = 4000;
/** The largest number that a field holds: ONNX Runtime takes no axis beyond it. */
export const LARGEST = 2 ** 31 - 1;
/** Items of a list. */
const MOST = 100_000;
/** Objects and lists inside each other. */
const DEEPEST = 200;

/** A number that JSON spells with a point or an exponent, which is not a whole number. */
export class Fraction {
  /** @param {number} value */
  constructor(value) {
    this.value = value;
  }
}

/**
 * @typedef {null | boolean | string | number | bigint | Fraction | Json[] | Map<string, Json>} Json
 */

const SPACE = /[ \t\n\r]*/uy;
// eslint-disable-next-line no-control-regex -- JSON allows no control character in a text
const TEXT = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/uy;
const WORD = /true|false|null/uy;
const WORDS = new Map([
  ["true", true],
  ["false", false],
  ["null", null],
]);

/**
 * Parse JSON. Unlike `JSON.parse` it refuses a key that occurs twice, and keeps whole numbers and
 * others apart.
 *
 * @param {string} text The JSON.
 * @param {number} longest The most characters that are looked at.
 * @returns {Json}
 * @throws {RangeError} For anything else than JSON, with each key once in an object, and for what
 *   is longer than `longest` or nested too deeply to be read.
 */
export function parse(text, longest) {
  if (text.length > longest) {
    throw new RangeError(
      `expected at most ${grouped(longest)} characters, got ${grouped(text.length)}`,
    );
  }
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  #at = 0;
  #text;

  /** @param {string} text */
  constructor(text) {
    this.#text = text;
  }

  /**
   * @param {number} depth
   * @returns {Json}
   */
  value(depth) {
    if (depth > DEEPEST) throw new RangeError("nested too deeply");
    this.#take(SPACE);
    if (this.#next("{")) return this.#object(depth);
    if (this.#next("[")) return this.#list(depth);
    const word = this.#take(WORD);
    if (word) return WORDS.get(word[0]) ?? null;
    const text = this.#take(TEXT);
    if (text) return /** @type {string} */ (JSON.parse(text[0]));
    return this.#number();
  }

  /** @returns {Json} */
  #number() {
    const number = this.#take(NUMBER);
    if (!number) throw this.#wrong("a value");
    if (number[1] ?? number[2]) return new Fraction(Number(number[0]));
    const read = Number(number[0]);
    return Number.isSafeInteger(read) ? read : BigInt(number[0].slice(0, 40));
  }

  end() {
    this.#take(SPACE);
    if (this.#at < this.#text.length) throw this.#wrong("the end");
  }

  /**
   * @param {number} depth
   * @returns {Map<string, Json>}
   */
  #object(depth) {
    const made = /** @type {Map<string, Json>} */ (new Map());
    if (this.#closed("}")) return made;
    do {
      this.#take(SPACE);
      const key = this.#take(TEXT);
      if (!key) throw this.#wrong("a key");
      this.#take(SPACE);
      if (!this.#next(":")) throw this.#wrong("':'");
      const name = /** @type {string} */ (JSON.parse(key[0]));
      if (made.has(name)) throw new RangeError("a key occurs twice in one object");
      made.set(name, this.value(depth + 1));
      this.#take(SPACE);
    } while (this.#next(","));
    if (!this.#next("}")) throw this.#wrong("',' or '}'");
    return made;
  }

  /**
   * @param {number} depth
   * @returns {Json[]}
   */
  #list(depth) {
    const made = /** @type {Json[]} */ ([]);
    if (this.#closed("]")) return made;
    do {
      made.push(this.value(depth + 1));
      this.#take(SPACE);
    } while (this.#next(","));
    if (!this.#next("]")) throw this.#wrong("',' or ']'");
    return made;
  }

  /** @param {string} bracket */
  #closed(bracket) {
    this.#take(SPACE);
    return this.#next(bracket);
  }

  /** @param {string} character */
  #next(character) {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  /** @param {RegExp} pattern */
  #take(pattern) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found) this.#at += found[0].length;
    return found;
  }

  /** @param {string} expected */
  #wrong(expected) {
    return new RangeError(`expected ${expected} at character ${this.#at} of the JSON`);
  }
}

/** An object of JSON, whose fields are read one by one. */
export class JsonRecord {
  #values;
  #place;

  /**
   * @param {Json} value What stands where an object is expected.
   * @param {string} [place] Where it stands, for messages: `interface.inputs[2]`.
   */
  constructor(value, place = "") {
    if (!(value instanceof Map)) {
      throw new RangeError(`${place || "it"}: expected an object, got ${kind(value)}`);
    }
    this.#values = value;
    this.#place = place;
  }

  /** @param {string} name */
  has(name) {
    return this.#values.has(name);
  }

  /**
   * Return a field of any type.
   *
   * @param {string} name
   * @returns {Json}
   */
  value(name) {
    const value = this.#values.get(name);
    if (value === undefined) throw new RangeError(`${this.#at(name)} missing`);
    return value;
  }

  /**
   * Return a field that is printable text.
   *
   * @param {string} name
   * @param {{ empty?: boolean }} [options]
   */
  text(name, options) {
    return printable(this.value(name), this.#at(name), options);
  }

  /**
   * Return a field that is a whole number from `least` to `LARGEST`.
   *
   * @param {string} name
   * @param {number} [least]
   */
  whole(name, least = 0) {
    return whole(this.value(name), this.#at(name), least);
  }

  /**
   * Return a field that is true or false.
   *
   * @param {string} name
   */
  flag(name) {
    const value = this.value(name);
    if (typeof value !== "boolean") {
      throw new RangeError(`${this.#at(name)}: expected true or false, got ${kind(value)}`);
    }
    return value;
  }

  /**
   * Return the items of a field that is a list, and where each stands.
   *
   * @param {string} name
   * @returns {[Json, string][]}
   */
  items(name) {
    const value = this.value(name);
    if (!Array.isArray(value)) {
      throw new RangeError(`${this.#at(name)}: expected a list, got ${kind(value)}`);
    }
    if (value.length > MOST) {
      throw new RangeError(`${this.#at(name)}: expected at most ${grouped(MOST)} items`);
    }
    return value.map((item, index) => [item, `${this.#at(name)}[${index}]`]);
  }

  /**
   * Return a field that is a list of printable texts.
   *
   * @param {string} name
   */
  texts(name) {
    return this.items(name).map(([item, place]) => printable(item, place));
  }

  /**
   * Return a field that is an object.
   *
   * @param {string} name
   */
  record(name) {
    return new JsonRecord(this.value(name), this.#at(name));
  }

  /**
   * Return a field that is a list of objects.
   *
   * @param {string} name
   */
  records(name) {
    return this.items(name).map(([item, place]) => new JsonRecord(item, place));
  }

  /**
   * Return a field that is an object of printable texts.
   *
   * @param {string} name
   * @returns {{ readonly [name: string]: string }}
   */
  textByName(name) {
    const record = this.record(name);
    const made = /** @type {{ [name: string]: string }} */ (Object.create(null));
    for (const key of record.#values.keys()) {
      made[printable(key, this.#at(name))] = record.text(key);
    }
    return made;
  }

  /** @param {string} name */
  #at(name) {
    return this.#place ? `${this.#place}.${name}` : name;
  }
}

/**
 * Return text that a terminal shows as it is.
 *
 * @param {Json} value What stands there.
 * @param {string} place Where, for messages.
 * @param {{ empty?: boolean }} [options] Whether it may be empty.
 */
export function printable(value, place, { empty = false } = {}) {
  if (typeof value !== "string") {
    throw new RangeError(`${place}: expected text, got ${kind(value)}`);
  }
  if (!value && !empty) throw new RangeError(`${place}: expected text, got none`);
  const size = value.length > LONGEST_TEXT ? [...value].length : value.length;
  if (size > LONGEST_TEXT) {
    throw new RangeError(
      `${place}: expected at most ${LONGEST_TEXT} characters, got ${grouped(size)}`,
    );
  }
  if (!isPrintable(value)) {
    throw new RangeError(`${place}: expected printable text, got ${ascii(value).slice(0, 80)}`);
  }
  return value;
}

/**
 * Return a whole number.
 *
 * @param {Json} value What stands there.
 * @param {string} place Where, for messages.
 * @param {number} [least] The smallest number that is taken.
 */
export function whole(value, place, least = 0) {
  if (typeof value !== "number" && typeof value !== "bigint") {
    throw new RangeError(`${place}: expected a whole number, got ${kind(value)}`);
  }
  if (value < least || value > LARGEST) {
    const huge = value >= 10n ** 20n || value <= -(10n ** 20n);
    const got = huge ? "a number of more than 20 digits" : value;
    throw new RangeError(`${place}: expected ${least} to ${LARGEST}, got ${got}`);
  }
  return Number(value);
}

/** @param {Json} value */
function kind(value) {
  if (value === null) return "null";
  if (value instanceof Map) return "an object";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "string") return "text";
  return typeof value === "boolean" ? "true or false" : "a number";
}

/** @param {number} value */
function grouped(value) {
  return value.toLocaleString("en-US");
}
