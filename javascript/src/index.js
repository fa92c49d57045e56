/** Run and stream recurrent ONNX models of rnnedge, in a page or in Node. */

export { Session } from "./session.js";
export { StreamPool } from "./pool/pool.js";
export { Stream } from "./streaming/stream.js";
export { Tensor } from "./tensor.js";
export { Interface, METADATA_KEY, TensorSpec, readContract } from "./contract.js";
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
