/** Recognizes the body of a `Scan` as one step of an RNN, LSTM or GRU. */

import { Constant } from "../values.js";
import { FOLDS } from "./folding.js";

/** @typedef {import("../model-file.js").Graph} Graph */
/** @typedef {import("../model-file.js").GraphNode} GraphNode */
/** @typedef {import("../nd-array.js").NdArray} NdArray */
/** @typedef {import("../values.js").Value} Value */
/**
 * A value inside a body: what it is made by, and of what.
 *
 * @typedef {object} Term
 * @property {string} kind `state`, `scan`, `constant`, or the operator.
 * @property {number} index Its number among the states, the scanned inputs, or the outputs of its
 *   node.
 * @property {NdArray} [array] The value of a constant.
 * @property {Term[]} parts What a node takes.
 * @property {GraphNode} [node]
 */
/**
 * One direction of a body.
 *
 * @typedef {object} Step
 * @property {"rnn" | "lstm" | "gru"} cell
 * @property {"tanh" | "relu"} nonlinearity
 * @property {number} scanned Number of the scanned input that holds the input's products.
 * @property {number | undefined} mask Number of the scanned input that says which rows go on.
 * @property {readonly number[]} order For each gate in PyTorch's order its place among the rows of
 *   the weights.
 * @property {NdArray} weightHh [gates*hidden, state], rows as in the body.
 * @property {NdArray | undefined} biasHh Of the recurrent product of a GRU.
 * @property {NdArray | undefined} projection [state, hidden].
 * @property {boolean} early Whether its output is what the nonlinearity takes.
 */
/** @typedef {Omit<Step, "mask" | "early">} Cell */

/** A body is not a step of a known cell. */
export class NoMatch extends Error {}

/**
 * Return what each direction of a body computes.
 *
 * @param {Graph} body Takes `states` states and what is scanned; gives the states and an output for
 *   each direction.
 * @param {ReadonlyMap<string, Value>} scope The names around it.
 * @param {number} states
 * @returns {Step[]}
 * @throws {NoMatch} When it is not a step of a known cell.
 */
export function readSteps(body, scope, states) {
  const terms = termsOf(body, scope, states);
  const results = body.outputs.map((info) => terms.get(info.name) ?? fail());
  const ways = results.length - states;
  require(ways === 1 || ways === 2);
  const per = states / ways;
  require(Number.isInteger(per) && per >= 1);
  return Array.from({ length: ways }, (_, way) =>
    direction(results.slice(way * per, (way + 1) * per), results[states + way], way * per),
  );
}

/**
 * @param {Graph} body
 * @param {ReadonlyMap<string, Value>} scope
 * @param {number} states
 */
function termsOf(body, scope, states) {
  const terms = /** @type {Map<string, Term>} */ (new Map());
  const constant = (/** @type {NdArray} */ array) => ({
    kind: "constant",
    index: 0,
    array,
    parts: [],
  });
  for (const [name, value] of scope) {
    if (value instanceof Constant) terms.set(name, constant(value.array));
  }
  for (const [name, array] of body.initializers) terms.set(name, constant(array));
  body.inputs.forEach(({ name }, at) => {
    const kind = at < states ? "state" : "scan";
    terms.set(name, { kind, index: at < states ? at : at - states, parts: [] });
  });
  for (const node of body.nodes) {
    const parts = node.inputs.map((name) => terms.get(name) ?? fail());
    if (parts.every((part) => part.kind === "constant") && Object.hasOwn(FOLDS, node.opType)) {
      const made = FOLDS[node.opType](
        node,
        parts.map((part) => part.array),
      );
      node.outputs.forEach((name, index) => terms.set(name, constant(made[index])));
    } else if (node.opType === "Identity") {
      terms.set(node.outputs[0], parts[0]);
    } else {
      node.outputs.forEach((name, index) => {
        terms.set(name, { kind: node.opType, index, parts, node });
      });
    }
  }
  return terms;
}

/**
 * @param {Term[]} found
 * @param {Term} given
 * @param {number} first
 * @returns {Step}
 */
