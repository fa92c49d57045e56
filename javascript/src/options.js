/** `checkOptions`: an option with a misspelt name is refused, rather than left out silently. */

import { isMapping } from "./binding.js";
import { OptionError } from "./errors.js";
import { typeName } from "./tensor.js";

/**
 * Check the names of a call's options.
 *
 * @template {object} Options
 * @param {string} call The call, for messages.
 * @param {Options} options
 * @param {readonly string[]} known
 * @returns {Options}
 * @throws {OptionError} For what is no object of options, and for an unknown name.
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
