/**
 * Walks a graph at given shapes and writes down the kernel calls that it takes.
 *
 * What the shapes tell, such as a Reshape's sizes or which branch an If takes, is computed here; a
 * transpose, slice or squeeze is another view of the same memory. What is left are calls over
 * buffers, which get fixed places at the end. It is the same plan as `rnnedge_runtime.plan` makes,
 * call for call.
 */

import { PlanError, RnnEdgeError, oneLine } from "../errors.js";
import { label } from "./model-file.js";
import { count, denseStrides } from "./nd-array.js";
import { placeInArena, withoutUnused } from "./placing.js";
import { OPERATION, encoded, numberConstants, shaped } from "./recipe.js";
import { Buffer, Constant, DTYPE_CODE, ITEM, View, merged, writtenBy } from "./values.js";

/** @typedef {import("./model-file.js").Graph} Graph */
/** @typedef {import("./model-file.js").GraphNode} GraphNode */
/** @typedef {import("./nd-array.js").NdArray} NdArray */
/** @typedef {import("./recipe.js").Recipe} Recipe */
/** @typedef {import("./values.js").Call} Call */
/** @typedef {import("./values.js").PlanDtype} PlanDtype */
/** @typedef {import("./values.js").Value} Value */
/** What a node takes. @typedef {(Value | undefined)[]} Inputs */
/** @typedef {(tracer: Tracer, node: GraphNode, inputs: Inputs) => Value[]} Operator */
/** @typedef {(node: GraphNode, inputs: (NdArray | undefined)[]) => NdArray[]} Fold */
/**
 * Makes the `packed` of a call from its weights.
 *
 * @typedef {object} Packer
 * @property {(weights: import("./packing.js").LayerWeights) => unknown} layer
 * @property {(weights: NdArray, bias: NdArray | undefined) => unknown} matrix Of weights [units,
 *   inputs] and a bias [units].
 */
/** Elements of one tensor; a larger one is refused. */
const MOST_ELEMENTS = 2 ** 30;

/** What a plan keeps from one layout to the next: folded constants and packed weights. */
export class Kept {
  /** @type {Map<string, Constant[]>} */
  folded = new Map();
  /** @type {Map<string, unknown>} */
  packed = new Map();
}

/** Lays a graph out at given shapes. */
export class Tracer {
  /** @type {Call[]} */
  #calls = [];
  /** @type {Map<Buffer, Call>} */
  #producers = new Map();
  /** @type {Map<NdArray, Buffer>} */
  #constants = new Map();
  #label = "";
  #kept;
  #operators;
  #folds;

  /**
   * Where the node that is being laid out stands, body within body.
   * @type {readonly number[]}
   */
  path = [];

  /**
   * The names that are known at that node.
   * @type {ReadonlyMap<string, Value>}
   */
  scope = new Map();

  /**
   * @param {Readonly<Record<string, Operator>>} operators
   * @param {Readonly<Record<string, Fold>>} folds
   * @param {Packer} packer
   * @param {Kept} kept What other layouts of the same plan have made.
   */
  constructor(operators, folds, packer, kept) {
    this.#operators = operators;
    this.#folds = folds;
    this.#kept = kept;
    this.packer = packer;
  }

  /**
   * Lay out a whole model.
   *
   * @param {Graph} graph
   * @param {readonly { name: string, shape: readonly number[], dtype: PlanDtype }[]} inputs
   * @returns {Recipe}
   * @throws {PlanError} For what the native engine does not know.
   */
  run(graph, inputs) {
    const scope = /** @type {Map<string, Value>} */ (new Map());
    const buffers = inputs.map(({ name, shape, dtype }, index) => {
      const buffer = new Buffer("input", count(shape) * ITEM[dtype]);
      buffer.index = index;
      scope.set(name, new View(shape, dtype, buffer, 0, denseStrides(shape)));
      return buffer;
    });
    const values = this.runGraph(graph, scope);
    return this.#finish(graph, buffers, values);
  }

