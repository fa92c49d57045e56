/** How each operator of ONNX is laid out: as kernel calls, as a view, or as a constant. */

import * as arithmetic from "./arithmetic.js";
import * as control from "./control.js";
import * as convolution from "./convolution.js";
import * as movement from "./movement.js";
import * as products from "./products.js";
import * as recurrent from "./recurrent.js";
import * as reductions from "./reductions.js";
import * as scan from "./scan.js";

/** @typedef {import("../tracer.js").Operator} Operator */

/**
 * Operators that the native engine knows in a page.
 *
 * @type {Readonly<Record<string, Operator>>}
 */
export const OPERATORS = Object.freeze({
  ...arithmetic.OPERATORS,
  ...control.OPERATORS,
  ...convolution.OPERATORS,
  ...movement.OPERATORS,
  ...products.OPERATORS,
  ...recurrent.OPERATORS,
  ...reductions.OPERATORS,
  ...scan.OPERATORS,
});
