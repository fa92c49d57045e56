/** Streams, as far as they need no engine: state, files, and calls that meet. */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { StateError, StreamError, Tensor, WriteError } from "../src/index.js";
import { MODELS, cases, modelPath, openWithZeros } from "./helpers/models.js";

let folder;
before(async () => (folder = await mkdtemp(join(tmpdir(), "rnnedge-"))));
after(async () => rm(folder, { recursive: true }));

for (const name of Object.keys(cases.streams)) {
  test(`${name}: a state of Python's is loaded, and saved as the same bytes`, async () => {
    const { session } = await openWithZeros(name);
    const stream = session.stream({ batch: 2 });
    const path = `${MODELS}/${name}.npz`;
    await stream.load(path);
    assert.ok(stream.state.every((tensor) => tensor.data.some((value) => value !== 0)));
    const saved = await stream.save(join(folder, "state.npz"));
    const expected = await readFile(path);
    assert.deepEqual(Buffer.from(saved), expected);
    assert.deepEqual(await readFile(join(folder, "state.npz")), expected);
  });
}

test("a state is loaded from bytes", async () => {
  const { session } = await openWithZeros("gru");
  const content = await readFile(`${MODELS}/gru.npz`);
  const [one, other] = [session.stream({ batch: 2 }), session.stream({ batch: 2 })];
  await one.load(content);
  await other.load(await one.save());
  assert.deepEqual(one.state, other.state);
});

test("a state of another model, of another batch, and no state at all", async () => {
  const { session } = await openWithZeros("gru");
  const stream = session.stream();
  const whole = await readFile(`${MODELS}/gru.npz`);
  const cut = whole.subarray(0, 500);
  const flipped = Uint8Array.from(whole, (byte, index) => (index === 620 ? byte ^ 1 : byte));
  const wrong = [
    [`${MODELS}/rnn.npz`, /rnn.npz: the state belongs to the model sha256:.*\.\.\., and/u],
    [`${MODELS}/gru.npz`, /^h_0: expected float32\[1, batch, 4\] with batch=1, got float32/u],
    [cut, /the state: expected a state from Stream.save, found another or a damaged file/u],
    [flipped, /the state: expected a state from Stream.save, found another or a damaged file/u],
    [new Uint8Array(0), /found another or a damaged file/u],
    [`${MODELS}/cases.json`, /cases.json: expected a state from Stream.save/u],
    ["nowhere.npz", /nowhere.npz: the state cannot be read: No such file or directory/u],
    [7, /the state: expected bytes, a URL or a path, got number/u],
  ];
  for (const [file, message] of wrong) {
    await assert.rejects(stream.load(file), (error) => {
      assert.ok(error instanceof StateError, String(error));
      assert.match(error.message, message);
      return true;
    });
  }
  assert.deepEqual(stream.state, [Tensor.zeros("float32", [1, 1, 4])]);
});

test("every damaged byte of a state is an error, or changes no value", async () => {
  const { session } = await openWithZeros("gru");
  const stream = session.stream({ batch: 2 });
  const whole = await readFile(`${MODELS}/gru.npz`);
  await stream.load(whole);
  const expected = stream.state;
  for (let index = 0; index < whole.length; index += 3) {
    const damaged = Uint8Array.from(whole);
    damaged[index] ^= 0x55;
    try {
      await stream.load(damaged);
    } catch (error) {
      assert.ok(error instanceof StateError, `byte ${index}: ${String(error)}`);
    }
    assert.deepEqual(stream.state, expected, `byte ${index}`);
  }
});

test("files that must not be written", async () => {
  const { session } = await openWithZeros("gru");
  const stream = session.stream();
  const other = join(folder, "other.npz");
  await writeFile(other, "something else");
  await mkdir(join(folder, "folder.npz"));
  const wrong = [
    [join(folder, "state.txt"), /expected a name that ends in .npz, such as .*state.npz/u],
    [
      join(folder, "no", "state.npz"),
      /expected an existing folder, found no folder .*no: create it/u,
    ],
    [join(folder, "folder.npz"), /expected the name of a file to write, found a folder/u],
    [modelPath("gru"), /is the same file as .*, which is read or written here too/u],
    [
      other,
      /the file there does not hold what a .npz file holds: choose another name, or replace/u,
    ],
  ];
  for (const [path, message] of wrong) {
    await assert.rejects(stream.save(path), (error) => {
      assert.ok(error instanceof WriteError, String(error));
      assert.match(error.message, message);
      return true;
    });
  }
  await stream.save(other, { force: true });
  await stream.save(other);
  await stream.load(other);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.endsWith(".tmp")),
    [],
  );
});

