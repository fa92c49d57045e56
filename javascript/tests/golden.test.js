/** Golden vectors are read and compared without ONNX Runtime; damaged ones are refused. */

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test } from "node:test";

import { GoldenError } from "../src/index.js";
import { readGolden } from "../src/proof/golden.js";
import { readTensor } from "../src/proof/tensor-file.js";
import { MODELS, cases, modelPath, openWithZeros } from "./helpers/models.js";

async function filesOf(name) {
  const folder = `${MODELS}/${name}`;
  const files = new Map();
  for (const entry of await readdir(folder, { recursive: true })) {
    if (/\.(?:pb|json)$/u.test(entry)) {
      files.set(entry, new Uint8Array(await readFile(`${folder}/${entry}`)));
    }
  }
  return files;
}

for (const name of cases.models) {
  test(`${name}: a folder and its files by name are read alike`, async () => {
    const { session } = await openWithZeros(name);
    const golden = await readGolden(`${MODELS}/${name}`, session.interface);
    assert.deepEqual(await readGolden(await filesOf(name), session.interface), golden);
    assert.match(golden.reference, /^PyTorch .* float64/u);
    for (const set of golden.sets) {
      assert.deepEqual(
        [...set.inputs.keys()],
        session.interface.inputs.map((spec) => spec.name),
      );
      assert.deepEqual(
        [...set.outputs.keys()],
        session.interface.outputs.map((spec) => spec.name),
      );
    }
  });
}

test("zeros are not what the model gives, and the findings say where", async () => {
  const { session } = await openWithZeros("gru");
  const findings = await session.checkGolden(`${MODELS}/gru`);
  assert.deepEqual(
    findings.map((finding) => finding.passed),
    [true, true, false, false],
  );
  assert.match(findings[2].detail, /^\d+ of \d+ sets fail \(test_data_set_.*error \d\.\de/u);
});

test("another file is told apart by its digest", async () => {
  const { session } = await openWithZeros("gru");
  const [file] = await session.checkGolden(`${MODELS}/gru`, { model: modelPath("rnn") });
  assert.equal(file.passed, false);
  assert.match(file.detail, /its sha256 is .*: the file was changed or damaged, or is another/u);
  const [unknown] = await session.checkGolden(`${MODELS}/gru`, { model: undefined });
  assert.equal(unknown.passed, true); // the file that was opened
});

test("vectors of another model do not run", async () => {
  const { session } = await openWithZeros("gru");
  const [, runs] = await session.checkGolden(`${MODELS}/projected`);
  assert.equal(runs.passed, false);
  assert.match(
    runs.detail,
    /set\(s\) fail; test_data_set_0 .*: expected the inputs input, h_0, got/u,
  );
});

const edited = (files, change) => {
  const record = JSON.parse(new TextDecoder().decode(files.get("golden.json")));
  change(record);
  files.set("golden.json", new TextEncoder().encode(JSON.stringify(record)));
};
const DAMAGE = {
  "a missing input": [
    (f) => f.delete("test_data_set_0/input_0.pb"),
    /expected input_0.pb next to in/u,
  ],
  "a cut tensor": [
    (f) => f.set("test_data_set_0/input_0.pb", f.get("test_data_set_0/input_0.pb").subarray(0, 9)),
    /test_data_set_0\/input_0.pb cannot be read as an ONNX tensor: .*: write or copy it again/u,
  ],
  "no sets": [
    (f) => f.forEach((_, k) => k !== "golden.json" && f.delete(k)),
    /expected a folder test_/u,
  ],
  "a set too few": [(f) => edited(f, (r) => r.sets.pop()), /lists .*, and its folder has/u],
  "no JSON": [
    (f) => f.set("golden.json", new Uint8Array([123])),
    /is not a readable record of golden/u,
  ],
  "a newer format": [
    (f) => edited(f, (r) => (r.format = 2)),
    /has format 2, and this version reads/u,
  ],
  "a negative error": [
    (f) => edited(f, (r) => (r.sets[0].allowed.output = -1)),
    /is damaged \(allowed error of output: expected 0 or more, got -1\)/u,
  ],
  "no error for an output": [
    (f) => edited(f, (r) => delete r.sets[0].allowed.h_n),
    /expected the allowed error of output, h_n, got that of output/u,
  ],
  "a digest that is none": [
    (f) => edited(f, (r) => (r.model_sha256 = "x")),
    /expected 64 hexadecimal/u,
  ],
  "a folder of its own": [
    (f) => edited(f, (r) => (r.sets[0].directory = "../../etc")),
    /directory: expected test_data_set_0 or another number/u,
  ],
};
for (const [what, [damage, message]] of Object.entries(DAMAGE)) {
  test(`refused: ${what}`, async () => {
    const { session } = await openWithZeros("gru");
    const files = await filesOf("gru");
    damage(files);
    await assert.rejects(session.checkGolden(files), (error) => {
      assert.ok(error instanceof GoldenError, String(error));
      assert.match(error.message, message);
      return true;
    });
  });
}

const bytes = (...parts) => Uint8Array.from(parts.flat());
const TENSORS = [
  ["float32 by its own field", bytes(8, 2, 16, 1, 34, 8, [0, 0, 128, 63, 0, 0, 0, 64]), [1, 2]],
  [
    "int64 packed",
    bytes(8, 2, 16, 7, 58, 11, [5], [255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
    [5n, -1n],
  ],
  ["bool", bytes(8, 2, 16, 9, 42, 2, [1, 0]), [1, 0]],
  ["float16 as its bits", bytes(8, 1, 16, 10, 42, 2, [128, 120]), [0x3c00]],
  ["a scalar of no dims", bytes(16, 3, 42, 1, [7]), [7]],
];
for (const [what, content, expected] of TENSORS) {
  test(`a tensor: ${what}`, () =>
    assert.deepEqual([...readTensor(content, "x")[1].data], expected));
}

const NO_TENSORS = [
  [bytes(8, 3, 16, 1, 34, 4, [0, 0, 128, 63]), /expected 3 values for dims \[3\], got 1/u],
  [bytes(8, 1, 16, 8), /expected data_type 1 \(float32\), .*, got 8/u],
  [bytes(8, 1), /got none/u],
  [bytes(8, 1, 16, 3, 42, 2, [200, 1]), /expected int8 values, got 200/u],
  [bytes(8, 1, 16, 1, 106, 0), /expected the values in the file itself, found external data/u],
  [bytes(8, 1, 16, 1, 26, 0), /expected one whole tensor, found a segment of one/u],
  [bytes(8, 1, 16, 1, 74, 3, [1, 2, 3]), /expected float32 values, got 3 bytes/u],
  [bytes(13, 1, 2, 3, 4), /field 1 at byte 0 has an encoding that ONNX does not use/u],
  [bytes(8), /the data is cut off at byte 1, in the middle of a number/u],
];
for (const [content, message] of NO_TENSORS) {
  test(`no tensor: ${message.source}`, () => {
    assert.throws(
      () => readTensor(content, "x.pb"),
      (error) => {
        assert.ok(error instanceof GoldenError, String(error));
        assert.match(error.message, message);
        return true;
      },
    );
  });
}
