/**
 * Reads an ONNX file into nodes and arrays.
 *
 * Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
 */

import { ModelError, PlanError, RnnEdgeError, oneLine } from "../errors.js";
import { parseTensor } from "../proof/tensor-file.js";
import { readFields, readNumbers } from "../protobuf-wire.js";
import { constantOf } from "./nd-array.js";

/** @typedef {import("./nd-array.js").NdArray} NdArray */
/**
 * A graph input or output: an axis without a size or name is undefined.
 *
 * @typedef {object} ValueInfo
 * @property {string} name
 * @property {string} dtype
 * @property {(number | string | undefined)[]} axes
 */
/**
 * @typedef {object} GraphNode
 * @property {string} opType Name of the operator, with its domain in front unless that is ONNX's.
 * @property {string} name
 * @property {string[]} inputs Names, empty where an optional one is left out.
 * @property {string[]} outputs
 * @property {Attributes} attributes
 */
/** @typedef {Readonly<Record<string, any>>} Attributes */
/**
 * A graph, or the body of a node.
 *
 * @typedef {object} Graph
 * @property {GraphNode[]} nodes
 * @property {Map<string, NdArray>} initializers
 * @property {ValueInfo[]} inputs
 * @property {ValueInfo[]} outputs
 */

const MICROSOFT = "com.microsoft";
const MOST_NESTED = 16;
/** @type {Readonly<Record<number, string>>} */
const DTYPES = { 1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64" };

/**
 * The operator and the name of a node, for messages.
 *
 * @param {GraphNode} node
 */
export function label(node) {
  return node.name ? `node '${node.name}' (${node.opType})` : `a node (${node.opType})`;
}

/**
 * Whether an attribute is the body of a node.
 *
 * @param {unknown} value
 * @returns {value is Graph}
 */
export function isGraph(value) {
  return typeof value === "object" && value !== null && "initializers" in value;
}

/**
 * Read the graph of a serialized ModelProto.
 *
 * @param {Uint8Array} content The bytes of an `.onnx` file.
 * @param {string} source What they were read from, for the error message.
 * @returns {Graph}
 * @throws {ModelError} When they are not a model, or are cut off.
 * @throws {PlanError} When the model has what the native engine does not read: external data,
 *   sparse weights, functions.
 */
export function readGraph(content, source) {
  try {
    let graph;
    for (const [number, payload] of readFields(content)) {
      if (number === 7) graph = graphOf(payload, 0);
      if (number === 25) {
        throw new PlanError("the model has local functions: the native engine supports none");
      }
    }
    if (graph === undefined) throw new RangeError("expected a graph in it");
    return graph;
  } catch (error) {
    if (error instanceof ModelError) throw error;
    if (
      error instanceof RnnEdgeError ||
      error instanceof RangeError ||
      error instanceof TypeError
    ) {
      throw new ModelError(`${source} cannot be read as an ONNX model: ${oneLine(error)}`, {
        cause: error,
      });
    }
    throw error;
  }
}

/**
 * @param {Uint8Array} content
 * @param {number} depth
 * @returns {Graph}
 */
function graphOf(content, depth) {
  if (depth > MOST_NESTED) {
    throw new RangeError(`expected up to ${MOST_NESTED} graphs inside each other`);
  }
  const graph = /** @type {Graph} */ ({
    nodes: [],
    initializers: new Map(),
    inputs: [],
    outputs: [],
  });
  for (const [number, payload] of readFields(content)) {
    if (number === 1) graph.nodes.push(nodeOf(payload, depth));
    if (number === 5) {
      const [name, tensor] = parseTensor(payload);
      graph.initializers.set(name, constantOf(tensor));
    }
    if (number === 11) graph.inputs.push(valueInfo(payload));
    if (number === 12) graph.outputs.push(valueInfo(payload));
    if (number === 15) {
      throw new PlanError("the model has sparse weights, which the native engine does not read");
    }
  }
  return graph;
}

/**
 * @param {Uint8Array} content
 * @param {number} depth
 * @returns {GraphNode}
 */
function nodeOf(content, depth) {
  const fields = collected(content);
  const texts = (/** @type {number} */ number) => (fields.get(number) ?? []).map(text);
  const name = texts(3).at(-1) ?? "";
  const domain = texts(7).at(-1) ?? "";
  let opType = texts(4).at(-1) ?? "";
  if (domain === MICROSOFT) opType = `${domain}.${opType}`;
  else if (domain !== "" && domain !== "ai.onnx") {
    throw new PlanError(
      `node '${name}' is ${opType} of '${domain}', and the native engine has operators of ONNX ` +
        `and of ${MICROSOFT} alone`,
    );
  }
  const attributes = Object.assign(
    Object.create(null),
    Object.fromEntries((fields.get(5) ?? []).map((item) => attribute(item, depth))),
  );
  return { opType, name, inputs: texts(1), outputs: texts(2), attributes };
}

/** The fields of a message by number. @typedef {Map<number, Uint8Array[]>} Fields */

/** @type {Readonly<Record<number, (fields: Fields, depth: number) => unknown>>} */
const ATTRIBUTES = {
  1: (fields) => numberOf(last(fields, 2) ?? new Uint8Array(4)),
  2: (fields) => integer(last(fields, 3)),
  3: (fields) => text(last(fields, 4) ?? new Uint8Array()),
  4: (fields) => constantOf(parseTensor(required(fields, 5))[1]),
  5: (fields, depth) => graphOf(required(fields, 6), depth + 1),
  6: (fields) => (fields.get(7) ?? []).flatMap(numbersOf),
  7: (fields) => readNumbers(fields.get(8) ?? []).map(Number),
  8: (fields) => (fields.get(9) ?? []).map(text),
};

/**
 * @param {Uint8Array} content
 * @param {number} depth
 * @returns {[string, unknown]}
 */
function attribute(content, depth) {
  const fields = collected(content);
  const name = text(last(fields, 1) ?? new Uint8Array());
  const kind = integer(last(fields, 20));
  const read = ATTRIBUTES[kind];
  if (read === undefined) {
    throw new RangeError(`attribute '${name}' is of kind ${kind}, which is not read`);
  }
  return [name, read(fields, depth)];
}

/**
 * @param {Uint8Array} content
 * @returns {ValueInfo}
 */
function valueInfo(content) {
  const info = /** @type {ValueInfo} */ ({ name: "", dtype: "", axes: [] });
  for (const [number, payload] of readFields(content)) {
    if (number === 1) info.name = text(payload);
    if (number !== 2) continue;
    const tensor = new Map(readFields(payload)).get(1) ?? new Uint8Array();
    for (const [part, value] of readFields(tensor)) {
      if (part === 1) info.dtype = DTYPES[integer(value)] ?? "";
      if (part === 2) {
        info.axes = [...readFields(value)]
          .filter(([inner]) => inner === 1)
          .map(([, axis]) => axisOf(axis));
      }
    }
  }
  return info;
}

/** @param {Uint8Array} content */
function axisOf(content) {
  for (const [number, payload] of readFields(content)) {
    if (number === 1) return integer(payload);
    if (number === 2) return text(payload);
  }
  return undefined;
}

/** @param {Uint8Array} content */
function collected(content) {
  const fields = /** @type {Map<number, Uint8Array[]>} */ (new Map());
  for (const [number, payload] of readFields(content)) {
    const found = fields.get(number);
    if (found === undefined) fields.set(number, [payload]);
    else found.push(payload);
  }
  return fields;
}

/**
 * @param {Map<number, Uint8Array[]>} fields
 * @param {number} number
 */
function last(fields, number) {
  return fields.get(number)?.at(-1);
}

/**
 * @param {Map<number, Uint8Array[]>} fields
 * @param {number} number
 */
function required(fields, number) {
  const found = last(fields, number);
  if (found === undefined) throw new RangeError(`an attribute without field ${number}`);
  return found;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {Uint8Array} payload */
function text(payload) {
  return decoder.decode(payload);
}

/** @param {Uint8Array | undefined} payload */
function integer(payload) {
  return payload?.length ? Number(readNumbers([payload]).at(-1)) : 0;
}

/** @param {Uint8Array} payload */
function numberOf(payload) {
  return new DataView(payload.buffer, payload.byteOffset, payload.length).getFloat32(0, true);
}

/** @param {Uint8Array} payload */
function numbersOf(payload) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  return Array.from({ length: payload.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}
