/** What is another thing in a page: URLs, no files, no WebGPU in a browser without it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { DeviceError, ModelError, Session } from "../src/index.js";
import { node } from "../src/host.js";
import { MODELS, cases, modelPath, openWithZeros, read } from "./helpers/models.js";

const inPage = node === undefined;

test("a URL that is not there", async () => {
  const url = inPage ? `${MODELS}/nowhere.onnx` : "data:application/nothing";
  await assert.rejects(Session.open(url), ModelError);
});

test("a device that is not there", async () => {
  const engine = "onnxruntime-web";
  await assert.rejects(Session.open(modelPath("gru"), { engine, device: "cuda" }), DeviceError);
  if (!inPage) return;
  await assert.rejects(Session.open(modelPath("gru"), { engine, device: "webgpu" }), {
    name: "DeviceError",
    message: "device='webgpu': there is no WebGPU here: use device: 'cpu'",
  });
});

test("an engine that is not there", async () => {
  await assert.rejects(Session.open(modelPath("gru"), { engine: "tract" }), {
    name: "OptionError",
    message: /^engine: expected auto, .*, got 'tract'$/u,
  });
});

for (const name of Object.keys(cases.streams)) {
  test(`${name}: a state is loaded from its place, and saved as the same bytes`, async () => {
    const { session } = await openWithZeros(name);
    const stream = session.stream({ batch: 2 });
    await stream.load(`${MODELS}/${name}.npz`);
    assert.deepEqual(await stream.save(), await read(`${MODELS}/${name}.npz`));
    if (!inPage) return;
    await assert.rejects(stream.save("state.npz"), {
      name: "WriteError",
      message: "state.npz: a page has no files: use the bytes that are returned",
    });
  });
}
