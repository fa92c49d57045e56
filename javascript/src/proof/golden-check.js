/** Proves on the device that a model still gives the outputs of its golden vectors. */

import { GoldenError, InputError, RnnEdgeError } from "../errors.js";
import { readPlace } from "../files.js";
import { dtypeOf } from "../dtypes.js";
import { numberAt } from "../tensor.js";
import { setLabel } from "./golden.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../model-source.js").Model} Model */
/** @typedef {import("../session.js").Session} Session */
/** @typedef {import("../tensor.js").Tensor} Tensor */
/** @typedef {import("./golden.js").Golden} Golden */
/** @typedef {import("./golden.js").GoldenSet} GoldenSet */
/**
 * One finding.
 *
 * @typedef {object} CheckResult
 * @property {string} name What was checked.
 * @property {boolean | null} passed null where it could not be checked.
 * @property {string} detail Numbers and names.
 */
/**
 * One output of one set, at its worst value; `badness` above 1 fails.
 *
 * @typedef {object} Difference
 * @property {GoldenSet} set
 * @property {number} badness
 * @property {number} error
 * @property {number} allowed
 * @property {readonly number[]} at
 * @property {number} nans
 * @property {string} problem
 */

/** What ONNX's own tests allow. */
const [ONNX_RTOL, ONNX_ATOL] = [1e-3, 1e-7];
const FILE = "the model file is that of the vectors";
const RUNS = "every set of vectors runs";
/** How many failing sets a finding lists. */
const MOST_NAMES = 3;

/**
 * Run every set of vectors and compare the outputs.
 *
 * @param {Session} session The opened model.
 * @param {Golden} golden The vectors.
 * @param {Model | undefined} model What the session was opened from, whose digest is compared;
 *   without it it is not.
 * @returns {Promise<CheckResult[]>} A finding for the model file, one for whether every set runs,
 *   and one for each output over all sets. NaN in the same place, and the same infinity, are equal.
 */
export async function checkGolden(session, golden, model) {
  const collected = /** @type {[GoldenSet, Tensors][]} */ ([]);
  const failures = /** @type {string[]} */ ([]);
  for (const set of golden.sets) {
    try {
      const named = withNames(set, session);
      collected.push([named, await outputsFor(session, named)]);
    } catch (error) {
      if (!(error instanceof RnnEdgeError)) throw error;
      failures.push(`${setLabel(set)}: ${error.message}`);
    }
  }
  const count = golden.sets.length;
  const source = golden.reference ?? "an unknown source";
  const detail = failures.length
    ? `${failures.length} of ${count} set(s) fail; ${failures[0]}`
    : `${count} set(s), expected outputs from ${source}`;
  const findings = [
    await sameFile(golden, model),
    { name: RUNS, passed: failures.length === 0, detail },
  ];
  for (const spec of collected.length ? session.interface.outputs : []) {
    const differences = collected.map(([set, given]) => compare(set, spec.name, given));
    findings.push(summary(spec.name, differences));
  }
  return findings;
}

/**
 * @param {Golden} golden
 * @param {Model | undefined} model
 * @returns {Promise<CheckResult>}
 */
async function sameFile(golden, model) {
  const unknown = (/** @type {string} */ detail) => ({ name: FILE, passed: null, detail });
  if (golden.modelSha256 === null) {
    return unknown("not known: there is no golden.json with its digest");
  }
  if (model === undefined) return unknown("not checked: pass the file as { model }");
  if (globalThis.crypto?.subtle === undefined) {
    return unknown("not checked: a page computes digests only from https or localhost");
  }
  const [, content] = await readPlace(model, "the model", GoldenError);
  const hash = await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (content));
  const digest = [...new Uint8Array(hash)]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
  if (digest === golden.modelSha256) {
    return { name: FILE, passed: true, detail: `sha256 ${digest}` };
  }
  const detail =
    `its sha256 is ${digest}, that of the vectors is ${golden.modelSha256}: the file was changed ` +
    "or damaged, or is another model";
  return { name: FILE, passed: false, detail };
}

/**
 * Return the set with the names of the graph, if its tensors are named by their position.
 *
 * @param {GoldenSet} set
 * @param {Session} session
 * @returns {GoldenSet}
 */
function withNames(set, session) {
  const inputs = namesOf("inputs", set.inputs, session.interface.inputs);
  const outputs = namesOf("outputs", set.outputs, session.interface.outputs);
  return {
    ...set,
    inputs: renamed(set.inputs, inputs),
    outputs: renamed(set.outputs, outputs),
    allowed: set.allowed && renamed(set.allowed, outputs),
  };
}

/**
 * Return the graph's name for each name in the vectors.
 *
 * @param {string} kind
 * @param {ReadonlyMap<string, Tensor>} given
 * @param {readonly TensorSpec[]} specs
 */
function namesOf(kind, given, specs) {
  const expected = specs.map((spec) => spec.name);
  const unnamed = new Map(expected.map((name, index) => [`#${index}`, name]));
  const names = new Map(
    [...given.keys()].map((name) => [
      name,
      expected.includes(name) ? name : (unnamed.get(name) ?? name),
    ]),
  );
  const found = [...names.values()].sort();
  const wanted = [...expected].sort();
  if (found.length !== wanted.length || found.some((name, index) => name !== wanted[index])) {
    throw new InputError(
      `expected the ${kind} ${expected.join(", ")}, got ${[...given.keys()].join(", ") || "none"}`,
    );
  }
  return names;
}

