/** The contract is read from the file by itself, and nothing in it is believed unchecked. */

import assert from "node:assert/strict";
import { readFile, writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { ContractError, ModelError, Session, readContract } from "../src/index.js";
import { openSource } from "../src/model-source.js";
import { cases, modelPath, zeroEngine } from "./helpers/models.js";

test("what the exporter wrote", () => {
  const contract = readContract(cases.contract);
  assert.deepEqual(contract.interface.inputs.map(String), [
    "input float32[time, batch, 3]",
    "h_0 float32[1, batch, 4]",
  ]);
  assert.deepEqual(contract.interface.states, [{ input: "h_0", output: "h_n" }]);
  assert.deepEqual(
    contract.interface.dataInputs.map((spec) => spec.name),
    ["input"],
  );
  assert.equal(contract.layers[0].hidden_size, 4);
  assert.match(contract.weightsDigest, /^sha256:[0-9a-f]{64}$/u);
});

/** The reader of JSON has words of its own for what is not JSON. */
const NO_JSON = /under 'rnnedge.contract' \(.*\): export it again$/u;

for (const { text, message } of cases.contracts) {
  test(`refused as in Python: ${message.slice(0, 100)}`, () => {
    assert.throws(
      () => readContract(text),
      (error) => {
        assert.ok(error instanceof ContractError);
        assert.equal(error.message, message.replace("rnnedge-runtime", "rnnedge"));
        return true;
      },
    );
  });
}

for (const text of [
  "",
  "{",
  '{"a":1,}',
  "{'a':1}",
  '{"a":01}',
  '"\\x"',
  "[1,]",
  "nul",
  '{"a":1} 2',
]) {
  test(`not JSON: ${text}`, () => {
    assert.throws(
      () => readContract(text),
      (error) => {
        assert.ok(error instanceof ContractError);
        assert.match(error.message, NO_JSON);
        return true;
      },
    );
  });
}

test("JSON that is nested without end does not exhaust the stack", () => {
  for (const text of ["[".repeat(1e6), '{"a":'.repeat(1e6)]) {
    assert.throws(() => readContract(text), /nested too deeply/u);
  }
});

for (const [name, place] of [
  ["a path", (path) => path],
  ["a file URL", (path) => new URL(`file://${path}`)],
]) {
  test(`of ${name}, the weights are not read for the contract`, async () => {
    const source = await openSource(place(modelPath("gru")));
    assert.equal((await source.metadata()).get("rnnedge.contract"), cases.contract);
    assert.equal(source.path, modelPath("gru"));
  });
}

test("bytes are let go when the engine has them", async () => {
  const content = new Uint8Array(await readFile(modelPath("gru")));
  let kept;
  const engine = zeroEngine();
  const open = async (source, options) => {
    assert.equal(await source.bytes(), content); // the same memory, not a copy
    kept = source;
    return engine.open(source, options);
  };
  await Session.open(content, { engine: { name: "kept", open } });
  await assert.rejects(kept.bytes(), ModelError);
});

test("a file that ends early, and one that is not a model", async () => {
  const content = new Uint8Array(await readFile(modelPath("gru")));
  const engine = zeroEngine();
  const wrong = [
    [content.subarray(0, 300), /cannot be read as an ONNX model: the data is cut off in field 7/u],
    [new TextEncoder().encode("<html>not found</html>"), /cannot be read as an ONNX model: /u],
    [new Uint8Array(0), /the model has no contract under 'rnnedge.contract': export it/u],
    ["nowhere.onnx", /nowhere.onnx: expected an ONNX file, found no such file/u],
    [tmpdir(), /expected an ONNX file, found no such file/u],
    [42, /model: expected bytes, a URL or the path of an .onnx file, got number/u],
  ];
  for (const [model, message] of wrong) {
    await assert.rejects(Session.open(model, { engine }), (error) => {
      assert.ok(error instanceof ModelError, String(error));
      assert.match(error.message, message);
      return true;
    });
  }
});

test("every cut of a small file is refused or has no contract", async () => {
  const folder = await mkdtemp(join(tmpdir(), "rnnedge-"));
  try {
    const content = await readFile(modelPath("gru"));
    const tail = content.subarray(content.length - 200);
    for (let end = 0; end < tail.length; end += 7) {
      const path = join(folder, "cut.onnx");
      await writeFile(path, tail.subarray(0, end));
      await assert.rejects(Session.open(path, { engine: zeroEngine() }), ModelError);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
