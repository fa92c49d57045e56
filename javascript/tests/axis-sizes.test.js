/** Sizes of axes that are declared by expressions are computed as Python computes them. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { sizeOf } from "../src/axis-sizes.js";
import { cases } from "./helpers/models.js";

for (const [axis, sizes, expected] of cases.axes) {
  test(`${axis.slice(0, 40)} with ${JSON.stringify(sizes)}`, () => {
    assert.equal(sizeOf(axis, new Map(Object.entries(sizes))) ?? null, expected);
  });
}
