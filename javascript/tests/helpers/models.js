/** What `tests/javascript/helpers/javascript_models.py` wrote, and what stands in for an engine. */

import { Session, Tensor } from "../../src/index.js";
import { node } from "../../src/host.js";

/** The folder of the models: of a page, behind its own address. */
export const MODELS = node === undefined ? `${location.origin}/models` : folderInNode();

export const cases = JSON.parse(new TextDecoder().decode(await readCases()));

function folderInNode() {
  const own = node.url.fileURLToPath(new URL("../models", import.meta.url));
  return process.env.RNNEDGE_TEST_MODELS ?? own;
}

/** The bytes of a file. */
export async function read(path) {
  if (node !== undefined) return new Uint8Array(await node.fs.readFile(path));
  return new Uint8Array(await (await fetch(path)).arrayBuffer());
}

async function readCases() {
  try {
    return await read(`${MODELS}/cases.json`);
  } catch (error) {
    const script = "tests/javascript/helpers/javascript_models.py";
    throw new Error(`${MODELS}: run python ${script} in the repository first`, { cause: error });
  }
}

/** The path of a model. */
export function modelPath(name) {
  return `${MODELS}/${name}/model.onnx`;
}

/** The tensor that a case describes; anything else as it is. */
export function valueOf(about) {
  if (Array.isArray(about) || typeof about !== "object" || about === null) return about;
  const { dtype, shape, second } = about;
  const tensor = Tensor.zeros(dtype, shape);
  const spelt = { nan: NaN, inf: Infinity, "-inf": -Infinity };
  if (second !== undefined) tensor.data[Math.min(1, tensor.size - 1)] = spelt[second];
  return tensor;
}

/** The tensors that a case describes, by name. */
export function valuesOf(abouts) {
  return Object.fromEntries(Object.entries(abouts).map(([name, one]) => [name, valueOf(one)]));
}

/**
 * An engine that computes nothing: it answers zeros of the declared shapes, and counts its runs.
 * With it, what never reaches an engine is tested without ONNX Runtime.
 */
export function zeroEngine({ synchronous = false } = {}) {
  const engine = {
    name: "zeros",
    runs: 0,
    open: async (source, { contract, reason }) => {
      const { inputs, outputs } = contract.interface;
      const run = (names, feeds) => {
        engine.runs += 1;
        engine.feeds = feeds;
        const sizes = new Map();
        for (const spec of inputs) {
          spec.axes.forEach((axis, index) => sizes.set(axis, feeds[spec.name].shape[index]));
        }
        const made = names.map((name) => {
          const { dtype, axes } = outputs.find((spec) => spec.name === name);
          return Tensor.zeros(
            dtype,
            axes.map((axis) => sizes.get(axis) ?? (Number(axis) || 1)),
          );
        });
        return synchronous ? made : Promise.resolve(made);
      };
      const parts = { name: "zeros", title: "the engine", reason, device: "cpu", synchronous };
      return { ...parts, inputs, outputs, run, close: () => undefined };
    },
  };
  return engine;
}

/** Open a model by an engine that computes nothing. */
export async function openWithZeros(name, options) {
  const engine = zeroEngine(options);
  return { engine, session: await Session.open(modelPath(name), { engine }) };
}

/** The bytes of a file that has a contract and no graph, for an engine that computes nothing. */
export function fileWith(contract) {
  const [key, value] = ["rnnedge.contract", JSON.stringify(contract)];
  const text = (field, content) => {
    const bytes = new TextEncoder().encode(content);
    return [8 * field + 2, ...varint(bytes.length), ...bytes];
  };
  const entry = [...text(1, key), ...text(2, value)];
  return Uint8Array.from([8 * 14 + 2, ...varint(entry.length), ...entry]);
}

function varint(number) {
  const bytes = [];
  for (; number > 0x7f; number >>>= 7) bytes.push((number & 0x7f) | 0x80);
  return [...bytes, number];
}