test("a call during a call is refused, and a closed stream", async () => {
  const { session } = await openWithZeros("gru");
  const stream = session.stream();
  const first = stream.step(new Float32Array(3));
  assert.throws(() => stream.state, /in use by another call: await each call before the next/u);
  assert.throws(() => stream.close(), StreamError);
  await assert.rejects(stream.step(new Float32Array(3)), StreamError);
  await first;
  stream.close();
  await assert.rejects(
    stream.step(new Float32Array(3)),
    /closed: open a new one with Session.stream/u,
  );
});

test("a frame may be written over at once", async () => {
  const { engine, session } = await openWithZeros("gru");
  const stream = session.stream();
  const frame = new Float32Array([1, 2, 3]);
  const step = stream.step(frame);
  frame.fill(9);
  await step;
  assert.deepEqual([...engine.feeds.input.data], [1, 2, 3]);
});

test("an engine that fails changes no state", async () => {
  const { session } = await openWithZeros("gru");
  const stream = session.stream();
  stream.state = [new Tensor("float32", new Float32Array([1, 2, 3, 4]), [1, 1, 4])];
  session.engine.run = async () => {
    throw new Error("out of memory\nat kernel.cc:12");
  };
  await assert.rejects(stream.step(new Float32Array(3)), {
    name: "EngineError",
    message: "the engine failed: out of memory at kernel.cc:12",
  });
  assert.deepEqual([...stream.state[0].data], [1, 2, 3, 4]);
});

test("rows are reset by themselves", async () => {
  const { session } = await openWithZeros("projected");
  const stream = session.stream({ batch: 3 });
  stream.state = stream.state.map(
    (tensor) => new Tensor("float32", tensor.data.fill(1), tensor.shape),
  );
  stream.reset([0, 2]);
  const [h, c] = stream.state;
  assert.deepEqual([...h.data], [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0]);
  assert.deepEqual(c.shape, [2, 3, 4]);
  assert.equal(
    c.data.reduce((sum, value) => sum + value),
    8,
  );
  stream.reset();
  assert.ok(stream.state.every((tensor) => tensor.data.every((value) => value === 0)));
});

test("tiny numbers leave the state after sixteen steps, and a silent frame is zero", async () => {
  const { engine, session } = await openWithZeros("gru");
  const stream = session.stream();
  session.engine.run = ((run) => async (names, feeds) => {
    const values = await run(names, feeds);
    values[1].data.fill(1e-30);
    return values;
  })(session.engine.run);
  for (let step = 0; step < 15; step++) await stream.step(new Float32Array(3).fill(1e-20));
  assert.ok(stream.state[0].data.every((value) => value > 0));
  await stream.step(new Float32Array(3));
  assert.ok(stream.state[0].data.every((value) => value === 0));
  assert.ok(engine.feeds.input.data.every((value) => value === 0));
});

test("a clone goes on from the same state by itself", async () => {
  const { session } = await openWithZeros("gru");
  const stream = session.stream();
  stream.state = [new Tensor("float32", new Float32Array([1, 2, 3, 4]), [1, 1, 4])];
  const twin = stream.clone();
  stream.reset();
  assert.deepEqual([...twin.state[0].data], [1, 2, 3, 4]);
});

test("a synchronous engine answers at once", async () => {
  const { session } = await openWithZeros("gru", { synchronous: true });
  const stream = session.stream();
  assert.deepEqual(stream.stepSync(new Float32Array(3)).shape, [1, 4]);
  assert.deepEqual((await stream.step(new Float32Array(3))).shape, [1, 4]);
  assert.deepEqual(session.runSync(Tensor.zeros("float32", [5, 2, 3])).output.shape, [5, 2, 4]);
});

for (const { model, shape, outputs } of cases.empty) {
  test(`${model}: an empty batch is answered without the engine`, async () => {
    const { engine, session } = await openWithZeros(model);
    const result = await session.run(Tensor.zeros("float32", shape));
    const shapes = Object.entries(result.outputs).map(([name, tensor]) => [
      name,
      [...tensor.shape],
    ]);
    assert.deepEqual(Object.fromEntries(shapes), outputs);
    assert.equal(engine.runs, 0);
  });
}

test("frames without a batch axis in a stream of one row", async () => {
  const { session } = await openWithZeros("gru");
  const [stream, pair] = [session.stream(), session.stream({ batch: 2 })];
  const frame = new Tensor("float32", new Float32Array(3), [3]);
  assert.deepEqual((await stream.step(frame)).shape, [4]);
  assert.deepEqual((await stream.step({ input: frame })).shape, [4]);
  assert.deepEqual((await stream.step(frame.reshape([1, 3]))).shape, [1, 4]);
  assert.deepEqual((await stream.step(frame.reshape([1, 1, 3]))).shape, [1, 1, 4]);
  assert.deepEqual((await stream.step(new Float32Array(3))).shape, [1, 4]);
  await assert.rejects(pair.step(frame), {
    name: "InputError",
    message: /; the stream has 2 rows, and takes a frame of each in one array$/u,
  });
});
