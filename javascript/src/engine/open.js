/** `openEngine`: the engine that a model is opened with. */

import { node } from "../host.js";
import { DeviceError, MissingPackageError, OptionError, PlanError } from "../errors.js";
import { onnxruntime } from "./onnxruntime.js";

/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./engine.js").EngineFactory} EngineFactory */
/** @typedef {import("./engine.js").EngineOptions} EngineOptions */
/** @typedef {import("../contract.js").Contract} Contract */
/** @typedef {import("../model-source.js").ModelSource} ModelSource */
/** @typedef {"auto" | "wasm" | "onnxruntime-node" | "onnxruntime-web"} EngineName */

/** @typedef {Exclude<EngineName, "auto">} Named */

const ENGINES = ["auto", "wasm", "onnxruntime-node", "onnxruntime-web"];
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
  const options = { contract, device, ...(threads === undefined ? {} : { threads }) };
  if (isFactory(engine)) return engine.open(source, { ...options, reason: "it was passed" });
  if (!ENGINES.includes(engine)) {
    throw new OptionError(
      `engine: expected ${ENGINES.join(", ")}, or what onnxruntime(ort) returns, ` +
        `got '${String(engine)}'`,
    );
  }
  if (engine === "auto") return openFirst(source, options);
  return (await named(engine)).open(source, { ...options, reason: "it was asked for" });
}

/**
 * Open a model with the first engine that is there and knows it: in a page rnnedge's own, whose
 * steps take a fraction of the time; in Node, whose ONNX Runtime is native code, that one.
 *
 * @param {ModelSource} source
 * @param {Omit<EngineOptions, "reason">} options
 * @returns {Promise<Engine>}
 */
async function openFirst(source, options) {
  const names = /** @type {Named[]} */ (
    node === undefined
      ? ["wasm", "onnxruntime-web"]
      : ["onnxruntime-node", "wasm", "onnxruntime-web"]
  );
  const able = names.filter((name) => name !== "wasm" || wasmCan(options));
  let reason = node === undefined ? "it runs in a page" : "it is installed";
  let refused = /** @type {PlanError | undefined} */ (undefined);
  for (const name of able) {
    try {
      return await (await named(name)).open(source, { ...options, reason });
    } catch (error) {
      if (error instanceof PlanError) refused = error;
      else if (!(error instanceof MissingPackageError)) throw error;
      reason = refused === undefined ? `${name} is not installed` : refused.message;
      if (name === able.at(-1)) throw withRefusal(error, refused);
    }
  }
  throw new OptionError("engine: none is there");
}

/**
 * Whether rnnedge's own engine has what was asked for.
 *
 * @param {Omit<EngineOptions, "reason">} options
 */
function wasmCan({ device, threads }) {
  return device === "cpu" && (threads === undefined || threads === 1);
}

/**
 * Return the last error, and why the model needs ONNX Runtime at all.
 *
 * @param {Error} error
 * @param {PlanError | undefined} refused
 */
function withRefusal(error, refused) {
  if (refused === undefined || refused === error) return error;
  const library = node === undefined ? "onnxruntime-web" : "onnxruntime-node";
  const passed = node === undefined ? " and pass engine: onnxruntime(ort)" : "";
  const command = `npm install ${library}${passed}, since ${refused.message}`;
  return new MissingPackageError("engine: 'auto'", library, command, { cause: error });
}

/** @param {Named} name */
async function named(name) {
  return name === "wasm" ? (await import("../wasm/index.js")).wasm : ofPackage(name);
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
