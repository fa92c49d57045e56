/**
 * The errors that rnnedge raises on purpose, with the names and the words of the Python runtime.
 *
 *     RnnEdgeError
 *     ├── ModelError           the file is not a model that can be opened
 *     │   ├── ContractError    its contract is missing, damaged, or of a newer format
 *     │   └── PlanError        a part of it is not supported by the native engine
 *     ├── InputError           an input of the wrong name, shape, dtype or value
 *     ├── StateError           a state that does not fit, or a model without one
 *     ├── GoldenError          golden vectors that cannot be read, or do not fit
 *     ├── OptionError          an option with an unknown name or a wrong value
 *     ├── DeviceError          the requested device is not available
 *     ├── StreamError          a stream or pool that is closed, full or in use
 *     ├── EngineError          the engine failed while it ran the model
 *     ├── WriteError           a file that cannot or must not be written
 *     └── MissingPackageError  a required package is not installed
 */

import { printableLine } from "./printable.js";

/** Parent of every error that rnnedge raises on purpose; its message is one printable line. */
export class RnnEdgeError extends Error {
  /**
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(message, options) {
    super(printableLine(message), options);
    this.name = new.target.name;
  }
}

/** The file is missing, damaged, not ONNX, or not loadable by the engine. */
export class ModelError extends RnnEdgeError {}

/** The contract in the model's metadata cannot be read, or is of a newer format. */
export class ContractError extends ModelError {}

/** The native engine does not know a part of the model, which ONNX Runtime may run. */
export class PlanError extends ModelError {}

/** An input has the wrong name, shape, dtype or value. */
export class InputError extends RnnEdgeError {
  /**
   * The streams of a pool whose frames were refused; empty elsewhere.
   * @type {readonly number[]}
   */
  streams = [];
}

/** A state does not fit the model, or the model has no state to keep. */
export class StateError extends RnnEdgeError {}

/** Golden vectors are missing, damaged or of a newer format, or do not fit the model. */
export class GoldenError extends RnnEdgeError {}

/** An option has an unknown name, or a value of the wrong type or range. */
export class OptionError extends RnnEdgeError {}

/** The requested device is not available on this machine. */
export class DeviceError extends RnnEdgeError {}

/** A stream or a pool is closed, has no room, or is in use by another call. */
export class StreamError extends RnnEdgeError {}

/** The engine failed while it ran the model. */
export class EngineError extends RnnEdgeError {}

/** A file must not be written where it was named, or cannot be. */
export class WriteError extends RnnEdgeError {}

/** A package that this call needs is not installed. */
export class MissingPackageError extends RnnEdgeError {
  /**
   * @param {string} user What needs the package, by the name that the caller knows.
   * @param {string} missing The name of the package.
   * @param {string} command The command that installs it.
   * @param {ErrorOptions} [options]
   */
  constructor(user, missing, command, options) {
    super(`${user} needs ${missing}, which is not installed: ${command}`, options);
  }
}

/**
 * Return the message of another library's exception on one line.
 *
 * The number of ONNX Runtime's error is left out. If one of its kernels failed, the message is
 * shortened to its operator, its node and the reason.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function oneLine(error) {
  const text = error instanceof Error ? error.message || error.name : String(error);
  const words = text.split(/\s+/u).filter(Boolean).join(" ");
  const message = words.replace(/^.*?ERROR_CODE: \d+, ERROR_MESSAGE: /u, "");
  const failed = /running (\w+) node\. Name:'(.*?)' Status Message: (.*)/u.exec(message);
  if (failed === null) return message;
  const reason = (failed[3] ?? "").replace(/^\S+:\d+ .*? was false\. /u, "");
  return `${failed[1]} node '${failed[2]}': ${reason}`;
}
