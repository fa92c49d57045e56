/** Decoders and transducers write what they write in Python, and refuse what Python refuses. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Decoded, Session, Tensor } from "../src/index.js";
import { BeamSearch, GreedySearch } from "../src/decoding/search.js";
import { readLogits } from "../src/decoding/symbols.js";
import { cases, modelPath, openWithZeros } from "./helpers/models.js";

const { numbers, decoded, refused } = cases.decoders;

/** Remedies that are code: Python's, and what stands for it here. */
const REMEDIES = [
  [/: pass inputs=\{.*\}$/u, /: pass \{ inputs: \{ .* \} \}$/u],
  [/ None, got (-?\d+)$/u, / null, got (-?\d+)$/u],
];
const NAMES = { max_steps: "maxSteps", length_penalty: "lengthPenalty", max_symbols: "maxSymbols" };
const inJavaScript = (text) => text.replace(/^\w+/u, (name) => NAMES[name] ?? name);

function tensorOf({ random: shape }) {
  const key = `[${shape.join(", ")}]`;
  return new Tensor("float32", Float32Array.from(numbers[key]), shape);
}

async function attempt(session, { frames, start, ...given }) {
  const options = {};
  for (const [name, value] of Object.entries(given)) {
    if (["model", "hypotheses", "error", "message"].includes(name)) continue;
    options[NAMES[name] ?? name] = value;
  }
  options.state &&= options.state.map(tensorOf);
  if (options.inputs !== undefined) {
    const named = Object.entries(options.inputs).map(([name, one]) => [name, tensorOf(one)]);
    options.inputs = Object.fromEntries(named);
  }
  if (frames === undefined) return session.decode(start, options);
  return session.transduce(tensorOf(frames), start === undefined ? options : { ...options, start });
}

for (const { hypotheses, ...given } of decoded) {
  test(`as in Python: ${JSON.stringify(given)}`, async () => {
    const session = await Session.open(modelPath(given.model), { engine: "wasm" });
    const written = await attempt(session, given);
    assert.ok(written instanceof Decoded);
    const plain = (rows) => rows.map((one) => one.map((made) => ({ ...made, score: 0 })));
    assert.deepEqual(plain(written.hypotheses), plain(hypotheses));
    written.hypotheses.flat().forEach(({ score }, at) => {
      assert.ok(Math.abs(score - hypotheses.flat()[at].score) < 1e-4);
    });
    assert.deepEqual(
      written.tokens,
      hypotheses.map(([best]) => best.tokens),
    );
  });
}

for (const { error, message, ...given } of refused) {
  test(`refused as in Python: ${message}`, async () => {
    const { engine, session } = await openWithZeros(given.model);
    await assert.rejects(attempt(session, given), (raised) => {
      assert.equal(raised.name, error);
      const [python, own] = REMEDIES.find(([one]) => one.test(message)) ?? [/$/u, /$/u];
      assert.match(raised.message, own);
      assert.equal(raised.message.replace(own, ""), inJavaScript(message).replace(python, ""));
      return true;
    });
    assert.equal(engine.runs, 0);
  });
}

const row = (...logits) => Float64Array.from(logits);

test("of equal logits the lowest symbol is taken", () => {
  assert.deepEqual(new GreedySearch(1, []).advance([row(1, 3, 3)]).symbols, [1]);
  const beam = new BeamSearch(1, [], 2, 0);
  assert.deepEqual(beam.advance([row(0, 0, 0), row(0, 0, 0)]).symbols, [0, 1]);
  const [best, second] = beam.hypotheses()[0];
  assert.deepEqual([best.tokens, second.tokens], [[0], [1]]);
});

test("a masked symbol is never chosen, and a beam may be wider than the symbols", () => {
  const beam = new BeamSearch(1, [2], 4, 0);
  beam.advance([row(0, -Infinity, 0), row(), row(), row()]);
  assert.deepEqual(beam.live, [true, false, false, false]);
  assert.deepEqual(
    beam.hypotheses()[0].map(({ tokens, finished }) => [tokens, finished]),
    [
      [[0], false],
      [[], true],
    ],
  );
});

for (const [values, shown] of [
  [[NaN, 1], "nan"],
  [[-Infinity, -Infinity], "-inf"],
  [[Infinity, 1], "inf"],
]) {
  test(`logits of ${values} choose nothing`, () => {
    const spec = (name, dtype) => ({ name, dtype, axes: ["batch"] });
    const ports = { symbol: spec("x", "int64"), logits: spec("y", "float32") };
    const answer = new Tensor("float32", Float32Array.from(values), [1, 2]);
    assert.throws(() => readLogits(ports, answer, [true]), {
      name: "EngineError",
      message: `y: expected logits to choose by, got ${shown} as the highest of row 0`,
    });
    assert.equal(readLogits(ports, answer, [false]).length, 1);
  });
}
