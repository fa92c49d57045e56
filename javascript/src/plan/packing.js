/** `LayerWeights`: the weights of one direction of one recurrent layer. */

/** @typedef {import("./nd-array.js").NdArray} NdArray */
/** @typedef {"rnn" | "lstm" | "gru" | "gru_reset_before"} PlanCell */

export class LayerWeights {
  /**
   * float32, the gates in PyTorch's order.
   *
   * @param {object} weights
   * @param {PlanCell} weights.cell
   * @param {"tanh" | "relu"} weights.nonlinearity
   * @param {NdArray} weights.weightIh [gates*hidden, input].
   * @param {NdArray} weights.weightHh [gates*hidden, state].
   * @param {NdArray | undefined} [weights.bias] [gates*hidden], of the input's product; of both
   *   where they are simply added.
   * @param {NdArray | undefined} [weights.biasN] [hidden], what the reset gate of a GRU scales.
   * @param {NdArray | undefined} [weights.projection] [state, hidden].
   */
  constructor({ cell, nonlinearity, weightIh, weightHh, bias, biasN, projection }) {
    this.cell = cell;
    this.nonlinearity = nonlinearity;
    this.weightIh = weightIh;
    this.weightHh = weightHh;
    this.bias = bias;
    this.biasN = biasN;
    this.projection = projection;
  }

  /** Features of the state c, and of h where there is no projection. */
  get hiddenSize() {
    const gates = { rnn: 1, lstm: 4, gru: 3, gru_reset_before: 3 }[this.cell];
    return Math.floor(this.weightIh.shape[0] / gates);
  }

  /** Features of the state h, and of the output. */
  get stateSize() {
    return this.weightHh.shape[1];
  }
}
