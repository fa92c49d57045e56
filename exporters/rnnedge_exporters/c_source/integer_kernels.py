"""The C functions of products of integers, and of the cells that have them.

A row is rounded over its own range, as ONNX's DynamicQuantizeLinear does it for one row. What the
native engine sums is summed here: exact products of 8 bits, less the zero point.
"""

from __future__ import annotations

import re

INTEGER_PRODUCTS = """\
#if defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN)
#include <arm_acle.h>
#define TWO_AT_ONCE 1
#endif

/* The whole number nearest to x, for |x| < 2^31; the even one between two. NaN becomes 0. */
static int32_t nearest(float x) {
  int32_t whole;
  float rest;
  if (x != x) return 0;
  whole = (int32_t)x;
  rest = x - (float)whole;
  if (rest > 0.5f || (rest == 0.5f && whole % 2 != 0)) whole++;
  if (rest < -0.5f || (rest == -0.5f && whole % 2 != 0)) whole--;
  return whole;
}

/* Rounds numbers to 8 bits over their own range, as ONNX's DynamicQuantizeLinear; `rounded` gets
   them less the zero point. Returns the scale. */
static float quantize(const float *x, size_t count, int16_t *rounded) {
  float least = 0.0f, most = 0.0f, scale;
  int32_t zero;
  size_t k;
  for (k = 0; k < count; k++) {
    if (x[k] < least) least = x[k];
    if (x[k] > most) most = x[k];
  }
  scale = (most - least) / 255.0f;
  if (!(scale >= 1.17549435e-38f)) scale = 1.0f;
  zero = nearest(-least / scale);
  if (zero > 255) zero = 0;
  for (k = 0; k < count; k++) {
    int32_t value = nearest(x[k] / scale) + zero;
    if (value > 255) value = 255;
    if (value < 0) value = 0;
    rounded[k] = (int16_t)(value - zero);
  }
  return scale;
}

/* The sum of row[k] * x[k], exactly. */
static int32_t integer_product(const int8_t *row, const int16_t *x, size_t count) {
  int32_t sum = 0;
  size_t k = 0;
#if defined(TWO_AT_ONCE)
  for (; k + 4 <= count; k += 4) { /* SMLAD: two products each */
    uint32_t w, low, high;
    __builtin_memcpy(&w, row + k, 4);
    __builtin_memcpy(&low, x + k, 4);
    __builtin_memcpy(&high, x + k + 2, 4);
    sum = __smlad(__sxtb16((int8x4_t)w),
                  (int16x2_t)((low & 0x0000ffffu) | (high << 16)), sum);
    sum = __smlad(__sxtb16((int8x4_t)(w >> 8)),
                  (int16x2_t)((low >> 16) | (high & 0xffff0000u)), sum);
  }
#endif
  for (; k < count; k++) sum += row[k] * x[k];
  return sum;
}

/* Row `row` of a matrix times what was rounded with `scale`. */
static float integer_row(const struct matrix *m, size_t row, const int16_t *x, float scale) {
  const int8_t *weights = (const int8_t *)m->weights + row * m->inputs;
  return (float)integer_product(weights, x, m->inputs) * scale * m->scales[row];
}"""
"""Products of integers."""

CELLS_OF_INTEGERS = ("rnn", "rnn_relu", "lstm", "gru")
"""Cells whose recurrent product may be one of integers."""


def cell_of_integers(cell: str, *, input: bool) -> str:
    """Return the name of a cell whose recurrent product is one of integers.

    Args:
        cell: The cell in float32.
        input: Whether the product of its input is one too.
    """
    return f"{cell}_{'all_' if input else ''}integers"


def text_of_integers(cell: str, text: str, *, input: bool) -> str:
    """Return the C of a cell that rounds its state, and its input, to integers.

    Args:
        cell: The cell in float32.
        text: Its C.
        input: Whether the input is rounded too.
    """
    text = text.replace(f"void {cell}(", f"void {cell_of_integers(cell, input=input)}(")
    integers = r"integer_row(&l->hh, \1, rounded, scale)"
    text = re.sub(r"row_product\(&l->hh, (.+?), h\)", integers, text)
    quantized = "  const float scale = quantize(h, l->hh.inputs, rounded);\n"
    if input:
        integers = r"integer_row(&l->ih, \1, rounded + l->hh.inputs, x_scale)"
        text = re.sub(r"row_product\(&l->ih, (.+?), x\)", integers, text)
        quantized += "  const float x_scale = quantize(x, l->ih.inputs, rounded + l->hh.inputs);\n"
    head, body = text.split(") {\n", 1)
    return f"{head}, int16_t *rounded) {{\n{quantized}{body}"
