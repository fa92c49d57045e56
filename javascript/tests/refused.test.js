/** What does not fit is refused before the engine sees it, with the words of the Python runtime. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Session } from "../src/index.js";
import { cases, openWithZeros, valueOf, valuesOf } from "./helpers/models.js";

/** What Tensors have no method for is told in words. */
const MOVED = /; its axis of \d+ stands at \d+, and belongs at \d+$/u;

/** Remedies that are code: Python's, and what stands for it here. */
const REMEDIES = [
  [/x\[[^\]]*\]$/u, /x\.reshape\(\[[\d, ]*\]\)$/u],
  [/exchanged: x\.swapaxes\(0, 1\)$/u, /exchanged$/u],
  [/; to move its axis of (\d+) there: np\.moveaxis\(x, (\d+), (\d+)\)$/u, MOVED],
  [/Session\.pool\(capacity=\.\.\.\)$/u, /Session\.pool\(\{ capacity \}\)$/u],
  [/Session\.pool\(constants=\{.*\}\)$/u, /Session\.pool\(\{ constants: \{ .* \} \}\)$/u],
];

for (const given of cases.refused) {
  const { model, error, message, ...call } = given;
  test(`${model}: ${JSON.stringify(call)}`, async () => {
    const { engine, session } = await openWithZeros(model);
    await assert.rejects(attempt(session, call), (raised) => {
      assert.equal(raised.name, error);
      const [python, own] = REMEDIES.find(([one]) => one.test(message)) ?? [/$/u, /$/u];
      assert.match(raised.message, own);
      assert.equal(raised.message.replace(own, ""), message.replace(python, ""));
      return true;
    });
    assert.equal(engine.runs, 0);
  });
}

async function attempt(session, call) {
  if ("input" in call || "inputs" in call) {
    const data = "input" in call ? valueOf(call.input) : valuesOf(call.inputs);
    const state = "states" in call ? valuesOf(call.states) : call.state?.map(valueOf);
    return session.run(data, { lengths: call.lengths, state });
  }
  return "pool" in call ? attemptPool(session, call) : attemptStream(session, call);
}

async function attemptPool(session, { pool: { constants, ...options }, frames, closed }) {
  if (constants !== undefined) options.constants = valuesOf(constants);
  const pool = session.pool(options);
  const given = new Map(frames.map((frame) => [pool.open(), valueOf(frame)]));
  if (closed !== undefined) pool.close(closed);
  return pool.step(given);
}

async function attemptStream(session, { batch = 1, constants, ...call }) {
  const stream = session.stream({ batch, constants: constants && valuesOf(constants) });
  if ("reset" in call) return stream.reset(call.reset);
  if ("set_state" in call) {
    stream.state = call.set_state.map(valueOf);
    return undefined;
  }
  return stream.step("step" in call ? valueOf(call.step) : valuesOf(call.steps));
}

const OWN = [
  [
    (x) => x.session.run("x"),
    "input: expected an array, got string: pass a Tensor, a typed array,",
  ],
  [(x) => x.session.run([[1], [1, 2]]), "input: expected an array, got Array: its parts differ in"],
  [(x) => x.session.run(undefined), "input: expected an array, got undefined"],
  [(x) => x.session.stream().step(new Float32Array(4)), "got float32[4]"],
  [(x) => x.session.run([[[0, 0]]]), "with time=1, batch=1, got float32[1, 1, 2]"],
  [(x) => x.session.run([[[0, 0, 0]]], { lens: [1] }), "run: expected the options lengths, state,"],
  [(x) => x.session.run([[[0, 0, 0]]], x.session.zeroState(1)), "got Array: pass { lengths: ... }"],
  [(x) => x.session.run([[[0, 0, 0]]], null), "got null: pass { lengths: ... }"],
  [
    async (x) => x.session.stream({ bach: 2 }),
    "stream: expected the options batch, constants, got",
  ],
  [async (x) => x.session.stream(2), "got number: pass { batch: ... }"],
  [async (x) => x.session.pool({ size: 2 }), "pool: expected the options capacity, maxDelayMs, "],
  [
    (x) => x.session.stream().save("state.npz", { forced: true }),
    "save: expected the options force,",
  ],
  [
    (x) => x.session.checkGolden("vectors", { file: "x" }),
    "checkGolden: expected the options model,",
  ],
  [() => Session.open("x.onnx", { enigne: "wasm" }), "Session.open: expected the options engine, "],
  [
    async (x) => x.session.runSync([[[1]]]),
    "runSync: the engine answers later only: use await run",
  ],
];

for (const [call, words] of OWN) {
  test(`in the words of JavaScript: ${words}`, async () => {
    const opened = await openWithZeros("gru");
    await assert.rejects(call(opened), (raised) => {
      assert.ok(raised.message.includes(words), raised.message);
      return true;
    });
    assert.equal(opened.engine.runs, 0);
  });
}

test("numbers that the dtype of an input cannot hold keep their own", async () => {
  const { session } = await openWithZeros("two-inputs");
  for (const [ids, dtype] of [
    [[[0.5]], "float64"],
    [[[2 ** 60]], "float64"],
  ]) {
    await assert.rejects(session.run({ signal: [[[0.5]]], ids, gain: [1] }), (raised) => {
      assert.match(raised.message, new RegExp(`^ids: expected int64.*, got ${dtype}`, "u"));
      return true;
    });
  }
});
