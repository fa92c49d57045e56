/** The engine that runs every ONNX model: onnxruntime-web or onnxruntime-node. */

import { TensorSpec } from "../contract.js";
import { dtypeOfArray } from "../dtypes.js";
import { DeviceError, ModelError, oneLine } from "../errors.js";
import { Tensor } from "../tensor.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../dtypes.js").TypedArray} TypedArray */
/** @typedef {import("./engine.js").Engine} Engine */
/** @typedef {import("./engine.js").EngineFactory} EngineFactory */
/** @typedef {import("./engine.js").EngineOptions} EngineOptions */
/** @typedef {import("../model-source.js").ModelSource} ModelSource */
/**
 * What is used of ONNX Runtime's JavaScript library. It is spelt here, so that the types of an
 * application without that library are whole.
 *
 * @typedef {object} Library
 * @property {OrtSessions} InferenceSession
 * @property {new (type: any, data: any, shape?: any) => OrtTensor} Tensor
 * @property {{ readonly wasm?: { numThreads?: number | undefined } }} [env]
 */
/**
 * @typedef {object} OrtOptions
 * @property {0 | 4} [logSeverityLevel]
 * @property {number} [intraOpNumThreads]
 * @property {readonly "webgpu"[]} [executionProviders]
 */
/**
 * @typedef {{ readonly type: string, readonly data: unknown, readonly dims: readonly number[] }}
 *   OrtTensor
 */
/** @typedef {{ readonly [name: string]: OrtTensor }} OrtTensors */
/**
 * @typedef {{
 *   create(path: string, options?: OrtOptions): Promise<OrtSession>,
 *   create(bytes: Uint8Array, options?: OrtOptions): Promise<OrtSession>,
 * }} OrtSessions
 */
/**
 * @typedef {{
 *   readonly inputNames: readonly string[],
 *   readonly outputNames: readonly string[],
 *   readonly inputMetadata?: readonly ValueMetadata[],
 *   readonly outputMetadata?: readonly ValueMetadata[],
 *   run(feeds: any, outputs: readonly string[]): Promise<OrtTensors>,
 *   release(): Promise<void>,
 * }} OrtSession
 */
/**
 * @typedef {{ readonly isTensor: false } | { readonly isTensor: true, readonly type: string,
 *   readonly shape: readonly (number | string)[] }} ValueMetadata
 */

/**
 * ONNX Runtime logs what is fatal alone: its errors are raised too, and are part of ours.
 * @type {4}
 */
const FATAL_ONLY = 4;

/**
 * Make an engine of ONNX Runtime's JavaScript library.
 *
 * @param {Library} library `import * as ort from "onnxruntime-web"`, or `"onnxruntime-node"`.
 * @param {string} [name] What the engine is called.
 * @returns {EngineFactory}
 */
export function onnxruntime(library, name = "onnxruntime") {
  return {
    name,
    open: async (source, options) => {
      const inner = await openInferenceSession(library, source, options);
      return new OnnxRuntimeEngine(library, inner, name, options);
    },
  };
}

/** @implements {Engine} */
class OnnxRuntimeEngine {
  title = "ONNX Runtime";
  synchronous = false;
  #library;
  #session;

  /**
   * @param {Library} library
   * @param {OrtSession} session
   * @param {string} name
   * @param {EngineOptions} options
   */
  constructor(library, session, name, { device, reason }) {
    this.#library = library;
    this.#session = session;
    this.name = name;
    this.device = device;
    this.reason = reason;
    const { inputNames, outputNames, inputMetadata, outputMetadata } = session;
    this.inputs = inputNames.map((input, index) => specOf(input, inputMetadata?.[index]));
    this.outputs = outputNames.map((output, index) => specOf(output, outputMetadata?.[index]));
  }

  /**
   * @param {readonly string[]} outputs
   * @param {Tensors} feeds
   */
  async run(outputs, feeds) {
    const given = /** @type {{ [name: string]: OrtTensor }} */ (Object.create(null));
    for (const [name, tensor] of Object.entries(feeds)) {
      given[name] = ortTensor(this.#library, tensor);
    }
    const results = await this.#session.run(given, outputs);
    return outputs.map((name) => {
      const result = results[name];
      if (result === undefined) throw new Error(`it returned no ${name}`);
      return fromOrt(result);
    });
  }

  async close() {
    await this.#session.release();
  }
}

/**
 * @param {Library} library
 * @param {ModelSource} source
 * @param {EngineOptions} options
 * @returns {Promise<OrtSession>}
 */
async function openInferenceSession(library, source, options) {
  if (options.device === "webgpu") await checkWebGpu();
  setThreads(library, options.threads);
  const settings = settingsOf(options);
  try {
    const bytesOrPath = source.path ?? (await source.bytes());
    return typeof bytesOrPath === "string"
      ? await library.InferenceSession.create(bytesOrPath, settings)
      : await library.InferenceSession.create(bytesOrPath, settings);
  } catch (error) {
    throw new ModelError(`${source.name} cannot be opened by ONNX Runtime: ${oneLine(error)}`, {
      cause: error,
    });
  }
}

/**
 * onnxruntime-web has one number of threads for all models, which counts from the first one on.
 *
 * @param {Library} library
 * @param {number | undefined} threads
 */
function setThreads({ env }, threads) {
  if (threads !== undefined && env?.wasm !== undefined) env.wasm.numThreads = threads;
}

/** @typedef {{ gpu?: { requestAdapter: () => Promise<unknown> } }} MaybeGpu */

async function checkWebGpu() {
  const { gpu } = /** @type {MaybeGpu} */ (globalThis.navigator ?? {});
  if (gpu === undefined || !(await gpu.requestAdapter())) {
    throw new DeviceError("device='webgpu': there is no WebGPU here: use device: 'cpu'");
  }
}

/**
 * @param {EngineOptions} options
 * @returns {OrtOptions}
 */
function settingsOf({ device, threads }) {
  return {
    logSeverityLevel: FATAL_ONLY,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    ...(device === "webgpu" ? { executionProviders: ["webgpu"] } : {}),
  };
}

/**
 * @param {string} name
 * @param {ValueMetadata | undefined} metadata
 */
function specOf(name, metadata) {
  if (metadata?.isTensor !== true) return new TensorSpec(name, "", []);
  return new TensorSpec(name, metadata.type, [...metadata.shape]);
}

/**
 * @param {Library} library
 * @param {Tensor} tensor
 */
function ortTensor(library, tensor) {
  return new library.Tensor(tensor.dtype, tensor.data, tensor.shape);
}

/** @param {OrtTensor} result */
function fromOrt(result) {
  const data = /** @type {TypedArray} */ (result.data);
  const bits =
    result.type === "float16" && dtypeOfArray(data) === "float16" && !(data instanceof Uint16Array)
      ? new Uint16Array(data.buffer, data.byteOffset, data.length)
      : data;
  return new Tensor(result.type, bits, result.dims);
}
