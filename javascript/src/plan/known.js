/** Which models a plan can be made of at all. */

import { PlanError } from "../errors.js";
import { isGraph, label } from "./model-file.js";
import { FOLDS } from "./operators/folding.js";
import { OPERATORS } from "./operators/index.js";

/** @typedef {import("./model-file.js").Graph} Graph */
/** @typedef {import("./model-file.js").ValueInfo} ValueInfo */
/** @typedef {import("./values.js").PlanDtype} PlanDtype */

/** @type {Readonly<Record<string, PlanDtype>>} */
const KNOWN = { float32: "float32", int64: "int64", int32: "int64", bool: "bool" };

/**
 * Return the dtype that a graph input is computed in.
 *
 * @param {ValueInfo} info
 */
export function planDtype(info) {
  const found = Object.hasOwn(KNOWN, info.dtype) ? KNOWN[info.dtype] : undefined;
  if (found !== undefined) return found;
  throw new PlanError(
    `input '${info.name}' is ${info.dtype || "of an unknown dtype"}, and the native engine takes ` +
      Object.keys(KNOWN).join(", "),
  );
}

/**
 * Refuse operators that are not known, wherever they stand.
 *
 * @param {Graph} graph
 */
export function checkOperators(graph) {
  for (const node of graph.nodes) {
    if (!Object.hasOwn(OPERATORS, node.opType) && !Object.hasOwn(FOLDS, node.opType)) {
      throw new PlanError(
        `${label(node)}: the native engine has no ${node.opType}; ONNX Runtime runs the model`,
      );
    }
    for (const value of Object.values(node.attributes)) if (isGraph(value)) checkOperators(value);
  }
}
