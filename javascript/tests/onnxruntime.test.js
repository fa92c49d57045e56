/**
 * ONNX Runtime, node and web, and the engine of `wasm.test.js`: golden vectors, and streams
 * that give what Python's give.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Session, Tensor } from "../src/index.js";
import { node } from "../src/host.js";
import { MODELS, cases, modelPath, read } from "./helpers/models.js";

/** All that there are, or the one that the URL of this module names. */
const asked = new URL(import.meta.url).searchParams.get("engine");
const there = ["onnxruntime-web", ...(node === undefined ? [] : ["onnxruntime-node"])];
const ENGINES = asked === null ? there : [asked];
/** What the URL of a page names. */
const device = (node === undefined && new URL(location.href).searchParams.get("device")) || "cpu";
const CLOSE = device === "cpu" ? 1e-6 : 1e-5;

/** In Node, web opens bytes and node opens paths; a page opens URLs: each as it is used. */
async function open(name, engine) {
  const place = modelPath(name);
  const model = node !== undefined && engine === "onnxruntime-web" ? await read(place) : place;
  return Session.open(model, { engine, device, threads: 1 });
}

function largestDifference(given, expected) {
  assert.equal(given.length, expected.length);
  return given.reduce((most, value, index) => Math.max(most, Math.abs(value - expected[index])), 0);
}

/** What computes in int8 is left to ONNX Runtime. */
const known = (engine) => cases.models.filter((name) => engine !== "wasm" || name !== "int8-all");

