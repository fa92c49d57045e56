/** States as files: an `.npz` archive that names the model it belongs to, as Python writes it. */

import { StateError } from "../errors.js";
import { checkTarget, readPlace, writeWhole } from "../files.js";
import { readNpz, writeNpz } from "../npz.js";
import { Tensor } from "../tensor.js";

/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../npz.js").Entry} Entry */

const DIGEST = "rnnedge.digest";

/**
 * Write a state.
 *
 * @param {string | undefined} path The `.npz` file, in Node; without one nothing is written.
 * @param {Session} session The model that it belongs to.
 * @param {readonly Tensor[]} state The tensors in the order of `Interface.states`.
 * @param {{ force: boolean }} options Whether a file that holds something else may be replaced.
 * @returns {Promise<Uint8Array>} The content of the file.
 * @throws {WriteError} When the file must not or cannot be written.
 */
export async function writeState(path, session, state, { force }) {
  const tensors = session.interface.stateInputs.map(
    (spec, index) => /** @type {const} */ ([spec.name, /** @type {Tensor} */ (state[index])]),
  );
  const content = writeNpz([[DIGEST, session.digest], ...tensors]);
  if (path === undefined) return content;
  await checkTarget(path, { suffix: ".npz", isOne: isNpz, source: session.path, force });
  await writeWhole(path, content);
  return content;
}

/**
 * Read a state.
 *
 * @param {string | URL | Uint8Array | ArrayBuffer} file
 * @param {Session} session
 * @returns {Promise<Tensor[]>} The tensors in the order of `Interface.states`; the caller checks
 *   their shapes.
 * @throws {StateError} If the file cannot be read, is not a state, or belongs to another model.
 */
export async function readState(file, session) {
  const [name, content] = await readPlace(file, "the state", StateError);
  const entries = entriesOf(content);
  const digest = entries?.get(DIGEST);
  const state = session.interface.stateInputs.map((spec) => entries?.get(spec.name));
  const whole = digest !== session.digest || state.every((item) => item instanceof Tensor);
  if (typeof digest !== "string" || !whole) {
    throw new StateError(
      `${name}: expected a state from Stream.save, found another or a damaged file`,
    );
  }
  if (digest !== session.digest) {
    throw new StateError(
      `${name}: the state belongs to the model ${digest.slice(0, 19)}..., and this model is ` +
        `${session.digest.slice(0, 19)}...: open the model that it was saved with`,
    );
  }
  return /** @type {Tensor[]} */ (state);
}

/** @param {Uint8Array} content */
function isNpz(content) {
  return entriesOf(content) !== undefined;
}

/**
 * Return what an archive holds; undefined where it is damaged, or no such archive.
 *
 * @param {Uint8Array} content
 */
function entriesOf(content) {
  try {
    return readNpz(content);
  } catch {
    return undefined;
  }
}
