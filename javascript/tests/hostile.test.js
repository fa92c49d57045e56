/** Names and sizes that a file's author chose to do harm. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { RnnEdgeError, Session, Tensor } from "../src/index.js";
import { cases, fileWith, zeroEngine } from "./helpers/models.js";

/** Open a contract of two inputs with these names, and a state. */
async function openNamed(first, second, change = () => undefined) {
  const contract = JSON.parse(cases.contract);
  const { inputs, outputs } = contract.interface;
  inputs[0].name = first;
  inputs.splice(1, 0, { name: second, dtype: "float32", axes: ["time", "batch", 2] });
  outputs[0].name = second;
  change(contract);
  return Session.open(fileWith(contract), { engine: zeroEngine() });
}

const NAMES = [
  ["__proto__", "constructor"],
  ["toString", "__proto__"],
  ["hasOwnProperty", "valueOf"],
];
for (const [first, second] of NAMES) {
  test(`inputs named ${first} and ${second} are inputs as others`, async () => {
    const session = await openNamed(first, second);
    const frames = Object.fromEntries([
      [first, Tensor.zeros("float32", [1, 3])],
      [second, Tensor.zeros("float32", [1, 2])],
    ]);
    const stream = session.stream();
    assert.deepEqual((await stream.step(frames)).shape, [1, 4]);
    const missing = [first, second].sort().join(", ");
    await assert.rejects(stream.step({}), {
      name: "InputError",
      message: `expected the inputs ${first}, ${second}; missing: ${missing}`,
    });
    const pool = session.pool();
    const frame = Object.fromEntries([
      [first, new Float32Array(3)],
      [second, new Float32Array(2)],
    ]);
    const id = pool.open();
    assert.deepEqual((await pool.step(new Map([[id, frame]]))).get(id).shape, [4]);
    await assert.rejects(pool.step(new Map([[id, {}]])), /expected the inputs/u);
  });
}

test("a state that fits into no memory", async () => {
  const session = await openNamed("a", "b", ({ interface: { inputs, outputs } }) => {
    inputs[2].axes = [2147483647, "batch", 2147483647];
    outputs[1].axes = inputs[2].axes;
  });
  assert.throws(() => session.stream(), {
    name: "InputError",
    message: "expected a tensor that fits into memory, got float32[2147483647, 1, 2147483647]",
  });
});

test("a dtype that JavaScript has no values for", async () => {
  const session = await openNamed("a", "b", ({ interface: { inputs, outputs } }) => {
    inputs[2].dtype = "bfloat16";
    outputs[1].dtype = "bfloat16";
  });
  assert.throws(() => session.stream(), RnnEdgeError);
});

test("control characters of a name do not reach a terminal", async () => {
  const session = await openNamed("a", "b");
  const name = "x\u001b[2J\n\u202e";
  await assert.rejects(session.run({ [name]: Tensor.zeros("float32", [1]) }), {
    message: "expected the inputs a, b; unknown: x\\x1b[2J\\n\\u202e",
  });
});

test("a long text and many keys are read in a moment", async () => {
  const contract = JSON.parse(cases.contract);
  contract.versions = Object.fromEntries(
    Array.from({ length: 20000 }, (_, index) => [`package${index}`, "1"]),
  );
  contract.later = "x".repeat(1 << 22);
  const session = await Session.open(fileWith(contract), { engine: zeroEngine() });
  assert.equal(Object.keys(session.contract.versions).length, 20000);
});
