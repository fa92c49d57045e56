/** Joins the frames of many streams into one batch, and splits its outputs. */

import { byName } from "../binding.js";
import { BATCH, TIME } from "../contract.js";
import { InputError } from "../errors.js";
import { inputTensor } from "../input-tensor.js";
import { checkFinite, silence } from "../streaming/silence-and-nan.js";
import { only } from "../streaming/step-output.js";
import { Tensor, product } from "../tensor.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../binding.js").Values} Values */
/** @typedef {import("../contract.js").Axis} Axis */
/** @typedef {import("../contract.js").TensorSpec} TensorSpec */
/** @typedef {import("../streaming/step-output.js").Answer} Answer */
/** @typedef {import("../tensor.js").ErrorClass} ErrorClass */
/** @typedef {import("../tensor.js").TensorLike} TensorLike */
/** The input of one stream: without a batch axis. @typedef {TensorLike | Values} Frame */
/**
 * Frames of one shape, joined on the batch axis.
 *
 * @typedef {object} Group
 * @property {readonly number[]} streams The stream of each row.
 * @property {Tensors} batch The inputs by name, as `Session.run` takes them.
 * @property {boolean} single Whether the frames had no time axis.
 */

/**
 * Check that streams can be joined on the batch axis of tensors.
 *
 * @param {readonly TensorSpec[]} specs
 * @param {ErrorClass} ErrorType The class to raise.
 * @param {string} [remedy] What to do about a tensor without a time axis, for the message.
 */
export function checkBatchAxes(specs, ErrorType, remedy = "") {
  for (const spec of specs) {
    if (spec.axes.filter((axis) => axis === BATCH).length === 1) continue;
    throw new ErrorType(
      `${spec}: has no axis named ${BATCH}, so streams cannot share a call` +
        (spec.axes.includes(TIME) ? "" : remedy),
    );
  }
}

/**
 * Check and copy all frames, and join frames of one shape.
 *
 * @param {readonly TensorSpec[]} specs The inputs that frames have.
 * @param {Iterable<readonly [number, Frame]>} frames Stream and frame.
 * @returns {Group[]} One group for each shape.
 * @throws {InputError} If a frame does not fit, or holds NaN or infinity; its property `streams`
 *   has the streams.
 */
export function grouped(specs, frames) {
  const alike = /** @type {Map<string, [number, Tensors][]>} */ (new Map());
  const refused = /** @type {[number, InputError][]} */ ([]);
  for (const [stream, frame] of frames) {
    try {
      const checked = checkedFrame(specs, frame);
      const key = specs.map((spec) => String(checked[spec.name])).join();
      alike.set(key, [...(alike.get(key) ?? []), [stream, checked]]);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refused.push([stream, error]);
    }
  }
  const [first] = refused;
  if (first !== undefined) {
    const more = refused.length > 1 ? ` (and ${refused.length - 1} more)` : "";
    throw refusal(
      `stream ${first[0]}${more}`,
      first[1],
      refused.map(([stream]) => stream),
    );
  }
  return [...alike.values()].map((members) => joinedGroup(specs, members));
}

/**
 * Check one frame and copy it: the caller may write over the original at any time.
 *
 * @param {readonly TensorSpec[]} specs
 * @param {number} stream The stream of the frame, for the message.
 * @param {Frame} frame
 * @returns {Tensors}
 * @throws {InputError} If it does not fit, or holds NaN or infinity.
 */
export function owned(specs, stream, frame) {
  try {
    return checkedFrame(specs, frame);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw refusal(`stream ${stream}`, error, [stream]);
  }
}

/**
 * Split the outputs of a group into those of each stream.
 *
 * @param {readonly TensorSpec[]} specs The data outputs of the model.
 * @param {Tensors} outputs
 * @param {Group} group
 * @returns {Answer[]}
 */
export function takenApart(specs, outputs, { streams, single }) {
  const answers = streams.map(() => /** @type {Tensors} */ (Object.create(null)));
  for (const spec of specs) {
    const value = /** @type {Tensor} */ (outputs[spec.name]);
    const at = spec.axes.indexOf(BATCH);
    const rest = spec.axes.toSpliced(at, 1);
    splitRows(value, at).forEach((row, index) => {
      const shape = row.shape.toSpliced(at, 1);
      const time = single ? rest.indexOf(TIME) : -1;
      const answer = /** @type {Tensors} */ (answers[index]);
      answer[spec.name] = row.reshape(time < 0 ? shape : shape.toSpliced(time, 1));
    });
  }
  return answers.map(only);
}

/**
 * Join tensors whose axis `at` has one row.
 *
 * @param {readonly Tensor[]} rows One or more of one shape and dtype.
 * @param {number} at
 * @returns {Tensor}
 */
export function joinRows(rows, at) {
  const [first] = /** @type {readonly [Tensor]} */ (rows);
  const made = Tensor.zeros(first.dtype, first.shape.with(at, rows.length));
  const outer = product(first.shape.slice(0, at));
  const inner = product(first.shape.slice(at + 1));
  rows.forEach((row, index) => {
    for (let part = 0; part < outer; part++) {
      const values = row.data.subarray(part * inner, (part + 1) * inner);
      made.data.set(/** @type {never} */ (values), (part * rows.length + index) * inner);
    }
  });
  return made;
}

