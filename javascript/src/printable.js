/** Text from a model or a file as a terminal may show it. */

const HIDDEN = /[\p{C}\p{Z}]/u;
const SPELLED = new Map([
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

/**
 * Whether a terminal shows the text as it is, as Python's `str.isprintable` says it.
 *
 * @param {string} text
 */
export function isPrintable(text) {
  return !HIDDEN.test(text.replaceAll(" ", ""));
}

/**
 * Return text with every control character spelled out: `\x1b` and `\n` among them.
 *
 * @param {string} text Any text.
 */
export function printableLine(text) {
  return isPrintable(text)
    ? text
    : [...text].map((one) => (isPrintable(one) ? one : spelled(one))).join("");
}

/**
 * Return text in quotes with everything but ASCII spelled out, as Python's `ascii` does.
 *
 * @param {string} text
 */
export function ascii(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = [...text].map((one) => {
    if (one === "\\" || one === quote) return `\\${one}`;
    return one >= " " && one <= "~" ? one : spelled(one);
  });
  return `${quote}${inner.join("")}${quote}`;
}

/** @param {string} character One character, not printable or not ASCII. */
function spelled(character) {
  const known = SPELLED.get(character);
  if (known !== undefined) return known;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code < 0x10000) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
