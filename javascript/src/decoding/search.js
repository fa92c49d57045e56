/** Which symbol follows: greedy search, and beam search. */

/**
 * One sequence of symbols that a decoder wrote.
 *
 * @typedef {object} Hypothesis
 * @property {readonly number[]} tokens The symbols, without those of the start and without the stop
 *   symbol.
 * @property {number} score The sum of the log-probabilities of its symbols, the stop symbol
 *   included.
 * @property {boolean} finished Whether it ends with a stop symbol; false where it was cut off by
 *   `maxSteps`.
 * @property {readonly number[]} frames For a transducer, the frame at which each symbol was
 *   written; else empty.
 */
/**
 * What a search chose in one step.
 *
 * @typedef {object} SymbolChoice
 * @property {readonly number[]} symbols The next symbol of each row of the stream.
 * @property {readonly number[]} [parents] The row that each row continues; undefined if each
 *   continues itself.
 */
/**
 * Chooses the next symbols from the logits of a step.
 *
 * @typedef {object} Search
 * @property {readonly boolean[]} live Which rows of the stream still need logits.
 * @property {(logits: readonly Float64Array[]) => SymbolChoice} advance Choose the next symbol of
 *   each row.
 * @property {() => Hypothesis[][]} hypotheses Those of each sequence, the best first.
 */
/**
 * A hypothesis that is being written, which continues another.
 *
 * @typedef {object} Written
 * @property {number} score `-Infinity` for one that only holds the place of another.
 * @property {number} length Symbols, the stop symbol included.
 * @property {boolean} finished
 * @property {number} rank
 * @property {number} parent The place of the hypothesis that it continues.
 * @property {number} symbol
 * @property {readonly number[]} tokens
 */

/** @type {Written} */
const NOTHING = {
  score: -Infinity,
  length: 0,
  finished: false,
  rank: -Infinity,
  parent: 0,
  symbol: 0,
  tokens: [],
};

/**
 * Takes the most likely symbol, and the first of several that are equally likely.
 *
 * @implements {Search}
 */
export class GreedySearch {
  #stops;
  #scores;
  #tokens;

  /**
   * @param {number} batch Sequences, empty at first.
   * @param {readonly number[]} stops The symbols that end one.
   */
  constructor(batch, stops) {
    this.live = Array.from({ length: batch }, () => true);
    this.#stops = stops;
    this.#scores = this.live.map(() => 0);
    this.#tokens = this.live.map(() => /** @type {number[]} */ ([]));
  }

  /** @param {readonly Float64Array[]} logits */
  advance(logits) {
    const symbols = logits.map(highest);
    symbols.forEach((symbol, row) => {
      if (this.live[row] !== true) return;
      this.#scores[row] = (this.#scores[row] ?? 0) + chosenScore(logits[row] ?? new Float64Array());
      this.live[row] = !this.#stops.includes(symbol);
      if (this.live[row]) this.#tokens[row]?.push(symbol);
    });
    return { symbols };
  }

  hypotheses() {
    return this.#tokens.map((tokens, row) => {
      const [score, finished] = [this.#scores[row] ?? 0, this.live[row] !== true];
      return [{ tokens, score, finished, frames: [] }];
    });
  }
}

/**
 * Keeps the `width` best hypotheses of each sequence; a finished one stays among them.
 *
 * A hypothesis of n symbols, the stop symbol included, ranks by `score / n**lengthPenalty`. Among
 * equals the one whose parent ranks higher comes first, then the one with the lower symbol.
 *
 * @implements {Search}
 */
export class BeamSearch {
  #stops;
  #width;
  #penalty;
  /** @type {Written[][]} */
  #beams;

  /**
   * @param {number} batch Sequences, empty at first, each in `width` rows of the stream.
   * @param {readonly number[]} stops
   * @param {number} width
   * @param {number} lengthPenalty
   */
  constructor(batch, stops, width, lengthPenalty) {
    this.#stops = stops;
    this.#width = width;
    this.#penalty = lengthPenalty;
    // All rows are alike at first: one of them counts.
    this.#beams = Array.from({ length: batch }, () =>
      Array.from({ length: width }, (_, place) => ({ ...NOTHING, score: place ? -Infinity : 0 })),
    );
  }

  get live() {
    return this.#beams.flat().map(isLive);
  }

  /** @param {readonly Float64Array[]} logits */
  advance(logits) {
    this.#beams = this.#beams.map((beam, row) => this.#best(beam, logits, row * this.#width));
    return {
      symbols: this.#beams.flat().map(({ symbol }) => symbol),
      parents: this.#beams.flatMap((beam, row) =>
        beam.map(({ parent }) => row * this.#width + parent),
      ),
    };
  }

  hypotheses() {
    return this.#beams.map((beam) =>
      beam
        .filter(({ score }) => score > -Infinity)
        .map(({ tokens, score, finished }) => ({ tokens, score, finished, frames: [] })),
    );
  }

  /**
   * Return the best continuations of a sequence, the best first; among equals the first comes
   * first.
   *
   * @param {readonly Written[]} beam
   * @param {readonly Float64Array[]} logits
   * @param {number} from The row of its first hypothesis.
   * @returns {Written[]}
   */
  #best(beam, logits, from) {
    const best = Array.from({ length: this.#width }, () => NOTHING);
    beam.forEach((hypothesis, parent) => {
      if (hypothesis.finished) {
        const rank = hypothesis.score / hypothesis.length ** this.#penalty;
        insert(best, rank, () => ({ ...hypothesis, rank, parent, symbol: 0 })); // goes on as it is
      } else if (isLive(hypothesis)) {
        const length = hypothesis.length + 1;
        const weight = length ** this.#penalty;
        logProbabilities(logits[from + parent] ?? new Float64Array()).forEach((added, symbol) => {
          const score = hypothesis.score + added;
          const rank = score / weight;
          insert(best, rank, () => {
            const finished = this.#stops.includes(symbol);
            const tokens = finished ? hypothesis.tokens : [...hypothesis.tokens, symbol];
            return { score, length, finished, rank, parent, symbol, tokens };
          });
        });
      }
    });
    return best;
  }
}

/** @param {Written} hypothesis */
function isLive({ finished, score }) {
  return !finished && score > -Infinity;
}

/**
 * Put a hypothesis behind those that rank as high or higher, in place of the last.
 *
 * @param {Written[]} best
 * @param {number} rank
 * @param {() => Written} make
 */
function insert(best, rank, make) {
  if (!(rank > (best.at(-1)?.rank ?? Infinity))) return;
  best.pop();
  const place = best.findIndex((other) => other.rank < rank);
  best.splice(place < 0 ? best.length : place, 0, make());
}

/**
 * Return the place of the highest number; of several, the first.
 *
 * @param {Float64Array} numbers
 */
export function highest(numbers) {
  return numbers.reduce((best, number, at) => (number > (numbers[best] ?? NaN) ? at : best), 0);
}

/**
 * Return the log-probability of the most likely symbol.
 *
 * @param {Float64Array} logits
 */
export function chosenScore(logits) {
  const top = logits[highest(logits)] ?? NaN;
  return -Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
}

/**
 * Return log(softmax(logits)).
 *
 * @param {Float64Array} logits
 */
function logProbabilities(logits) {
  const top = logits[highest(logits)] ?? NaN;
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
  return logits.map((logit) => logit - top - total);
}
