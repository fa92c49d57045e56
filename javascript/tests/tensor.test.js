/** Tensors: what they are made of, and conversions as numpy makes them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { InputError, Tensor } from "../src/index.js";
import { DTYPES, halfToNumber, numberToHalf } from "../src/dtypes.js";
import { inputTensor } from "../src/input-tensor.js";
import { asTensor } from "../src/tensor.js";
import { cases } from "./helpers/models.js";

const PYTHON = new Map(Object.entries({ True: 1, False: 0, inf: Infinity, "-inf": -Infinity }));
const parsed = (text) => PYTHON.get(text) ?? Number(text);
const wide = (dtype) => dtype.endsWith("int64");

function arrayOf(dtype, texts) {
  const values = texts.map((text) => (wide(dtype) ? BigInt(text) : parsed(text)));
  return DTYPES[dtype].array.from(values);
}

for (const { from, to, given, expected } of cases.conversions) {
  test(`${from} to ${to}: ${given.join(", ")}`, () => {
    const tensor = new Tensor(from, arrayOf(from, given), [given.length]);
    const converted = tensor.astype(to);
    assert.equal(converted.dtype, to);
    assert.deepEqual(converted.data, arrayOf(to, expected));
  });
}

for (const [value, bits] of cases.halves) {
  test(`${value} as float16`, () => assert.equal(numberToHalf(parsed(value)), Number(bits)));
}

test("each float16 goes there and back", () => {
  for (let bits = 0; bits < 1 << 16; bits++) {
    const value = halfToNumber(bits);
    if (Number.isNaN(value)) assert.equal(numberToHalf(value), 0x7e00);
    else assert.equal(numberToHalf(value), bits);
  }
});

const LIKE = [
  [new Float32Array([1, 2]), "float32[2]"],
  [new BigInt64Array(3), "int64[3]"],
  [[[1, 2, 3]], "int64[1, 3]"],
  [[[1, 2.5]], "float64[1, 2]"],
  [[true, false], "bool[2]"],
  [[2n ** 40n], "int64[1]"],
  [0.5, "float64[]"],
  [[], "float64[0]"],
  [[[], []], "float64[2, 0]"],
  [{ type: "float32", data: new Float32Array(6), dims: [2, 3] }, "float32[2, 3]"],
];
for (const [value, expected] of LIKE) {
  test(`taken for ${expected}`, () => {
    assert.equal(String(asTensor("x", value, InputError)), expected);
  });
}

const UNLIKE = [
  ["x", /^x: expected an array, got string/u],
  [null, /^x: expected an array, got null/u],
  [[1, "2"], /^x: expected an array, got Array: its parts differ in length, or are not numbers/u],
  [[[1], 2], /its parts differ in length/u],
  [new Map(), /^x: expected an array, got Map/u],
  [new DataView(new ArrayBuffer(4)), /^x: expected an array, got DataView/u],
  [{ type: "float32", data: new Float32Array(5), dims: [2, 3] }, /^x: shape: expected 6 value/u],
  [{ type: "string", data: ["a"], dims: [1] }, /^x: dtype: expected float32, .*, got string/u],
];
for (const [value, message] of UNLIKE) {
  test(`not taken: ${message.source}`, () => {
    assert.throws(
      () => asTensor("x", value, InputError),
      (error) => {
        assert.ok(error instanceof InputError);
        assert.match(error.message, message);
        return true;
      },
    );
  });
}

test("dtype, values and shape fit together", () => {
  const wrong = [
    [["float33", new Float32Array(1), [1]], /^dtype: expected float32, .*, got float33/u],
    [
      ["float32", new Float64Array(1), [1]],
      /^data: expected a Float32Array for float32, got Float6/u,
    ],
    [["float32", [1], [1]], /got Array/u],
    [["float32", new Float32Array(2), [3]], /^shape: expected 3 value\(s\) for \[3\], got 2/u],
    [["float32", new Float32Array(2), [-2]], /^shape: expected integers of 0 or more, got \[-2\]/u],
    [["float32", new Float32Array(2), [0.5, 4]], /^shape: expected integers of 0 or more/u],
  ];
  for (const [parts, message] of wrong) {
    assert.throws(
      () => new Tensor(...parts),
      (error) => {
        assert.ok(error instanceof InputError);
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("a copy has memory of its own, another shape has not", () => {
  const tensor = new Tensor("uint8", Buffer.from([1, 2, 3, 4]), [4]);
  const [copy, same] = [tensor.copy(), tensor.reshape([2, 2])];
  tensor.data[0] = 9;
  assert.deepEqual([...copy.data], [1, 2, 3, 4]);
  assert.deepEqual([...same.data], [9, 2, 3, 4]);
});

const PLAIN = [
  ["float32", [[1, 2]], "float32"],
  ["float16", [[0.5]], "float16"],
  ["float32", true, "float32"],
  ["int64", [[1, 2]], "int64"],
  ["int32", [[-1, 2]], "int32"],
  ["uint8", [[255]], "uint8"],
  ["uint8", [[256]], "int64"],
  ["uint8", [[-1]], "int64"],
  ["int32", [[2 ** 31]], "int64"],
  ["int64", [[0.5]], "float64"],
  ["bool", [[true]], "bool"],
  ["bool", [[1]], "int64"],
  ["float32", new Float64Array(1), "float64"],
  ["float32", new Tensor("int64", new BigInt64Array(1), [1]), "int64"],
];
for (const [wanted, value, dtype] of PLAIN) {
  test(`for ${wanted}, ${value} is ${dtype}`, () => {
    const spec = { name: "x", dtype: wanted, axes: [] };
    assert.equal(inputTensor(spec, value, InputError).dtype, dtype);
  });
}