/**
 * @template Value
 * @param {ReadonlyMap<string, Value>} values
 * @param {ReadonlyMap<string, string>} names
 * @returns {Map<string, Value>}
 */
function renamed(values, names) {
  return new Map([...values].map(([name, value]) => [names.get(name) ?? name, value]));
}

/**
 * @param {Session} session
 * @param {GoldenSet} set
 */
async function outputsFor(session, set) {
  const { dataInputs, stateInputs, lengths } = session.interface;
  const valueOf = (/** @type {string} */ name) => /** @type {Tensor} */ (set.inputs.get(name));
  const inputs = Object.fromEntries(dataInputs.map((spec) => [spec.name, valueOf(spec.name)]));
  const result = await session.run(inputs, {
    lengths: lengths === null ? null : valueOf(lengths),
    state: stateInputs.length ? stateInputs.map((spec) => valueOf(spec.name)) : null,
  });
  return result.outputs;
}

/**
 * @param {GoldenSet} set
 * @param {string} name
 * @param {Tensors} answers
 * @returns {Difference}
 */
function compare(set, name, answers) {
  const expected = /** @type {Tensor} */ (set.outputs.get(name));
  const given = /** @type {Tensor} */ (answers[name]);
  const worst = { set, badness: 0, error: 0, allowed: 0, at: [], nans: 0, problem: "" };
  if (given.dtype !== expected.dtype) {
    return {
      ...worst,
      badness: Infinity,
      problem: `dtype ${given.dtype}, expected ${expected.dtype}`,
    };
  }
  if (String(given) !== String(expected)) {
    const [got, wanted] = [given, expected].map((tensor) => `[${tensor.shape.join(", ")}]`);
    return { ...worst, badness: Infinity, problem: `shape ${got}, expected ${wanted}` };
  }
  return worstOf(worst, expected, given, set.allowed?.get(name));
}

/**
 * @param {Difference} start
 * @param {Tensor} expected
 * @param {Tensor} given
 * @param {number | undefined} fixed The allowed error, if it is the same everywhere.
 */
function worstOf(start, expected, given, fixed) {
  const errorOf = dtypeOf(expected.dtype)?.kind === "f" ? floatError : integerError;
  const worst = { ...start };
  let flat = 0;
  for (let index = 0; index < expected.size; index++) {
    const [a, b] = [numberAt(given, index), numberAt(expected, index)];
    worst.nans += Number(Number.isNaN(a) && Number.isNaN(b));
    const error = errorOf(a, b, given.data[index] === expected.data[index]);
    const allowed = fixed ?? onnxTolerance(b);
    const badness = error === 0 ? 0 : error / allowed;
    if (index > 0 && !(badness > worst.badness)) continue;
    flat = index;
    Object.assign(worst, { badness, error, allowed });
  }
  return { ...worst, at: expected.size ? indicesOf(flat, expected.shape) : [] };
}

/** @param {number} expected An infinite tolerance around an infinity would let everything pass. */
function onnxTolerance(expected) {
  return Number.isFinite(expected) ? ONNX_ATOL + ONNX_RTOL * Math.abs(expected) : 0;
}

/**
 * @param {number} given
 * @param {number} expected
 */
function floatError(given, expected) {
  if (given === expected || (Number.isNaN(given) && Number.isNaN(expected))) return 0;
  const error = Math.abs(given - expected);
  return Number.isNaN(error) ? Infinity : error; // NaN on one side
}

/**
 * @param {number} given
 * @param {number} expected
 * @param {boolean} same Whether they are equal as integers, which may be more than a number holds.
 */
function integerError(given, expected, same) {
  return same ? 0 : Math.max(Math.abs(given - expected), 1);
}

/**
 * @param {number} flat
 * @param {readonly number[]} shape
 */
function indicesOf(flat, shape) {
  const found = /** @type {number[]} */ ([]);
  for (const size of shape.toReversed()) {
    found.unshift(flat % size);
    flat = Math.floor(flat / size);
  }
  return found;
}

/**
 * @param {string} name
 * @param {readonly Difference[]} differences
 * @returns {CheckResult}
 */
function summary(name, differences) {
  const worst = differences.reduce((most, one) => (one.badness > most.badness ? one : most));
  const failed = differences.filter((one) => !(one.badness <= 1)).map((one) => one.set.directory);
  let detail = "";
  if (failed.length && differences.length > 1) {
    const names = [...failed.slice(0, MOST_NAMES), ...(failed.length > MOST_NAMES ? ["..."] : [])];
    detail += `${failed.length} of ${differences.length} sets fail (${names.join(", ")}); worst: `;
  }
  detail += worst.problem
    ? `${worst.problem} in ${setLabel(worst.set)}`
    : `error ${short(worst.error)}, allowed ${short(worst.allowed)}, ` +
      `at [${worst.at.join(", ")}] of ${setLabel(worst.set)}`;
  if (worst.set.allowed === null) {
    detail += "; the tolerance is that of ONNX's tests, 1e-07 + 0.001 of the value";
  }
  const nans = differences.reduce((total, one) => total + one.nans, 0);
  if (nans) detail += `; NaN on both sides in ${nans} value(s)`;
  return { name: `${name} matches the vectors`, passed: failed.length === 0, detail };
}

/** @param {number} value As Python's `.1e` has it. */
function short(value) {
  if (!Number.isFinite(value)) return value > 0 ? "inf" : String(value);
  return value.toExponential(1).replace(/e([+-])(\d)$/u, "e$10$2");
}