  /**
   * Lay out a graph whose names, but for its own, are in `scope`; return its outputs.
   *
   * @param {Graph} graph
   * @param {ReadonlyMap<string, Value>} scope
   */
  runGraph(graph, scope) {
    const names = new Map(scope);
    for (const [name, array] of graph.initializers) names.set(name, new Constant(array, true));
    const outer = this.path;
    graph.nodes.forEach((node, index) => {
      this.path = [...outer, index];
      const values = node.inputs.map((name) => valueOf(names, node, name));
      this.scope = names;
      const results = this.#runNode(node, values);
      this.scope = names;
      node.outputs.forEach((name, at) => {
        const value = results[at];
        if (value !== undefined) names.set(name, value);
      });
    });
    this.path = outer;
    return graph.outputs.map((info) => {
      const value = names.get(info.name);
      if (value === undefined) {
        throw new PlanError(`the graph gives '${info.name}', which no node makes`);
      }
      return value;
    });
  }

  /**
   * Lay out a body of a node that sees all names around it, and those that are `bound`.
   *
   * @param {Graph} graph
   * @param {number} index Which body of the node.
   * @param {Iterable<[string, Value]>} [bound]
   */
  branch(graph, index, bound = []) {
    const { scope, path } = this;
    this.path = [...path, -1 - index];
    const values = this.runGraph(graph, new Map([...scope, ...bound]));
    this.scope = scope;
    this.path = path;
    return values;
  }