for (const engine of ENGINES) {
  for (const name of known(engine)) {
    test(`${engine}: ${name} gives its golden vectors`, async () => {
      const session = await open(name, engine);
      assert.equal(session.engine.name, engine);
      const findings = await session.checkGolden(`${MODELS}/${name}`, { model: modelPath(name) });
      assert.equal(findings.length, 2 + session.interface.outputs.length);
      for (const finding of findings) assert.equal(finding.passed, true, JSON.stringify(finding));
      await session.close();
    });
  }

  for (const [name, { frames, outputs }] of Object.entries(cases.streams)) {
    test(`${engine}: a stream of ${name} gives what Python's and the whole give`, async () => {
      const session = await open(name, engine);
      const stream = session.stream({ batch: 2 });
      const stepped = [];
      for (const frame of frames) {
        const output = await stream.step(new Float32Array(frame));
        stepped.push(...output.data);
      }
      assert.ok(largestDifference(stepped, outputs.flat()) <= CLOSE);

      const whole = new Tensor("float32", Float32Array.from(frames.flat()), [7, 2, 3]);
      const given = name === "lstm" ? swapped(whole) : whole;
      const result = await session.run(given);
      const output = name === "lstm" ? swapped(result.output) : result.output;
      // int8 that is computed in int8 rounds each call by its own range; these models are not.
      assert.ok(largestDifference([...output.data], stepped) <= CLOSE);
      for (const [index, tensor] of stream.state.entries()) {
        assert.ok(largestDifference([...tensor.data], [...result.state[index].data]) <= CLOSE);
      }
    });

    test(`${engine}: ${name} goes on from a state that Python saved`, async () => {
      const session = await open(name, engine);
      const stream = session.stream({ batch: 2 });
      await stream.load(`${MODELS}/${name}.npz`);
      const output = await stream.step(new Float32Array(frames.at(-1)));
      assert.ok(largestDifference([...output.data], outputs.at(-1)) <= CLOSE);
    });
  }

  test(`${engine}: chunks of any length give what the whole gives`, async () => {
    const session = await open("gru", engine);
    const data = Float32Array.from({ length: 9 * 3 }, (_, index) => Math.sin(index));
    const whole = await session.run(new Tensor("float32", data, [9, 1, 3]));
    const stream = session.stream();
    const parts = [];
    for (const [start, end] of [
      [0, 4],
      [4, 5],
      [5, 9],
    ]) {
      // prettier-ignore
      const chunk = new Tensor("float32", data.slice(3 * start, 3 * end), [end - start, 1, 3]);
      const output = await stream.step(chunk);
      assert.deepEqual(output.shape, [end - start, 1, 4]);
      parts.push(...output.data);
    }
    assert.ok(largestDifference(parts, [...whole.output.data]) <= CLOSE);
  });

  test(`${engine}: a pool gives what single streams give`, async () => {
    const session = await open("projected", engine);
    const [pool, single] = [session.pool(), session.stream()];
    const [a, b] = [pool.open(), pool.open()];
    for (const value of [0.1, -0.4, 0.9]) {
      const frame = new Float32Array([value, value / 2, -value]);
      const [expected, answers] = [
        await single.step(frame),
        await pool.step(new Map([[b, new Float32Array(3)], [a, frame]])), // prettier-ignore
      ];
      assert.ok(largestDifference([...answers.get(a).data], [...expected.data]) <= CLOSE);
    }
    for (const [index, tensor] of pool.state(a).entries()) {
      assert.ok(largestDifference([...tensor.data], [...single.state[index].data]) <= CLOSE);
    }
  });

  test(`${engine}: several inputs, one of them constant, step as the whole runs`, async () => {
    const session = await open("two-inputs", engine);
    const gain = Float32Array.of(0.5);
    const signal = Float32Array.from({ length: 4 * 2 }, (_, index) => Math.cos(index));
    const ids = BigInt64Array.from([1n, 4n, 0n, 2n, 3n, 3n, 1n, 0n]);
    const whole = await session.run({
      signal: new Tensor("float32", signal, [4, 2, 1]),
      ids: new Tensor("int64", ids, [4, 2]),
      gain,
    });
    const stream = session.stream({ batch: 2, constants: { gain } });
    const names = session.interface.dataOutputs.map((spec) => spec.name);
    const stepped = names.map(() => []);
    for (let step = 0; step < 4; step++) {
      const rows = [2 * step, 2 * step + 2];
      const outputs = await stream.step({
        signal: signal.subarray(...rows),
        ids: ids.subarray(...rows),
      });
      names.forEach((name, index) => stepped[index].push(...outputs[name].data));
    }
    names.forEach((name, index) => {
      assert.ok(largestDifference(stepped[index], [...whole.outputs[name].data]) <= CLOSE);
    });
  });

  test(`${engine}: a model that the library refuses`, async () => {
    const content = changed(await read(modelPath("gru")), "GRU", "QRU");
    await assert.rejects(Session.open(content, { engine }), (error) => {
      if (engine === "wasm") {
        assert.equal(error.name, "PlanError");
        assert.match(error.message, /^node '.*' \(Squeeze\): .* which nothing makes$/u);
        return true;
      }
      assert.equal(error.name, "ModelError");
      assert.match(
        error.message,
        /^the model cannot be opened by ONNX Runtime: Invalid model\. Node/u,
      );
      return true;
    });
  });
}

test("a graph that was changed after the export", async () => {
  const content = await read(modelPath("gru"));
  for (const key of ["name", "output"]) changed(content, `"${key}":"h_n"`, `"${key}":"h_m"`);
  await assert.rejects(Session.open(content, { engine: ENGINES.at(-1) }), {
    name: "ModelError",
    message:
      "the model: its contract promises the outputs h_m, output, the graph has h_n, output: it " +
      "was changed after the export",
  });
});

/** Write over the first place of some text in bytes, and return them. */
function changed(content, before, after) {
  const text = String.fromCharCode(...content);
  content.set(new TextEncoder().encode(after), text.indexOf(before));
  return content;
}

function swapped(tensor) {
  const [first, second, features] = tensor.shape;
  const data = new Float32Array(tensor.size);
  for (let i = 0; i < first; i++) {
    for (let j = 0; j < second; j++) {
      const from = (i * second + j) * features;
      data.set(tensor.data.subarray(from, from + features), (j * first + i) * features);
    }
  }
  return new Tensor("float32", data, [second, first, features]);
}
