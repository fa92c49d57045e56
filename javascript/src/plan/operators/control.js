/** Branches: a condition that the shapes tell leaves one of them. */

import { PlanError } from "../../errors.js";
import { label } from "../model-file.js";
import { Constant } from "../values.js";

/** @type {import("../tracer.js").Operator} */
function choose(tracer, node, [condition]) {
  if (!(condition instanceof Constant) || condition.array.size !== 1) {
    throw new PlanError(`${label(node)}: its condition depends on the data`);
  }
  const taken = condition.array.data[0] !== 0;
  return tracer.branch(node.attributes[taken ? "then_branch" : "else_branch"], Number(taken));
}

/** @type {Readonly<Record<string, import("../tracer.js").Operator>>} */
export const OPERATORS = { If: choose };