  /**
   * @param {GraphNode} node
   * @param {(Value | undefined)[]} values
   * @returns {Value[]}
   */
  #runNode(node, values) {
    this.#label = label(node);
    const known = values.every((value) => value === undefined || value instanceof Constant);
    try {
      if (known && Object.hasOwn(this.#folds, node.opType)) return this.#fold(node, values);
      for (const value of values) {
        if (value instanceof View && value.applied && !mayTake(node, value)) {
          throw new PlanError(`${label(node)}: takes an RNN's sums before its nonlinearity`);
        }
      }
      if (!Object.hasOwn(this.#operators, node.opType)) {
        throw new PlanError(`${label(node)}: the native engine has no ${node.opType}`);
      }
      return this.#operators[node.opType](this, node, values);
    } catch (error) {
      if (error instanceof RnnEdgeError) throw error;
      throw new PlanError(
        `${label(node)}: the native engine cannot lay it out: ${oneLine(error)}`,
        { cause: error },
      );
    }
  }

  /**
   * @param {GraphNode} node
   * @param {(Value | undefined)[]} values
   */
  #fold(node, values) {
    const constants = values.filter((value) => value instanceof Constant);
    const isStatic = constants.every((value) => value.isStatic);
    const key = this.path.join(".");
    const kept = isStatic ? this.#kept.folded.get(key) : undefined;
    if (kept !== undefined) return kept;
    const arrays = values.map((value) => (value instanceof Constant ? value.array : undefined));
    const made = this.#folds[node.opType](node, arrays);
    const results = made.map((array) => new Constant(array, isStatic));
    if (isStatic) this.#kept.folded.set(key, results);
    return results;
  }

  /**
   * Return a dense tensor in its own memory.
   *
   * @param {readonly number[]} shape
   * @param {PlanDtype} [dtype]
   */
  new(shape, dtype = "float32") {
    const sound = shape.every((size) => Number.isSafeInteger(size) && size >= 0);
    if (!sound || count(shape) > MOST_ELEMENTS) {
      throw new PlanError(`a tensor of shape [${shape.join(", ")}] is too large`);
    }
    const buffer = new Buffer("arena", count(shape) * ITEM[dtype]);
    return new View([...shape], dtype, buffer, 0, denseStrides(shape));
  }

  /**
   * Return a value as a tensor; a constant gets memory.
   *
   * @param {Value | undefined} value
   */
  tensor(value) {
    if (value instanceof View) return value;
    if (value === undefined) throw new PlanError("an input is missing");
    const { array } = value;
    if (array.dtype === "float64") {
      throw new PlanError("float64 is not computed by the native engine");
    }
    const dtype = array.isWhole ? "int64" : array.dtype === "bool" ? "bool" : "float32";
    let buffer = this.#constants.get(array);
    if (buffer === undefined) {
      buffer = new Buffer("constant", array.size * ITEM[dtype], array);
      this.#constants.set(array, buffer);
    }
    return new View(array.shape, dtype, buffer, 0, denseStrides(array.shape));
  }

  /**
   * Return a value as a tensor of float32.
   *
   * @param {Value | undefined} value
   */
  floats(value) {
    const tensor = this.tensor(value);
    if (tensor.dtype !== "float32") throw new PlanError(`expected float32, got ${tensor.dtype}`);
    return tensor;
  }

  /**
   * Return a tensor whose elements lie one after the other.
   *
   * @param {View} tensor
   */
  dense(tensor) {
    if (tensor.isDense) return tensor;
    const made = this.new(tensor.shape, tensor.dtype);
    this.copy(tensor, made);
    return made;
  }

  /**
   * Copy a tensor into another one of the same shape.
   *
   * @param {View} source
   * @param {View} target
   */
  copy(source, target) {
    const { sizes, strides } = merged(source.shape, source.strides, target.strides);
    this.emit({
      operation: OPERATION.copy,
      kind: DTYPE_CODE[source.dtype],
      sizes,
      places: [source.place, target.place],
      distances: shaped(...strides),
      axes: sizes.length,
    });
  }

  /**
   * Return an array, made from weights, as a tensor; `key` finds it in later layouts.
   *
   * @param {string} key
   * @param {() => NdArray} make
   */
  constant(key, make) {
    return this.tensor(
      new Constant(
        this.keep(key, () => make().cast("float32")),
        true,
      ),
    );
  }

  /**
   * Return what was made under `key`, or make it.
   *
   * @template Made
   * @param {string} key Names arrays by their `id`.
   * @param {() => Made} make
   * @returns {Made}
   */
  keep(key, make) {
    if (!this.#kept.packed.has(key)) this.#kept.packed.set(key, make());
    return /** @type {Made} */ (this.#kept.packed.get(key));
  }

  /**
   * Write a call down.
   *
   * @param {Call} call
   */
  emit(call) {
    if (call.sizes.length > 8) {
      throw new PlanError(`a tensor with ${call.sizes.length} axes that lie apart`);
    }
    const numbers = [...call.sizes, ...(call.distances ?? [])];
    if (!numbers.every(Number.isSafeInteger))
      throw new PlanError("sizes that are not whole numbers");
    call.node = this.#label;
    this.#calls.push(call);
    for (const buffer of writtenBy(call)) this.#producers.set(buffer, call);
  }

  /**
   * Return the call that made a tensor as a whole, or undefined.
   *
   * @param {View} tensor
   */
  producer(tensor) {
    return tensor.bytes === tensor.buffer.size ? this.#producers.get(tensor.buffer) : undefined;
  }

  /**
   * @param {Graph} graph
   * @param {readonly Buffer[]} inputs
   * @param {readonly Value[]} values
   * @returns {Recipe}
   */
  #finish(graph, inputs, values) {
    const outputs = graph.outputs.map(({ name }, index) => {
      const tensor = this.tensor(values[index]);
      if (tensor.applied) throw new PlanError(`${name}: is an RNN's sums before its nonlinearity`);
      this.#label = `output '${name}'`;
      this.#putOut(tensor, index);
      return { name, shape: [...tensor.shape], dtype: tensor.dtype };
    });
    const calls = withoutUnused(this.#calls);
    const arena = placeInArena(calls);
    const constants = numberConstants(calls);
    const first = 1 + constants.length;
    const numbers = { arena: 0, constant: 1, input: first, output: first + inputs.length };
    return {
      arena,
      constants,
      inputs: inputs.map((buffer) => buffer.size),
      outputs,
      calls: calls.map((call) => encoded(call, numbers)),
      hiddenSizes: calls.flatMap((call) => call.about?.["hiddenSize"] ?? []),
    };
  }

  /**
   * Let the output be made in its place, or copy it there.
   *
   * @param {View} tensor
   * @param {number} index
   */
  #putOut(tensor, index) {
    const { buffer, bytes } = tensor;
    const whole = tensor.isDense && tensor.offset === 0 && buffer.size === bytes;
    if (buffer.home === "arena" && buffer.parent === undefined && whole) {
      buffer.home = "output";
      buffer.index = index;
      return;
    }
    const home = new Buffer("output", bytes);
    home.index = index;
    this.copy(tensor, new View(tensor.shape, tensor.dtype, home, 0, denseStrides(tensor.shape)));
  }
}

/**
 * @param {ReadonlyMap<string, Value>} names
 * @param {GraphNode} node
 * @param {string} name
 */
function valueOf(names, node, name) {
  if (!name) return undefined;
  const value = names.get(name);
  if (value === undefined) {
    throw new PlanError(`${label(node)}: takes '${name}', which nothing makes`);
  }
  return value;
}

/**
 * @param {GraphNode} node
 * @param {View} value
 */
function mayTake(node, value) {
  return node.opType === "Concat" || node.opType.toLowerCase() === value.applied;
}
