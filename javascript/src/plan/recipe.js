/** `Recipe`: a graph that was laid out, as calls with numbers alone. */

/** @typedef {import("./nd-array.js").NdArray} NdArray */
/** @typedef {import("./values.js").Buffer} Buffer */
/** @typedef {import("./values.js").Call} Call */
/** @typedef {import("./values.js").PlanDtype} PlanDtype */
/**
 * A graph that was laid out.
 *
 * @typedef {object} Recipe
 * @property {number} arena Bytes of the memory between the calls.
 * @property {{ array: NdArray, dtype: PlanDtype }[]} constants
 * @property {number[]} inputs Bytes of each.
 * @property {{ name: string, shape: readonly number[], dtype: PlanDtype }[]} outputs
 * @property {EncodedCall[]} calls
 * @property {number[]} hiddenSizes Those of its recurrent layers.
 */
/**
 * A call whose buffers are numbers: the arena, the constants, the inputs, the outputs.
 *
 * @typedef {object} EncodedCall
 * @property {number} operation
 * @property {number} kind
 * @property {readonly number[]} sizes
 * @property {number} axes
 * @property {readonly number[]} places Buffer and offset in bytes of each; -1 for what is left out.
 * @property {readonly number[]} distances
 * @property {readonly [number, number]} numbers
 * @property {unknown} packed
 * @property {string} node
 */

/** The operations of `program.h`. */
export const OPERATION = Object.freeze({
  layer: 0,
  product: 1,
  activate: 2,
  arithmetic: 3,
  copy: 4,
  fill: 5,
  gather: 6,
  softmax: 7,
  normalize: 8,
  reduce: 9,
  depthwise: 10,
  compare: 11,
  where: 12,
  cast: 13,
});

/**
 * Return the strides of each operand as a call over a shape takes them, 8 for each.
 *
 * @param {...(readonly number[])} strides
 */
export function shaped(...strides) {
  return strides.flatMap((own) => [...own, ...new Array(8 - own.length).fill(0)]);
}

/**
 * Number the constants of calls.
 *
 * @param {readonly Call[]} calls
 */
export function numberConstants(calls) {
  const found = /** @type {Map<Buffer, PlanDtype>} */ (new Map());
  for (const call of calls) {
    for (const place of call.places) {
      const array = place?.buffer.array;
      if (place?.buffer.home !== "constant" || array === undefined) continue;
      if (found.has(place.buffer)) continue;
      place.buffer.index = found.size;
      found.set(
        place.buffer,
        array.isWhole ? "int64" : array.dtype === "bool" ? "bool" : "float32",
      );
    }
  }
  return [...found].map(([buffer, dtype]) => ({
    array: /** @type {NdArray} */ (buffer.array),
    dtype,
  }));
}

/**
 * Return a call whose buffers are numbers.
 *
 * @param {Call} call
 * @param {Readonly<Record<string, number>>} numbers That of the first buffer of each home.
 * @returns {EncodedCall}
 */
export function encoded(call, numbers) {
  const places = call.places.flatMap((place) => {
    if (place === undefined) return [-1, 0];
    const { buffer, offset } = place.buffer.root();
    const at = place.offset + offset;
    return buffer.home === "arena"
      ? [0, buffer.index + at]
      : [numbers[buffer.home] + buffer.index, at];
  });
  return {
    operation: call.operation,
    kind: call.kind,
    sizes: call.sizes,
    axes: call.axes ?? 0,
    places,
    distances: call.distances ?? [],
    numbers: call.numbers ?? [0, 0],
    packed: call.packed,
    node: call.node ?? "",
  };
}
