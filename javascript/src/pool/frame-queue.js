/** `FrameQueue`: frames wait a short time for others, so that they run as one batch. */

import { StreamError } from "../errors.js";

/** @typedef {import("../binding.js").Tensors} Tensors */
/** @typedef {import("../streaming/step-output.js").Answer} Answer */
/**
 * The pool that a queue runs frames of.
 *
 * @typedef {object} Steps
 * @property {number} size How many streams are open.
 * @property {(stream: number) => boolean} has Whether a stream is open.
 * @property {(frames: ReadonlyMap<number, Tensors>) => Promise<ReadonlyMap<number, Answer>>} step
 */
/**
 * @typedef {object} Waiting
 * @property {number} stream
 * @property {Tensors} frame A checked copy.
 * @property {number} since When it was submitted.
 * @property {(answer: Answer) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/**
 * Runs frames of a pool. A batch runs when each open stream has a frame in it, when its oldest
 * frame has waited for `maxDelayMs`, or when `maxWaiting` frames are waiting. A stream has one
 * frame in a batch; its next frame waits for the next batch, and so do frames beyond `maxWaiting`.
 */
export class FrameQueue {
  #pool;
  #maxDelay;
  #maxWaiting;
  /** @type {Waiting[]} */
  #frames = [];
  /** How many frames of each stream are waiting. @type {Map<number, number>} */
  #of = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #closing = false;
  /** @type {Promise<void> | undefined} */
  #working;

  /**
   * @param {Steps} pool
   * @param {number} maxDelayMs
   * @param {number} maxWaiting
   */
  constructor(pool, maxDelayMs, maxWaiting) {
    this.#pool = pool;
    this.#maxDelay = maxDelayMs;
    this.#maxWaiting = maxWaiting;
  }

  /**
   * Add a frame.
   *
   * @param {number} stream
   * @param {Tensors} frame
   * @returns {Promise<Answer>} Its output.
   */
  put(stream, frame) {
    return new Promise((resolve, reject) => {
      this.#frames.push({ stream, frame, since: performance.now(), resolve, reject });
      this.#of.set(stream, (this.#of.get(stream) ?? 0) + 1);
      this.lookAgain();
    });
  }

  /** Check whether the waiting frames are a batch. */
  lookAgain() {
    if (this.#working !== undefined || this.#frames.length === 0) return;
    const [first] = /** @type {[Waiting]} */ (this.#frames);
    const left = this.#complete() ? 0 : first.since + this.#maxDelay - performance.now();
    clearTimeout(this.#timer);
    if (left > 0) {
      this.#timer = setTimeout(() => this.lookAgain(), left);
      return;
    }
    this.#working = this.#work();
  }

  /** Run the waiting frames, and end. */
  async close() {
    this.#closing = true;
    while (this.#frames.length || this.#working !== undefined) {
      this.lookAgain();
      await this.#working;
    }
  }

  /** Whether waiting longer would add nothing to the next batch. */
  #complete() {
    const full = this.#frames.length >= this.#maxWaiting;
    return full || this.#closing || this.#of.size >= this.#pool.size;
  }

  async #work() {
    await undefined; // what is submitted in one turn of the event loop is one batch
    const taken = /** @type {Map<number, Waiting>} */ (new Map());
    const later = /** @type {Waiting[]} */ ([]);
    for (const waiting of this.#frames) {
      if (taken.has(waiting.stream) || taken.size >= this.#maxWaiting) {
        later.push(waiting);
        continue;
      }
      taken.set(waiting.stream, waiting);
      const left = (this.#of.get(waiting.stream) ?? 0) - 1;
      if (left > 0) this.#of.set(waiting.stream, left);
      else this.#of.delete(waiting.stream);
    }
    this.#frames = later;
    await this.#answer(taken);
    this.#working = undefined;
    this.lookAgain();
  }

  /**
   * Step; if the model fails, step each stream alone, so that one does not affect others.
   *
   * @param {ReadonlyMap<number, Waiting>} batch
   * @returns {Promise<void>}
   */
  async #answer(batch) {
    const open = [...batch].filter(([stream, waiting]) => {
      if (this.#pool.has(stream)) return true;
      waiting.reject(new StreamError(`stream ${stream}: was closed while its frame waited`));
      return false;
    });
    if (open.length === 0) return;
    try {
      const answers = await this.#pool.step(
        new Map(open.map(([stream, waiting]) => [stream, waiting.frame])),
      );
      for (const [stream, waiting] of open) {
        waiting.resolve(/** @type {Answer} */ (answers.get(stream)));
      }
    } catch (error) {
      const [only] = open;
      if (open.length === 1 && only !== undefined && this.#pool.has(only[0])) {
        only[1].reject(error);
        return;
      }
      for (const entry of open) await this.#answer(new Map([entry]));
    }
  }
}
