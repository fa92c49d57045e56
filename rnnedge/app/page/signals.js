/** What a stream is fed: waves made here, the inputs of the vectors, or the microphone. */

import { Tensor } from "./rnnedge/index.js";

const TIME = "time";
const BATCH = "batch";
/** Frames of the microphone that wait; older ones are dropped. */
const MOST_WAITING = 4000;

/**
 * One source of frames.
 *
 * @typedef {object} Signal
 * @property {string} about A sentence on what it is.
 * @property {() => Record<string, unknown> | Float32Array | undefined} next The next frame;
 *   undefined while there is none.
 * @property {boolean} live Whether frames come at their own time.
 * @property {() => number} waiting Frames that wait.
 * @property {() => void} close
 */

/**
 * Waves of slowly changing height, each feature with its own frequency.
 *
 * @param {number} features
 * @returns {Signal}
 */
export function waves(features) {
  let step = 0;
  return {
    about:
      "Waves that this page makes, a frequency for each feature. The model keeps its state from " +
      "step to step.",
    live: false,
    next: () => {
      const frame = new Float32Array(features);
      const loud = 0.6 + 0.4 * Math.sin(step / 97);
      for (let k = 0; k < features; k++) {
        frame[k] = loud * Math.sin((step * (1 + 0.37 * k)) / 29 + k);
      }
      step += 1;
      return frame;
    },
    waiting: () => 0,
    close: () => undefined,
  };
}

/**
 * The inputs of a set of vectors, step by step and over again.
 *
 * @param {import("./rnnedge/index.js").Session} session
 * @param {ReadonlyMap<string, Tensor>} inputs
 * @returns {Signal}
 */
export function vectorsAgain(session, inputs) {
  const specs = session.interface.dataInputs.filter(({ axes }) => axes.includes(TIME));
  const lengths = specs.map(({ name, axes }) => inputs.get(name)?.shape[axes.indexOf(TIME)] ?? 1);
  const steps = Math.max(1, Math.min(...lengths));
  let step = 0;
  return {
    about: "The inputs of the vectors, step by step, over and over. The model keeps its state.",
    live: false,
    next: () => {
      const frame = Object.fromEntries(
        specs.map((spec) => [spec.name, stepOf(spec, inputs.get(spec.name), step % steps)]),
      );
      step += 1;
      return frame;
    },
    waiting: () => 0,
    close: () => undefined,
  };
}

/**
 * The inputs that are the same at every step, as the vectors have them.
 *
 * @param {import("./rnnedge/index.js").Session} session
 * @param {ReadonlyMap<string, Tensor> | undefined} inputs
 */
export function constantsOf(session, inputs) {
  const fixed = session.interface.dataInputs.filter(
    ({ axes }) => !axes.includes(TIME) && !axes.includes(BATCH),
  );
  if (fixed.length === 0 || inputs === undefined) return undefined;
  return Object.fromEntries(fixed.map(({ name }) => [name, inputs.get(name)]));
}

/**
 * One step of the first row of an input.
 *
 * @param {import("./rnnedge/index.js").TensorSpec} spec
 * @param {Tensor} tensor
 * @param {number} step
 */
function stepOf({ axes }, tensor, step) {
  const [time, batch] = [axes.indexOf(TIME), axes.indexOf(BATCH)];
  const shape = tensor.shape.map((size, axis) => (axis === time || axis === batch ? 1 : size));
  const made = Tensor.zeros(tensor.dtype, shape);
  const strides = tensor.shape.map((_, axis) =>
    tensor.shape.slice(axis + 1).reduce((all, size) => all * size, 1),
  );
  for (let index = 0; index < made.size; index++) {
    let [rest, from] = [index, step * strides[time]];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += (rest % shape[axis]) * strides[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    made.data[index] = tensor.data[from];
  }
  return made.reshape(shape.toSpliced(time, 1));
}

/**
 * The microphone: its samples, as many a frame as the model has features.
 *
 * @param {number} features
 * @returns {Promise<Signal>}
 */
export async function microphone(features) {
  const devices = navigator.mediaDevices;
  if (devices === undefined) {
    throw new Error("a browser gives the microphone to https and localhost alone");
  }
  const media = await devices.getUserMedia({ audio: true });
  const context = new AudioContext();
  await context.audioWorklet.addModule("microphone.js");
  const worklet = new AudioWorkletNode(context, "samples");
  context.createMediaStreamSource(media).connect(worklet);
  const waiting = /** @type {Float32Array[]} */ ([]);
  let frame = new Float32Array(features);
  let filled = 0;
  worklet.port.onmessage = ({ data }) => {
    for (const sample of data) {
      frame[filled++] = sample;
      if (filled < features) continue;
      waiting.push(frame);
      frame = new Float32Array(features);
      filled = 0;
    }
    waiting.splice(0, Math.max(waiting.length - MOST_WAITING, 0));
  };
  const per = features === 1 ? "one sample" : `${features} samples`;
  return {
    about:
      `The microphone at ${context.sampleRate} Hz, ${per} a step. The sound stays in this page. ` +
      "A model that was trained on other features than samples hears nothing of sense in it.",
    live: true,
    next: () => waiting.shift(),
    waiting: () => waiting.length,
    close: () => {
      for (const track of media.getTracks()) track.stop();
      void context.close();
    },
  };
}