/**
 * Split a tensor into its rows, each with an axis `at` of one row.
 *
 * @param {Tensor} tensor
 * @param {number} at
 * @returns {Tensor[]}
 */
export function splitRows(tensor, at) {
  const count = tensor.shape[at] ?? 0;
  const outer = product(tensor.shape.slice(0, at));
  const inner = product(tensor.shape.slice(at + 1));
  return Array.from({ length: count }, (_, index) => {
    const made = Tensor.zeros(tensor.dtype, tensor.shape.with(at, 1));
    for (let part = 0; part < outer; part++) {
      const start = (part * count + index) * inner;
      const values = tensor.data.subarray(start, start + inner);
      made.data.set(/** @type {never} */ (values), part * inner);
    }
    return made;
  });
}

/**
 * @param {string} who
 * @param {InputError} error
 * @param {readonly number[]} streams
 */
function refusal(who, error, streams) {
  const made = new InputError(`${who}: ${error.message}`, { cause: error });
  made.streams = streams;
  return made;
}

/**
 * @param {readonly TensorSpec[]} specs
 * @param {readonly [number, Tensors][]} members
 * @returns {Group}
 */
function joinedGroup(specs, members) {
  const batch = /** @type {Tensors} */ (Object.create(null));
  let single = false;
  for (const spec of specs) {
    const rows = members.map(([, checked]) => /** @type {Tensor} */ (checked[spec.name]));
    const [{ shape }] = /** @type {[Tensor]} */ (rows);
    const oneStep = spec.axes.includes(TIME) && shape.length === spec.axes.length - 2;
    single ||= oneStep;
    const whole = /** @type {number[]} */ ([...shape]);
    spec.axes.forEach((axis, index) => {
      if (axis === BATCH || (oneStep && axis === TIME)) whole.splice(index, 0, 1);
    });
    const at = spec.axes.indexOf(BATCH);
    batch[spec.name] = joinRows(
      rows.map((row) => row.reshape(whole)),
      at,
    );
  }
  return { streams: members.map(([stream]) => stream), batch, single };
}

/**
 * @param {readonly TensorSpec[]} specs
 * @param {Frame} frame
 * @returns {Tensors} Copies.
 */
function checkedFrame(specs, frame) {
  const given = byName(specs, frame);
  const names = Object.keys(given);
  if (names.length !== specs.length || !specs.every((spec) => Object.hasOwn(given, spec.name))) {
    throw new InputError(
      `expected the inputs ${specs.map((spec) => spec.name).join(", ")}; got ${names.join(", ")}`,
    );
  }
  const checked = /** @type {Tensors} */ (Object.create(null));
  const sizes = /** @type {Map<Axis, number>} */ (new Map());
  for (const spec of specs) {
    const tensor = fitting(spec, given[spec.name]);
    checkSizes(spec, tensor, sizes);
    checked[spec.name] = silence(tensor.copy());
  }
  return checked;
}

/**
 * Check that inputs agree on the sizes of their named axes.
 *
 * @param {TensorSpec} spec
 * @param {Tensor} tensor
 * @param {Map<Axis, number>} sizes
 */
function checkSizes(spec, { shape }, sizes) {
  let [axes, own] = [frameAxes(spec, shape.length), shape];
  if (spec.axes.includes(TIME) && !axes.includes(TIME)) {
    [axes, own] = [
      [TIME, ...axes],
      [1, ...shape],
    ];
  }
  axes.forEach((axis, index) => {
    const size = own[index] ?? 0;
    if (typeof axis === "number") return;
    const known = sizes.get(axis) ?? size;
    sizes.set(axis, known);
    if (known === size) return;
    throw new InputError(
      `${spec.name}: expected ${axis}=${known}, as the other inputs have it, got ${size}`,
    );
  });
}

/**
 * Return the axes of a frame: without batch, and without time if the rank shows it.
 *
 * @param {TensorSpec} spec
 * @param {number} rank
 */
function frameAxes(spec, rank) {
  const axes = spec.axes.filter((axis) => axis !== BATCH);
  return rank === axes.length ? axes : axes.filter((axis) => axis !== TIME);
}

/**
 * @param {TensorSpec} spec
 * @param {unknown} value
 */
function fitting(spec, value) {
  const tensor = inputTensor(spec, value, InputError);
  const axes = frameAxes(spec, tensor.shape.length);
  const fits =
    tensor.dtype === spec.dtype &&
    tensor.shape.length === axes.length &&
    axes.every((axis, index) => {
      const size = tensor.shape[index] ?? 0;
      return typeof axis === "number" ? size === axis : size > 0;
    });
  if (!fits) {
    const all = spec.axes.filter((axis) => axis !== BATCH);
    const forms = [all.filter((axis) => axis !== TIME), all];
    const either = [...new Set(forms.map((form) => `${spec.dtype}[${form.join(", ")}]`))];
    throw new InputError(
      `${spec.name}: expected ${either.join(" or ")}, got ${tensor}; frames of a ` +
        "pool have no batch axis",
    );
  }
  checkFinite(spec, tensor);
  return tensor;
}
