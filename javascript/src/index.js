/** Run and stream recurrent ONNX models of rnnedge, in a page or in Node. */

export { Session } from "./session.js";
export { StreamPool } from "./pool/pool.js";
export { Stream } from "./streaming/stream.js";
export { Tensor } from "./tensor.js";
export { Interface, METADATA_KEY, TensorSpec, readContract } from "./contract.js";
export { Decoded } from "./decoding/decode.js";
export { onnxruntime } from "./engine/onnxruntime.js";
export {
  ContractError,
  DeviceError,
  EngineError,
  GoldenError,
  InputError,
  MissingPackageError,
  ModelError,
  OptionError,
  PlanError,
  RnnEdgeError,
  StateError,
  StreamError,
  WriteError,
} from "./errors.js";

/** @typedef {import("./binding.js").State} State */
/** @typedef {import("./contract.js").Axis} Axis */
/** @typedef {import("./contract.js").Contract} Contract */
/** @typedef {import("./contract.js").LayerInfo} LayerInfo */
/** @typedef {import("./contract.js").StatePair} StatePair */
/** @typedef {import("./decoding/decode.js").DecodeOptions} DecodeOptions */
/** @typedef {import("./decoding/search.js").Hypothesis} Hypothesis */
/** @typedef {import("./decoding/transduce.js").TransduceOptions} TransduceOptions */
/** @typedef {import("./engine/engine.js").Engine} Engine */
/** @typedef {import("./engine/engine.js").EngineFactory} EngineFactory */
/** @typedef {import("./engine/engine.js").EngineOptions} EngineOptions */
/** @typedef {import("./pool/batching.js").Frame} Frame */
/** @typedef {import("./pool/pool.js").PoolOptions} PoolOptions */
/** @typedef {import("./proof/golden.js").GoldenFiles} GoldenFiles */
/** @typedef {import("./proof/golden-check.js").CheckResult} CheckResult */
/** @typedef {import("./session.js").OpenOptions} OpenOptions */
/** @typedef {import("./session.js").RunOptions} RunOptions */
/** @typedef {import("./session.js").RunResult} RunResult */
/** @typedef {import("./streaming/step-output.js").Answer} Answer */
/** @typedef {import("./streaming/stream.js").StreamOptions} StreamOptions */
/** @typedef {import("./tensor.js").TensorLike} TensorLike */
