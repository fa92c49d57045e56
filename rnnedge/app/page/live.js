/** The part of the page that steps a stream, draws it, and measures how long a step takes. */

import { MOST_LINES, Plot } from "./plot.js";
import { constantsOf, microphone, vectorsAgain, waves } from "./signals.js";

/** @typedef {import("./rnnedge/index.js").Session} Session */
/** @typedef {import("./signals.js").Signal} Signal */

/** A clock of a browser may be as coarse as 0.1 ms: so long a burst of steps is timed as one. */
const BURST_MS = 2;
const BURSTS = 100;
/** Steps that are caught up with after a pause. */
const MOST_AT_ONCE = 2000;

/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));

export class Live {
  #session;
  #inputs;
  /** @type {any} */ #stream;
  /** @type {any} */ #twin;
  /** @type {Signal | undefined} */ #signal;
  /** @type {Plot} */ #given;
  /** @type {Plot} */ #answered;
  #running = true;
  #busy = false;
  #steps = 0;
  #owed = 0;
  #before = 0;
  #bursts = /** @type {number[]} */ ([]);
  #inBurst = 1;
  #measured = 0;

  /**
   * @param {Session} session
   * @param {ReadonlyMap<string, import("./rnnedge/index.js").Tensor> | undefined} inputs Those of
   *   a set of vectors.
   */
  constructor(session, inputs) {
    this.#session = session;
    this.#inputs = inputs;
    this.#given = new Plot(element("input-plot"), this.#features(session.interface.dataInputs[0]));
    this.#answered = new Plot(
      element("output-plot"),
      this.#features(session.interface.dataOutputs[0]),
    );
  }

  /** Show what can be run step by step, and start. */
  async start() {
    element("live").hidden = false;
    try {
      this.#open();
    } catch (error) {
      await this.#whole(error);
      return;
    }
    const own = this.#isPlain() ? [["waves", "generated waves"]] : [];
    const others = [...(this.#inputs ? [["vectors", "the vectors' inputs"]] : [])];
    const sound = this.#isPlain() ? [["microphone", "the microphone"]] : [];
    for (const [value, text] of [...own, ...others, ...sound]) {
      element("source").append(new Option(text, value));
    }
    element("source").onchange = () => this.#choose(element("source").value);
    element("start").onclick = () => this.#toggle();
    element("reset").onclick = () => this.#reset();
    this.#name("input-names", this.#session.interface.dataInputs[0]);
    this.#name("output-names", this.#session.interface.dataOutputs[0]);
    await this.#choose(element("source").value);
    this.#before = performance.now();
    requestAnimationFrame(() => this.#tick());
  }

  #open() {
    const constants = constantsOf(this.#session, this.#inputs);
    const options = constants === undefined ? {} : { constants };
    this.#stream = this.#session.stream(options);
    this.#twin = this.#session.stream(options);
  }

  /** Whether a frame is an array of numbers of one size. */
  #isPlain() {
    const { dataInputs } = this.#session.interface;
    const [input] = dataInputs;
    return dataInputs.length === 1 && input.dtype === "float32" && this.#features(input) > 0;
  }

  /** @param {import("./rnnedge/index.js").TensorSpec} spec */
  #features({ axes }) {
    return axes
      .filter((axis) => axis !== "time" && axis !== "batch")
      .reduce((/** @type {number} */ all, axis) => (typeof axis === "number" ? all * axis : 0), 1);
  }

  /**
   * @param {string} id
   * @param {import("./rnnedge/index.js").TensorSpec} spec
   */
  #name(id, spec) {
    const features = this.#features(spec);
    const shown = features > MOST_LINES ? `, the first ${MOST_LINES} of ${features} numbers` : "";
    element(id).textContent = `: ${spec.name}${shown}`;
  }

  /** @param {string} name */
  async #choose(name) {
    this.#signal?.close();
    this.#signal = undefined;
    element("remark").textContent = "";
    try {
      const features = this.#features(this.#session.interface.dataInputs[0]);
      if (name === "microphone") this.#signal = await microphone(features);
      else if (name === "vectors") this.#signal = vectorsAgain(this.#session, this.#inputs);
      else this.#signal = waves(features);
    } catch (error) {
      element("source").value = element("source").options[0].value;
      await this.#choose(element("source").value);
      element("remark").textContent = `The microphone cannot be used: ${error.message}`;
      return;
    }
    element("rate").disabled = this.#signal.live;
    element("about-signal").textContent = this.#signal.about;
    this.#owed = 0;
  }

  #toggle() {
    this.#running = !this.#running;
    element("start").textContent = this.#running ? "Stop" : "Start";
    this.#before = performance.now();
    if (this.#running) requestAnimationFrame(() => this.#tick());
  }

  #reset() {
    if (this.#busy) return void setTimeout(() => this.#reset(), 10);
    this.#stream.reset();
    this.#steps = 0;
    this.#given.clear();
    this.#answered.clear();
  }

  /** Run the steps that are due, then draw. */
  async #tick() {
    if (!this.#running) return;
    const now = performance.now();
    this.#owed += ((now - this.#before) / 1000) * Number(element("rate").value);
    this.#before = now;
    this.#busy = true;
    try {
      await this.#due();
      if (now - this.#measured > 500) await this.#measure(now);
    } catch (error) {
      this.#running = false;
      element("start").textContent = "Start";
      element("remark").textContent = String(error?.message ?? error);
    } finally {
      this.#busy = false;
    }
    this.#given.draw();
    this.#answered.draw();
    element("steps").textContent = this.#steps.toLocaleString("en");
    if (this.#running) requestAnimationFrame(() => this.#tick());
  }

  async #due() {
    const signal = this.#signal;
    if (signal === undefined) return;
    const steps = signal.live ? signal.waiting() : Math.floor(this.#owed);
    for (let step = 0; step < Math.min(steps, MOST_AT_ONCE); step++) {
      const frame = signal.next();
      if (frame === undefined) break;
      this.#given.add(numbersOf(frame));
      this.#answered.add(numbersOf(await this.#step(this.#stream, frame)));
      this.#steps += 1;
    }
    this.#owed -= Math.floor(this.#owed);
  }

  /**
   * @param {any} stream
   * @param {unknown} frame
   */
  #step(stream, frame) {
    return this.#session.engine.synchronous ? stream.stepSync(frame) : stream.step(frame);
  }

  /**
   * Time a few bursts of steps, on a second stream so that the first one's state stays.
   *
   * @param {number} now
   */
  async #measure(now) {
    this.#measured = now;
    const source = this.#isPlain()
      ? waves(this.#features(this.#session.interface.dataInputs[0]))
      : vectorsAgain(this.#session, this.#inputs);
    const frame = source.next();
    for (let burst = 0; burst < 3; burst++) {
      const start = performance.now();
      for (let step = 0; step < this.#inBurst; step++) {
        const answer = this.#step(this.#twin, frame);
        if (!this.#session.engine.synchronous) await answer;
      }
      const took = performance.now() - start;
      if (took < BURST_MS && this.#inBurst < 1e6) this.#inBurst *= 2;
      else this.#bursts.push((took / this.#inBurst) * 1000);
    }
    this.#bursts.splice(0, Math.max(this.#bursts.length - BURSTS, 0));
    if (this.#bursts.length === 0) return;
    const sorted = [...this.#bursts].sort((a, b) => a - b);
    const median = sorted[sorted.length >> 1];
    element("median").textContent = micro(median);
    element("slowest").textContent = micro(sorted[sorted.length - 1]);
    const rate = Number(element("rate").value);
    const times = 1e6 / median / rate;
    element("factor").textContent = this.#signal?.live
      ? "–"
      : `${Number(times.toPrecision(2)).toLocaleString("en")} times`;
  }

  /**
   * Show a whole sequence of a model that cannot be stepped.
   *
   * @param {Error} error Why not.
   */
  async #whole(error) {
    for (const id of ["reset", "source", "rate"])
      element(id).closest("label, button").hidden = true;
    const run = async () => {
      const inputs = new Map(this.#inputs);
      const { states, lengths, dataInputs, dataOutputs } = this.#session.interface;
      const feeds = Object.fromEntries(dataInputs.map(({ name }) => [name, inputs.get(name)]));
      const options = {
        ...(lengths === null ? {} : { lengths: inputs.get(lengths) }),
        ...(states.length ? { state: states.map(({ input }) => inputs.get(input)) } : {}),
      };
      const start = performance.now();
      let [runs, took, outputs] = [0, 0, /** @type {any} */ ({})];
      for (; took < 10 * BURST_MS; took = performance.now() - start, runs++) {
        ({ outputs } = await this.#session.run(feeds, options));
      }
      this.#given.clear();
      this.#answered.clear();
      show(this.#given, dataInputs[0], feeds[dataInputs[0].name]);
      show(this.#answered, dataOutputs[0], outputs[dataOutputs[0].name]);
      element("steps").textContent = String(runs);
      element("median").textContent = micro((took / runs) * 1000);
    };
    element("start").textContent = "Run again";
    element("start").onclick = () => void run();
    const why = this.#session.hindrances.join("; ") || error.message;
    element("about-signal").textContent =
      `This model cannot be run step by step (${why}): here it runs a whole sequence of the vectors.`;
    this.#name("input-names", this.#session.interface.dataInputs[0]);
    this.#name("output-names", this.#session.interface.dataOutputs[0]);
    element("median").previousElementSibling.textContent = "the sequence";
    for (const id of ["steps", "slowest", "factor"]) element(id).parentElement.hidden = true;
    if (this.#inputs !== undefined) await run();
  }
}

/**
 * Draw the first row of a whole sequence.
 *
 * @param {Plot} plot
 * @param {import("./rnnedge/index.js").TensorSpec} spec
 * @param {any} tensor
 */
function show(plot, { axes }, tensor) {
  const time = axes.indexOf("time");
  const steps = time < 0 ? 1 : tensor.shape[time];
  const batch = axes.indexOf("batch");
  const features = tensor.size / steps / (batch < 0 ? 1 : tensor.shape[batch]);
  const apart = tensor.shape.slice(time + 1).reduce((a, b) => a * b, 1);
  plot.isWhole = true;
  for (let step = 0; step < steps; step++) {
    const from = step * apart;
    plot.add(Array.from(tensor.data.slice(from, from + features), Number));
  }
  plot.draw();
}

/**
 * The numbers that are drawn of a frame or an answer: those of its first tensor.
 *
 * @param {any} value
 * @returns {ArrayLike<number>}
 */
function numbersOf(value) {
  if (ArrayBuffer.isView(value)) return /** @type {Float32Array} */ (value);
  if (value.data !== undefined) return value.data;
  return /** @type {any} */ (Object.values(value)[0]).data;
}

/** @param {number} microseconds */
function micro(microseconds) {
  return microseconds < 1000
    ? `${Number(microseconds.toPrecision(2))} µs`
    : `${Number((microseconds / 1000).toPrecision(2))} ms`;
}
