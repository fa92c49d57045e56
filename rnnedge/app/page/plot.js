/** A plot of the last steps on a canvas, in the colours of the page. */

/** Lines that one plot has; of more features, the first. */
export const MOST_LINES = 8;
const STEPS = 400;
/** Steps that a plot is wide at least. */
const NARROWEST = 40;

export class Plot {
  /** Whether what there is fills the plot, instead of moving through it. */
  isWhole = false;
  #canvas;
  #lines;
  #values;
  #next = 0;
  #count = 0;
  #range = 1e-6;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} features Numbers of one step.
   */
  constructor(canvas, features) {
    this.#canvas = canvas;
    this.#lines = Math.min(features, MOST_LINES);
    this.#values = Array.from({ length: this.#lines }, () => new Float32Array(STEPS));
  }

  /**
   * Add a step.
   *
   * @param {ArrayLike<number>} numbers
   */
  add(numbers) {
    for (let line = 0; line < this.#lines; line++) {
      const value = Number(numbers[line]);
      this.#values[line][this.#next] = value;
      if (Number.isFinite(value)) this.#range = Math.max(this.#range, Math.abs(value));
    }
    this.#next = (this.#next + 1) % STEPS;
    this.#count = Math.min(this.#count + 1, STEPS);
  }

  /** Forget all steps. */
  clear() {
    this.#next = this.#count = 0;
    this.#range = 1e-6;
  }

  /** Draw what there is, at the size that the canvas has on the screen. */
  draw() {
    const canvas = this.#canvas;
    const scale = globalThis.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    if (context === null || width === 0) return;
    const style = getComputedStyle(canvas);
    context.scale(scale, scale);
    context.strokeStyle = style.getPropertyValue("--grid");
    context.beginPath();
    context.moveTo(0, height / 2);
    context.lineTo(width, height / 2);
    context.stroke();
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    for (let line = this.#lines - 1; line >= 0; line--) {
      context.strokeStyle = style.getPropertyValue(`--series-${line}`);
      this.#trace(context, this.#values[line], width, height);
    }
    context.fillStyle = style.getPropertyValue("--muted");
    context.font = `12px ${style.getPropertyValue("--sans")}`;
    context.fillText(`±${Number(this.#range.toPrecision(2))}`, 6, 15);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Float32Array} values
   * @param {number} width
   * @param {number} height
   */
  #trace(context, values, width, height) {
    context.beginPath();
    const wide = this.isWhole ? Math.max(this.#count, NARROWEST) : STEPS;
    for (let step = 0; step < this.#count; step++) {
      const value = values[(this.#next - this.#count + step + STEPS) % STEPS];
      const x = ((wide - this.#count + step) / (wide - 1)) * width;
      const y = height / 2 - (value / this.#range) * (height / 2 - 8);
      if (step === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.stroke();
  }
}
