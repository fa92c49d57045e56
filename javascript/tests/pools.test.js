/** Pools: streams that come and go, joined into batches by hand and by time. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { InputError, StreamError, Tensor } from "../src/index.js";
import { openWithZeros } from "./helpers/models.js";

const frame = (value = 1) => new Float32Array(3).fill(value);

/** An engine that counts: each output value is the first of the input, each state is one more. */
async function openCounting(options) {
  const { engine, session } = await openWithZeros("gru");
  const sizes = [];
  session.engine.run = async (names, { input, h_0: state }) => {
    const [steps, batch, features] = input.shape;
    sizes.push(batch);
    if (input.data.includes(13)) throw new Error("unlucky");
    const output = Tensor.zeros("float32", [steps, batch, 4]);
    output.data.forEach((_, index) => {
      output.data[index] = input.data[Math.floor(index / 4) * features];
    });
    const after = state.copy();
    after.data.forEach((value, index) => (after.data[index] = value + steps));
    return [output, after];
  };
  return { engine, sizes, pool: session.pool(options) };
}

test("frames of one shape are one batch, and each stream keeps its own state", async () => {
  const { pool, sizes } = await openCounting();
  const [a, b, c] = [pool.open(), pool.open(), pool.open()];
  const answers = await pool.step(new Map([[c, frame(3)], [a, frame(1)]])); // prettier-ignore
  assert.deepEqual([...answers.keys()], [c, a]);
  assert.deepEqual([...answers.get(c).data], [3, 3, 3, 3]);
  assert.deepEqual(answers.get(a).shape, [4]);
  assert.deepEqual(sizes, [2]);
  const chunk = new Tensor("float32", new Float32Array(6).fill(2), [2, 3]);
  const mixed = await pool.step(new Map([[a, frame(5)], [b, chunk]])); // prettier-ignore
  assert.deepEqual(mixed.get(b).shape, [2, 4]);
  assert.deepEqual(sizes, [2, 1, 1]);
  assert.deepEqual(
    [a, b, c].map((stream) => pool.state(stream)[0].data[0]),
    [2, 2, 1],
  );
});

test("numbers of streams are never used again, and places are", async () => {
  const { pool } = await openCounting({ capacity: 1 });
  const first = pool.open();
  pool.close(first);
  const second = pool.open();
  assert.notEqual(second, first);
  assert.equal(pool.size, 1);
  assert.ok(!pool.has(first));
  assert.throws(() => pool.open(), StreamError);
  await assert.rejects(pool.step(new Map([[first, frame()]])), StreamError);
});

test("a state is given, taken, set and reset", async () => {
  const { pool } = await openCounting();
  const state = [new Tensor("float32", new Float32Array([1, 2, 3, 4]), [1, 1, 4])];
  const stream = pool.open(state);
  state[0].data.fill(9);
  assert.deepEqual([...pool.state(stream)[0].data], [1, 2, 3, 4]);
  const step = pool.step(new Map([[stream, frame()]]));
  const set = pool.setState(stream, state); // after the step that was called before
  await Promise.all([step, set]);
  assert.deepEqual([...pool.state(stream)[0].data], [9, 9, 9, 9]);
  await pool.reset(stream);
  assert.deepEqual([...pool.state(stream)[0].data], [0, 0, 0, 0]);
});

test("steps that are called at once run one after another", async () => {
  const { pool } = await openCounting();
  const stream = pool.open();
  const steps = Array.from({ length: 5 }, () => pool.step(new Map([[stream, frame()]])));
  await Promise.all(steps);
  assert.equal(pool.state(stream)[0].data[0], 5);
});

test("what the engine fails on changes no state, and what is refused does not either", async () => {
  const { pool } = await openCounting();
  const [a, b] = [pool.open(), pool.open()];
  const unlucky = new Map([[a, frame(1)], [b, frame(13)]]); // prettier-ignore
  await assert.rejects(pool.step(unlucky), /failed: unlucky/u);
  const wrong = new Map([[a, frame(1)], [b, new Float32Array(2)]]); // prettier-ignore
  await assert.rejects(pool.step(wrong), (error) => {
    assert.ok(error instanceof InputError);
    assert.deepEqual(error.streams, [b]);
    return true;
  });
  await assert.rejects(pool.step({ 0: frame() }), /frames: expected a Map of stream to/u);
  assert.deepEqual(
    [a, b].map((stream) => pool.state(stream)[0].data[0]),
    [0, 0],
  );
});

test("submitted frames of all streams are one batch, those of one run in order", async () => {
  const { pool, sizes } = await openCounting({ maxDelayMs: 1e6 });
  const [a, b] = [pool.open(), pool.open()];
  const own = frame(1);
  const answers = [pool.submit(a, own), pool.submit(b, frame(2)), pool.submit(a, frame(3))];
  own.fill(7);
  answers.push(pool.submit(b, frame(4)));
  const values = (await Promise.all(answers)).map((answer) => answer.data[0]);
  assert.deepEqual(values, [1, 2, 3, 4]);
  assert.deepEqual(sizes, [2, 2]);
});

test("a frame does not wait longer than maxDelayMs for others", async () => {
  const { pool, sizes } = await openCounting({ maxDelayMs: 5 });
  const [a] = [pool.open(), pool.open()];
  assert.equal((await pool.submit(a, frame(6))).data[0], 6);
  assert.deepEqual(sizes, [1]);
});

test("maxWaiting frames are a batch", async () => {
  const { pool, sizes } = await openCounting({ maxDelayMs: 1e6, maxWaiting: 2 });
  const streams = Array.from({ length: 4 }, () => pool.open());
  await Promise.all(streams.map((stream) => pool.submit(stream, frame())));
  assert.deepEqual(sizes, [2, 2]);
});

test("a stream that is closed leaves the others to run, and its frame is refused", async () => {
  const { pool } = await openCounting({ maxDelayMs: 1e6 });
  const [a, b, c] = [pool.open(), pool.open(), pool.open()];
  const waiting = [pool.submit(a, frame(1)), pool.submit(b, frame(2))];
  const refused = assert.rejects(waiting[1], /stream 1: was closed while its frame waited/u);
  pool.close(b);
  pool.close(c);
  assert.equal((await waiting[0]).data[0], 1);
  await refused;
});

test("a frame that the engine fails on fails alone", async () => {
  const { pool } = await openCounting({ maxDelayMs: 1e6 });
  const [a, b] = [pool.open(), pool.open()];
  const results = await Promise.allSettled([pool.submit(a, frame(13)), pool.submit(b, frame(2))]);
  assert.deepEqual(
    results.map((result) => result.status),
    ["rejected", "fulfilled"],
  );
  assert.equal(results[0].reason.name, "EngineError");
  assert.deepEqual(
    [a, b].map((stream) => pool.state(stream)[0].data[0]),
    [0, 1],
  );
});

test("at its end a pool runs what waits, and refuses more", async () => {
  const { pool } = await openCounting({ maxDelayMs: 1e6 });
  const [a] = [pool.open(), pool.open()];
  const waiting = pool.submit(a, frame(8));
  await pool.shutdown();
  assert.equal((await waiting).data[0], 8);
  assert.equal(pool.size, 0);
  assert.throws(() => pool.open(), /shut down: make another with Session.pool/u);
  await assert.rejects(pool.submit(a, frame()), StreamError);
});