function direction(found, given, first) {
  let [news, output, mask] = [found, given, /** @type {number | undefined} */ (undefined)];
  if (news[0].kind === "Where") {
    mask = scanOf(news[0].parts[0]);
    news = found.map((own, index) => {
      require(own.kind === "Where" && scanOf(own.parts[0]) === mask);
      require(isState(own.parts[2], first + index));
      return own.parts[1];
    });
    require(output.kind === "Where" && scanOf(output.parts[0]) === mask);
    require(!constantOf(output.parts[2]).data.some((value) => value !== 0));
    output = output.parts[1];
  }
  const [h, c] = news;
  const cell =
    news.length === 2
      ? lstm(h, c, first)
      : ["Tanh", "Relu"].includes(h.kind)
        ? rnn(h, first)
        : gru(h, first);
  const early = output !== h;
  if (early) require(cell.cell === "rnn" && output === h.parts[0] && mask === undefined);
  return { ...cell, mask, early };
}

/**
 * @param {Term} h
 * @param {number} state
 * @returns {Cell}
 */
function rnn(h, state) {
  const [weightHh, addend] = product(h.parts[0], state);
  const nonlinearity = h.kind === "Relu" ? "relu" : "tanh";
  return cellOf({ cell: "rnn", nonlinearity, scanned: scanOf(addend), order: [0], weightHh });
}

/**
 * @param {Pick<Cell, "cell" | "scanned" | "order" | "weightHh"> & Partial<Cell>} parts
 * @returns {Cell}
 */
function cellOf(parts) {
  return { nonlinearity: "tanh", biasHh: undefined, projection: undefined, ...parts };
}

/**
 * @param {Term} given
 * @param {Term} c
 * @param {number} state
 * @returns {Cell}
 */
function lstm(given, c, state) {
  let [h, projection] = [given, /** @type {NdArray | undefined} */ (undefined)];
  if (isLinear(h)) {
    const [inner, weights, addend] = linear(h);
    require(addend === undefined);
    [h, projection] = [inner, weights];
  }
  const [output, squashed] = two(h, "Mul", "Sigmoid", "Tanh");
  require(squashed.parts[0] === c && c.kind === "Add");
  let [kept, added] = c.parts;
  if (!kept.parts.some((part) => isState(part, state + 1))) [kept, added] = [added, kept];
  require(kept.kind === "Mul" && kept.parts.length === 2);
  const [forget, cell] = kept.parts[0].kind === "Sigmoid" ? kept.parts : kept.parts.toReversed();
  require(forget.kind === "Sigmoid" && isState(cell, state + 1));
  const [admitted, candidate] = two(added, "Mul", "Sigmoid", "Tanh");
  const gates = [admitted, forget, candidate, output].map((term) => term.parts[0]);
  const whole = gates[0].parts[0];
  require(gates.every((gate) => gate.kind === "Split" && gate.parts[0] === whole));
  const [weightHh, addend] = product(whole, state);
  const hidden = weightHh.shape[0] / 4;
  require(String(sizesOf(gates[0])) === String([hidden, hidden, hidden, hidden]));
  const order = gates.map((gate) => gate.index);
  require(String(order.toSorted()) === "0,1,2,3");
  return cellOf({ cell: "lstm", scanned: scanOf(addend), order, weightHh, projection });
}

/**
 * @param {Term} h
 * @param {number} state
 * @returns {Cell}
 */
function gru(h, state) {
  // n + z * (h - n)
  const [n, scaledDifference] = either(h, "Add", (part) => part.kind === "Tanh");
  const [z, difference] = either(scaledDifference, "Mul", (part) => part.kind === "Split");
  require(difference.kind === "Sub" && difference.parts[1] === n);
  require(isState(difference.parts[0], state));
  const [xN, scaled] = either(n.parts[0], "Add", (part) => part.kind === "Split");
  const gates = z.parts[0];
  const [r, hN] = either(scaled, "Mul", (part) => part.parts[0] === gates);
  const split = r.kind === "Split" && r.parts[0] === gates;
  require(split && String([r.index, z.index].toSorted()) === "0,1");
  require(gates.kind === "Sigmoid" && gates.parts[0].kind === "Add");
  checkHalves(gates.parts[0], xN, hN);
  const [weightHh, addend] = product(hN.parts[0], state);
  const hidden = weightHh.shape[0] / 3;
  for (const [part, first] of /** @type {const} */ ([
    [hN, 2 * hidden],
    [xN, 2 * hidden],
    [r, hidden],
  ])) {
    require(String(sizesOf(part)) === String([first, hidden]));
  }
  const bias = addend && constantOf(addend);
  return cellOf({
    cell: "gru",
    scanned: scanOf(xN.parts[0]),
    order: [r.index, z.index, 2],
    weightHh,
    biasHh: bias?.reshaped([bias.size]),
  });
}

