/** Options of calls: a misspelt name is refused, rather than left out silently. */

import { isMapping } from "./binding.js";
import { InputError, OptionError } from "./errors.js";
import { typeName } from "./tensor.js";

/**
 * Check the names of a call's options.
 *
 * @template {object} Options
 * @param {string} call The call, for messages.
 * @param {Options} options
 * @param {readonly string[]} known
 * @returns {Options}
 * @throws {OptionError} For what is not an object of options, and for an unknown name.
 */
export function checkOptions(call, options, known) {
  const isPlain = isMapping(options);
  const unknown = isPlain ? Object.keys(options).filter((name) => !known.includes(name)) : [];
  if (isPlain && unknown.length === 0) return options;
  throw new OptionError(
    `${call}: expected the options ${known.join(", ")}, got ` +
      (isPlain ? unknown.join(", ") : `${typeName(options)}: pass { ${known[0]}: ... }`),
  );
}

/**
 * Return a count, after it was checked.
 *
 * @param {string} name
 * @param {unknown} value
 * @returns {number}
 * @throws {InputError} For anything but an integer of 1 or more.
 */
export function wholeNumber(name, value) {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1) return value;
  throw new InputError(`${name}: expected an integer of 1 or more, got ${String(value)}`);
}
