/** rnnedge's own engine: what the tests of ONNX Runtime say of it too, and what it alone does. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Session, Tensor } from "../src/index.js";
import { MODELS, cases, modelPath, read } from "./helpers/models.js";

await import("./onnxruntime.test.js?engine=wasm");

const { frames, outputs } = cases.streams.gru;
const frameOf = (index) => new Float32Array(frames[index]);

function assertClose(given, expected, allowed = 1e-6) {
  assert.equal(given.length, expected.length);
  given.forEach((value, index) => {
    assert.ok(
      Math.abs(value - expected[index]) <= allowed,
      `${value}, expected ${expected[index]}`,
    );
  });
}

async function opened(name = "gru") {
  return Session.open(modelPath(name), { engine: "wasm" });
}

test("steps at once, in the engine's own memory, give what Python gives", async () => {
  const session = await opened();
  assert.equal(session.engine.synchronous, true);
  const stream = session.stream({ batch: 2 });
  frames.forEach((_, index) => {
    const answer = stream.stepSync(frameOf(index));
    assert.deepEqual(answer.shape, [2, 4]);
    assertClose(answer.data, outputs[index]);
  });
});

test("steps into an array of the caller give what steps at once give", async () => {
  const session = await opened();
  const [quick, into] = [session.stream({ batch: 2 }), session.stream({ batch: 2 })];
  const output = new Float32Array(8);
  frames.forEach((_, index) => {
    const expected = quick.stepSync(frameOf(index)).data;
    const answer = index === 2 ? into.stepSync(frameOf(index)).data : undefined;
    assert.deepEqual(answer ?? into.stepInto(frameOf(index), output), expected);
  });
  assert.deepEqual(into.state, quick.state);
});

for (const [frame, output, error, message] of [
  [new Float32Array(5), new Float32Array(8), "InputError", "frame: expected a Float32Array of 6"],
  [[1, 2, 3, 4, 5, 6], new Float32Array(8), "InputError", "frame: expected .*, got Array"],
  [
    new Float32Array(6),
    new Float32Array(7),
    "InputError",
    "output: expected .* 8 values, got .* 7",
  ],
  [new Float32Array(6), new Float64Array(8), "InputError", "output: .*, got Float64Array of 8"],
  [new Float32Array(6), undefined, "InputError", "output: .*, got undefined"],
  [new Float32Array(6).fill(NaN), new Float32Array(8), "InputError", "expected finite values"],
]) {
  test(`a step into an array is refused: ${message}`, async () => {
    const stream = (await opened()).stream({ batch: 2 });
    assert.throws(() => stream.stepInto(frame, output), {
      name: error,
      message: new RegExp(message, "u"),
    });
    assert.ok(stream.state[0].data.every((value) => value === 0));
  });
}

test("a step into an array needs a model and an engine that have it", async () => {
  const session = await opened("two-inputs");
  const stream = session.stream({ constants: { gain: [1] } });
  assert.throws(() => stream.stepInto(new Float32Array(1), new Float32Array(2)), {
    name: "StreamError",
    message: /^stepInto: needs the wasm engine/u,
  });
});

test("steps that go another way continue from the same state", async () => {
  const session = await opened();
  const [quick, mixed] = [session.stream({ batch: 2 }), session.stream({ batch: 2 })];
  for (const [index, frame] of frames.entries()) {
    const expected = quick.stepSync(frameOf(index));
    const shaped = new Tensor("float32", Float32Array.from(frame), [2, 3]);
    const answer = mixed.stepSync(index % 2 ? frameOf(index) : shaped);
    assert.deepEqual(answer, expected);
  }
  assert.deepEqual(mixed.state, quick.state);
});

test("a state that is set, reset, cloned and saved is the newest one", async () => {
  const session = await opened();
  const stream = session.stream({ batch: 2 });
  const first = stream.stepSync(frameOf(0));
  const kept = stream.state;
  const second = stream.stepSync(frameOf(1));
  const twin = stream.clone();
  stream.state = kept;
  assert.deepEqual(stream.stepSync(frameOf(1)), second);
  assert.deepEqual(twin.state, stream.state);
  assert.deepEqual(twin.stepSync(frameOf(2)), stream.stepSync(frameOf(2)));
  stream.reset();
  assert.deepEqual(stream.stepSync(frameOf(0)), first);
  stream.reset([1]);
  const [state] = stream.state;
  assert.ok(state.data.subarray(0, 4).some((value) => value !== 0));
  assert.ok(state.data.subarray(4).every((value) => value === 0));
  stream.close();
  twin.close();
  assert.throws(() => stream.stepSync(frameOf(0)), { name: "StreamError" });
});

test("a frame with NaN is refused, and the state stays", async () => {
  const session = await opened();
  const stream = session.stream({ batch: 2 });
  stream.stepSync(frameOf(0));
  const wrong = frameOf(1);
  wrong[2] = NaN;
  for (const value of [NaN, Infinity, -Infinity]) {
    wrong[2] = value;
    assert.throws(() => stream.stepSync(wrong), { name: "InputError", message: /finite/u });
  }
  assertClose(stream.stepSync(frameOf(1)).data, outputs[1]);
});

test("tiny numbers of a state become zero", async () => {
  const session = await opened("relu");
  const stream = session.stream();
  const [state] = stream.state;
  state.data.fill(1e-30);
  stream.state = [state];
  const silence = new Float32Array(3).fill(1e-40);
  for (let step = 0; step < 16; step++) stream.stepSync(silence);
  for (const value of stream.state[0].data) assert.ok(value === 0 || Math.abs(value) > 1e-18);
});

test("streams go on when the memory of the engine has grown", async () => {
  const session = await opened();
  const stream = session.stream({ batch: 2 });
  assertClose(stream.stepSync(frameOf(0)).data, outputs[0]);
  const large = new Tensor("float32", new Float32Array(400 * 500 * 3), [400, 500, 3]);
  assert.deepEqual(session.runSync(large).output.shape, [400, 500, 4]);
  assertClose(stream.stepSync(frameOf(1)).data, outputs[1]);
});

test("more shapes than are kept", async () => {
  const session = await opened();
  const data = Float32Array.from({ length: 80 * 3 }, (_, index) => Math.sin(index));
  const run = (time) =>
    session.runSync(new Tensor("float32", data.slice(0, time * 3), [time, 1, 3]));
  const whole = [...run(80).output.data];
  for (let time = 1; time <= 80; time++) {
    assert.deepEqual([...run(time).output.data], whole.slice(0, time * 4));
  }
});

test("what does not fit in memory is an error, and the session goes on", async () => {
  const session = await opened();
  const large = { dtype: "float32", data: new Float32Array(1), shape: [30000, 30000, 3] };
  assert.throws(
    () => session.engine.run(["output"], { input: large, h_0: { shape: [1, 30000, 4] } }),
    /too large|more memory than there is/u,
  );
  assertClose(session.stream({ batch: 2 }).stepSync(frameOf(0)).data, outputs[0]);
});

test("lengths out of their range are refused by the kernels too", async () => {
  const session = await opened("lengths");
  const feeds = {
    input: new Tensor("float32", new Float32Array(3 * 2 * 3), [3, 2, 3]),
    lengths: new Tensor("int64", BigInt64Array.of(1n, 4n), [2]),
    h_0: Tensor.zeros("float32", [1, 2, 4]),
    c_0: Tensor.zeros("float32", [1, 2, 4]),
  };
  const { inputs } = session.engine;
  const given = Object.fromEntries(inputs.map(({ name }) => [name, feeds[name]]));
  assert.throws(() => session.engine.run(["output"], given), {
    name: "InputError",
    message: "a length is 4, expected 0 to 3",
  });
});

test("what the engine does not have is said when it is opened", async () => {
  await assert.rejects(Session.open(modelPath("int8-all"), { engine: "wasm" }), {
    name: "PlanError",
    message: /has no DynamicQuantizeLinear; ONNX Runtime runs the model/u,
  });
  await assert.rejects(Session.open(modelPath("gru"), { engine: "wasm", threads: 2 }), {
    name: "OptionError",
    message: /one thread/u,
  });
  await assert.rejects(Session.open(modelPath("gru"), { engine: "wasm", device: "webgpu" }), {
    name: "DeviceError",
    message: /runs on the CPU/u,
  });
});

test("damaged files are errors", async () => {
  const content = await read(modelPath("lstm"));
  for (let at = 0; at < content.length; at += 97) {
    const damaged = Uint8Array.from(content);
    damaged[at] ^= 0xff;
    const session = await Session.open(damaged, { engine: "wasm" }).catch((error) => error);
    if (!(session instanceof Session)) assert.match(session.name, /^(Model|Contract|Plan)Error$/u);
    const cut = await Session.open(content.subarray(0, at), { engine: "wasm" }).catch((e) => e);
    assert.match(cut.name, /^(Model|Contract|Plan|Engine)Error$/u);
  }
});

test("golden vectors are checked at the error that they allow", async () => {
  const session = await opened();
  const findings = await session.checkGolden(`${MODELS}/gru`, { model: modelPath("gru") });
  assert.ok(findings.every((finding) => finding.passed === true));
});