/**
 * Check that the gates r and z take what the new gate's products leave of the same Splits.
 *
 * @param {Term} added
 * @param {Term} xN
 * @param {Term} hN
 */
function checkHalves(added, xN, hN) {
  let [xRz, hRz] = added.parts;
  if (xRz.parts[0] !== xN.parts[0]) [xRz, hRz] = [hRz, xRz];
  for (const [part, whole] of [
    [xRz, xN],
    [hRz, hN],
  ]) {
    require(part.kind === "Split" && whole.kind === "Split");
    require(part.parts[0] === whole.parts[0] && part.index === 0 && whole.index === 1);
  }
}

/**
 * Return the weights [rows, state] of a product with a state, and what is added to it.
 *
 * @param {Term} given
 * @param {number} state
 * @returns {[NdArray, Term | undefined]}
 */
function product(given, state) {
  let [term, addend] = [given, /** @type {Term | undefined} */ (undefined)];
  if (term.kind === "Add") [term, addend] = either(term, "Add", isLinear);
  const [inner, weights, own] = linear(term);
  require(isState(inner, state) && (own === undefined || addend === undefined));
  return [weights, addend ?? own];
}

/** @param {Term} term */
function isLinear(term) {
  return term.kind === "MatMul" || term.kind === "Gemm";
}

/**
 * Return the operand, the weights [rows, columns] and the addend of a linear product.
 *
 * @param {Term} term
 * @returns {[Term, NdArray, Term | undefined]}
 */
function linear(term) {
  require(isLinear(term));
  const weights = constantOf(term.parts[1]);
  require(weights.shape.length === 2);
  const { alpha = 1, beta = 1, transA = 0, transB = 0 } = term.node?.attributes ?? {};
  require(alpha === 1 && beta === 1 && !transA);
  return [term.parts[0], transB ? weights : weights.turned, term.parts[2]];
}

/**
 * Return the sizes of a Split along the features.
 *
 * @param {Term} term
 */
function sizesOf(term) {
  const axis = term.node?.attributes["axis"] ?? 0;
  require((axis === 1 || axis === -1) && term.parts.length === 2);
  return constantOf(term.parts[1]).numbers();
}

/**
 * Return the operands of a commutative operator, the one of kind `first` in front.
 *
 * @param {Term} term
 * @param {string} operator
 * @param {string} first
 * @param {string} second
 */
function two(term, operator, first, second) {
  const found = either(term, operator, (part) => part.kind === first);
  require(found[1].kind === second);
  return found;
}

/**
 * @param {Term} term
 * @param {string} operator
 * @param {(part: Term) => boolean} isFirst
 * @returns {[Term, Term]}
 */
function either(term, operator, isFirst) {
  require(term.kind === operator && term.parts.length === 2);
  const [one, other] = term.parts;
  if (isFirst(one)) return [one, other];
  require(isFirst(other));
  return [other, one];
}

/**
 * @param {Term} term
 * @param {number} index
 */
function isState(term, index) {
  return term.kind === "state" && term.index === index;
}

/** @param {Term | undefined} term */
function scanOf(term) {
  return term?.kind === "scan" ? term.index : fail();
}

/** @param {Term} term */
function constantOf(term) {
  return term.array ?? fail();
}

/** @param {boolean} condition */
function require(condition) {
  if (!condition) fail();
}

/** @returns {never} */
function fail() {
  throw new NoMatch();
}
