/** `openEngine`: the engine that a model is opened with. */

import { node } from "../host.js";
import { DeviceError, MissingPackageError, OptionError } from "../errors.js";
import { onnxruntime } from "./onnxruntime.js";

/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./engine.js").EngineFactory} EngineFactory */
/** @typedef {import("../contract.js").Contract} Contract */
/** @typedef {import("../model-source.js").ModelSource} ModelSource */
/** @typedef {"auto" | "onnxruntime-node" | "onnxruntime-web"} EngineName */

const ENGINES = ["auto", "onnxruntime-node", "onnxruntime-web"];
const DEVICES = ["cpu", "webgpu"];

/**
 * Open a model.
 *
 * @param {ModelSource} source
 * @param {Contract} contract
 * @param {object} options
 * @param {EngineName | EngineFactory} options.engine
 * @param {"cpu" | "webgpu"} options.device
 * @param {number | undefined} options.threads
 * @returns {Promise<Engine>} The engine, which has read the model and can run it.
 */
export async function openEngine(source, contract, { engine, device, threads }) {
  if (!DEVICES.includes(device)) {
    throw new DeviceError(`device: expected 'cpu' or 'webgpu', got '${String(device)}'`);
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
    throw new OptionError(
      `threads: expected undefined or an integer of 1 or more, got ${String(threads)}`,
    );
  }
  const [factory, reason] = await chosen(engine);
  const options = { contract, device, reason };
  return factory.open(source, threads === undefined ? options : { ...options, threads });
}

/**
 * @param {EngineName | EngineFactory} engine
 * @returns {Promise<[EngineFactory, string]>}
 */
async function chosen(engine) {
  if (isFactory(engine)) return [engine, "it was passed"];
  if (!ENGINES.includes(engine)) {
    throw new OptionError(
      `engine: expected ${ENGINES.join(", ")}, or what onnxruntime(ort) returns, ` +
        `got '${String(engine)}'`,
    );
  }
  if (engine !== "auto") return [await ofPackage(engine), "it was asked for"];
  if (node === undefined) return [await ofPackage("onnxruntime-web"), "it runs in a page"];
  try {
    return [await ofPackage("onnxruntime-node"), "it is installed"];
  } catch (error) {
    const other = await ofPackage("onnxruntime-web").catch(() => undefined);
    if (other === undefined) throw error;
    return [other, "onnxruntime-node is not installed"];
  }
}

/**
 * @param {EngineName | EngineFactory} engine
 * @returns {engine is EngineFactory}
 */
function isFactory(engine) {
  return typeof engine === "object" && typeof engine?.open === "function";
}

/**
 * Import ONNX Runtime. The name is a variable, so that a bundler does not look for a package that
 * an application has not got; such an application passes `onnxruntime(ort)`.
 *
 * @param {string} name
 * @returns {Promise<EngineFactory>}
 */
async function ofPackage(name) {
  let imported;
  try {
    imported = /** @type {unknown} */ (
      await import(/* @vite-ignore */ /* webpackIgnore: true */ name)
    );
  } catch (error) {
    throw new MissingPackageError(
      `engine: '${name}'`,
      name,
      `npm install ${name}, or pass engine: onnxruntime(ort) with the module that you import`,
      { cause: error },
    );
  }
  const module = /** @type {{ default?: unknown, InferenceSession?: unknown }} */ (imported);
  const library = module.InferenceSession === undefined ? module.default : module;
  return onnxruntime(/** @type {import("./onnxruntime.js").Library} */ (library), name);
}
