/** `checkPromise`: whether a contract and the graph of its file speak of the same tensors. */

import { ModelError } from "./errors.js";

/** @typedef {import("./contract.js").TensorSpec} TensorSpec */

/**
 * Check that they do.
 *
 * @param {string} model
 * @param {string} kind
 * @param {readonly TensorSpec[]} promised
 * @param {readonly TensorSpec[]} real
 * @throws {ModelError} If they do not.
 */
export function checkPromise(model, kind, promised, real) {
  const graph = new Map(real.map((spec) => [spec.name, spec]));
  const expected = promised.map((spec) => spec.name).sort();
  const found = [...graph.keys()].sort();
  if (expected.length !== found.length || expected.some((name, index) => name !== found[index])) {
    throw new ModelError(
      `${model}: its contract promises the ${kind} ${expected.join(", ")}, ` +
        `the graph has ${found.join(", ")}: it was changed after the export`,
    );
  }
  for (const spec of promised) {
    const there = graph.get(spec.name);
    if (there !== undefined && there.dtype !== "" && there.dtype !== spec.dtype) {
      throw new ModelError(
        `${model}: its contract promises ${spec}, the graph has ${there}: it was changed ` +
          "after the export",
      );
    }
  }
}
