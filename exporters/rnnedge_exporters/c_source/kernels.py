"""The C functions that generated programs call, each with what it calls itself.

tanh, sigmoid and exp are within 2e-7: exp(x) = 2^n * exp(r) with x = n * log(2) + r and
|r| <= log(2) / 2, whose polynomial was fitted by its relative error, which is below 1.4e-8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnnedge_exporters.c_source.integer_kernels import (
    CELLS_OF_INTEGERS,
    INTEGER_PRODUCTS,
    cell_of_integers,
    text_of_integers,
)
from rnnedge_exporters.c_source.packing import Kind


@dataclass(frozen=True, slots=True)
class Kernel:
    """A C function, and the names of those that it calls."""

    text: str
    needs: tuple[str, ...] = ()


KERNELS: dict[str, Kernel] = {
    "pow2": Kernel(
        """\
/* 2^n, for n from -126 to 127. */
static float pow2(int32_t n) {
  union {
    uint32_t bits;
    float value;
  } power;
  power.bits = (uint32_t)(n + 127) << 23;
  return power.value;
}"""
    ),
    "exp_split": Kernel(
        """\
/* For |x| <= 87.3: splits x = n log(2) + r, returns exp(r) - 1 and sets *power to 2^n. */
static float exp_split(float x, float *power) {
  const int32_t n = (int32_t)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
  /* log(2) in two parts, the first exact in 10 bits */
  const float r = (x - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
  float q = r * 0.00138825062f + 0.00836659595f;
  q = q * r + 0.0416672006f;
  q = q * r + 0.166665435f;
  q = q * r + 0.49999997f;
  *power = pow2(n);
  return r + r * r * q;
}""",
        ("pow2",),
    ),
    "exp_f": Kernel(
        """\
/* exp(x); 0 below -87.3. */
static float exp_f(float x) {
  float power, rest;
  if (!(x >= -87.3f)) return x < -87.3f ? 0.0f : x; /* NaN stays */
  if (x > 87.3f) { /* in two factors: 2^128 is not a float */
    rest = exp_split((x < 89.0f ? x : 89.0f) * 0.5f, &power);
    rest = power + power * rest;
    return rest * rest;
  }
  rest = exp_split(x, &power);
  return power + power * rest;
}""",
        ("exp_split",),
    ),
    "sigmoid": Kernel(
        """\
/* 1 / (1 + exp(-x)). */
static float sigmoid(float x) {
  float power, rest;
  if (x > 87.3f) x = 87.3f;
  if (x < -87.3f) x = -87.3f;
  if (x != x) return x;
  rest = exp_split(-x, &power);
  return 1.0f / (1.0f + (power + power * rest));
}""",
        ("exp_split",),
    ),
    "tanh_f": Kernel(
        """\
/* tanh(x) from exp(-2|x|) - 1, which keeps its precision near zero. */
static float tanh_f(float x) {
  const float size = x < 0.0f ? -x : x;
  float power, rest, below, value;
  if (x != x) return x;
  rest = exp_split(size < 10.0f ? size * -2.0f : -20.0f, &power);
  below = power * rest + (power - 1.0f);
  value = below / (-2.0f - below);
  return x < 0.0f ? -value : value;
}""",
        ("exp_split",),
    ),
    "relu": Kernel(
        """\
/* max(x, 0); NaN stays NaN. */
static float relu(float x) {
  return x < 0.0f ? 0.0f : x;
}"""
    ),
    "sqrt_f": Kernel(
        """\
/* The square root, by Newton's method from a guess that halves the exponent. */
static float sqrt_f(float x) {
  union {
    uint32_t bits;
    float value;
  } guess;
  float scale = 1.0f;
  int i;
  if (!(x > 0.0f)) return x < 0.0f ? (x - x) / (x - x) : x;
  if (x > 3.4028234e38f) return x;
  if (x < 1e-30f) { /* far enough from numbers with fewer bits */
    x *= 1.2676506e30f;      /* 2^100 */
    scale = 8.8817842e-16f; /* 2^-50 */
  }
  guess.value = x;
  guess.bits = (guess.bits >> 1) + 0x1fbd1df5u;
  for (i = 0; i < 4; i++) guess.value = 0.5f * (guess.value + x / guess.value);
  return guess.value * scale;
}"""
    ),
    "log_f": Kernel(
        """\
/* log(x) = n log(2) + 2 atanh((m - 1) / (m + 1)), where x = m 2^n and m is near 1. */
static float log_f(float x) {
  union {
    uint32_t bits;
    float value;
  } parts;
  int32_t n = 0;
  float s, square, q;
  if (!(x > 0.0f)) return x < 0.0f ? (x - x) / (x - x) : x == 0.0f ? -1.0f / (x * x) : x;
  if (x > 3.4028234e38f) return x;
  if (x < 1.17549435e-38f) {
    x *= 16777216.0f;
    n = -24;
  }
  parts.value = x;
  n += (int32_t)(parts.bits >> 23) - 127;
  parts.bits = (parts.bits & 0x007fffffu) | 0x3f800000u;
  if (parts.value > 1.41421356f) {
    parts.value *= 0.5f;
    n++;
  }
  s = (parts.value - 1.0f) / (parts.value + 1.0f);
  square = s * s;
  q = 0.222222222f + square * 0.181818182f;
  q = 0.285714286f + square * q;
  q = 0.4f + square * q;
  q = 0.666666667f + square * q;
  q = (float)n * 9.0580006145e-06f + s * square * q; /* log(2) in two parts */
  return (float)n * 6.9313812256e-01f + (2.0f * s + q);
}"""
    ),
    "expm1_f": Kernel(
        """\
/* exp(x) - 1, for x below zero. */
static float expm1_f(float x) {
  float power, rest;
  if (x != x) return x;
  rest = exp_split(x > -87.3f ? x : -87.3f, &power);
  return power * rest + (power - 1.0f);
}""",
        ("exp_split",),
    ),
    "softplus": Kernel(
        """\
/* log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), corrected for what 1 + e rounds off. */
static float softplus(float x) {
  const float e = exp_f(x > 0.0f ? -x : x), whole = 1.0f + e;
  const float rest = whole == 1.0f ? e : log_f(whole) * (e / (whole - 1.0f));
  return (x > 0.0f ? x : 0.0f) + rest;
}""",
        ("exp_f", "log_f"),
    ),
    "erf_f": Kernel(
        """\
/* erf(x): its Taylor series near zero, Abramowitz and Stegun 7.1.26 elsewhere. */
static float erf_f(float x) {
  const float size = x < 0.0f ? -x : x, square = x * x;
  const float t = 1.0f / (1.0f + 0.3275911f * size);
  float q = 1.061405429f, value;
  if (size < 0.5f) {
    q = 0.00522397762f - square * 0.000854832702f;
    q = -0.0268661706f + square * q;
    q = 0.112837917f + square * q;
    q = -0.376126389f + square * q;
    return x * (1.12837917f + square * q);
  }
  q = q * t - 1.453152027f;
  q = q * t + 1.421413741f;
  q = q * t - 0.284496736f;
  q = q * t + 0.254829592f;
  value = 1.0f - q * t * exp_f(-size * size);
  return x < 0.0f ? -value : value;
}""",
        ("exp_f",),
    ),
    "half_to_float": Kernel(
        """\
/* The float of the bits of a float16. */
static float half_to_float(uint16_t half) {
  union {
    uint32_t bits;
    float value;
  } wide;
  const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  wide.bits = (uint32_t)(half & 0x7fffu) << 13;
  wide.value *= 5.19229686e33f; /* 2^112: the exponents differ by that */
  wide.bits |= sign;
  return wide.value;
}"""
    ),
    "copy": Kernel(
        """\
/* y[i] = x[i]. */
static void copy(const float *x, float *y, size_t count) {
  size_t i;
  for (i = 0; i < count; i++) y[i] = x[i];
}"""
    ),
    "softmax": Kernel(
        """\
/* Softmax of each row. */
static void softmax(const float *x, float *y, size_t rows, size_t size) {
  for (; rows > 0; rows--, x += size, y += size) {
    float largest = x[0], sum = 0.0f;
    size_t i;
    for (i = 1; i < size; i++)
      if (x[i] > largest) largest = x[i];
    for (i = 0; i < size; i++) sum += y[i] = exp_f(x[i] - largest);
    for (i = 0; i < size; i++) y[i] /= sum;
  }
}""",
        ("exp_f",),
    ),
    "log_softmax": Kernel(
        """\
/* The logarithm of the softmax of each row. */
static void log_softmax(const float *x, float *y, size_t rows, size_t size) {
  for (; rows > 0; rows--, x += size, y += size) {
    float largest = x[0], sum = 0.0f, shift;
    size_t i;
    for (i = 1; i < size; i++)
      if (x[i] > largest) largest = x[i];
    for (i = 0; i < size; i++) sum += exp_f(x[i] - largest);
    shift = largest + log_f(sum);
    for (i = 0; i < size; i++) y[i] = x[i] - shift;
  }
}""",
        ("exp_f", "log_f"),
    ),
    "layer_norm": Kernel(
        """\
/* Layer normalization of rows; bias may be NULL. */
static void layer_norm(const float *x, const float *scale, const float *bias, float epsilon,
                       float *y, size_t rows, size_t size) {
  for (; rows > 0; rows--, x += size, y += size) {
    float mean = 0.0f, squares = 0.0f, factor;
    size_t i;
    for (i = 0; i < size; i++) mean += x[i];
    mean /= (float)size;
    for (i = 0; i < size; i++) {
      y[i] = x[i] - mean;
      squares += y[i] * y[i];
    }
    factor = 1.0f / sqrt_f(squares / (float)size + epsilon);
    for (i = 0; i < size; i++) y[i] = y[i] * factor * scale[i] + (bias ? bias[i] : 0.0f);
  }
}""",
        ("sqrt_f",),
    ),
}


def _products(kinds: tuple[Kind, ...]) -> str:
    """Return the C of `row_product` for matrices of these storages."""
    types = {"float32": "float", "float16": "uint16_t", "int8": "int8_t"}
    wide = {"float32": "{}", "float16": "half_to_float({})", "int8": "(float){}"}
    parts = []
    for kind in kinds:
        terms = [f"{wide[kind].format(f'row[k + {i}]')} * x[k + {i}]" for i in range(4)]
        last = f"{wide[kind].format('row[k]')} * x[k]"
        parts.append(
            f"""\
/* The sum of row[k] * x[k], as four sums that a processor adds up side by side. */
static float product_{kind}(const {types[kind]} *row, const float *x, size_t count) {{
  float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
  size_t k = 0;
  for (; k + 4 <= count; k += 4) {{
    a += {terms[0]};
    b += {terms[1]};
    c += {terms[2]};
    d += {terms[3]};
  }}
  for (; k < count; k++) a += {last};
  return (a + b) + (c + d);
}}"""
        )
    return "\n\n".join(parts)


def _part_product(kinds: tuple[Kind, ...]) -> str:
    types = {"float32": "float", "float16": "uint16_t", "int8": "int8_t"}
    cases = []
    for kind in kinds:
        row = f"(const {types[kind]} *)m->weights + at"
        call = f"product_{kind}({row}, x, count)"
        call += " * m->scales[row]" if kind == "int8" else ""
        cases.append((kind, f"return {call};"))
    body = "\n".join(f"  if (m->kind == {kind.upper()}) {text}" for kind, text in cases[:-1])
    body += ("\n" if body else "") + f"  {cases[-1][1]}"
    return f"""\
/* Row `row` of a matrix times x; only the `count` columns that start at `from`. */
static float part_product(const struct matrix *m, size_t row, size_t from, const float *x,
                          size_t count) {{
  const size_t at = row * m->inputs + from;
{body}
}}"""


_WHOLE_ROW = """\
/* Row `row` of a matrix times x. */
static float row_product(const struct matrix *m, size_t row, const float *x) {
  return part_product(m, row, 0, x, m->inputs);
}"""


def _matrix(kinds: tuple[Kind, ...]) -> str:
    names = ", ".join(kind.upper() for kind in kinds)
    several = len(kinds) > 1
    kind = "  enum kind kind;      /* of its elements */\n" if several else ""
    scales = "  const float *scales; /* [units], of int8 */\n" if "int8" in kinds else ""
    return (
        (f"enum kind {{ {names} }};\n\n" if several else "")
        + "/* A matrix [units, inputs] of weights. */\nstruct matrix {\n"
        + kind
        + "  const void *weights;\n"
        + scales
        + "  size_t inputs;\n};"
    )


CELLS: dict[str, Kernel] = {
    "rnn": Kernel(
        """\
/* y = tanh(bias + W_ih x + W_hh h) of one row; y must not be h. */
static void rnn(const struct layer *l, const float *x, const float *h, float *y) {
  size_t u;
  for (u = 0; u < l->hidden; u++)
    y[u] = tanh_f(l->bias[u] + row_product(&l->ih, u, x) + row_product(&l->hh, u, h));
}""",
        ("tanh_f",),
    ),
    "rnn_relu": Kernel(
        """\
/* y = relu(bias + W_ih x + W_hh h) of one row; y must not be h. */
static void rnn_relu(const struct layer *l, const float *x, const float *h, float *y) {
  size_t u;
  for (u = 0; u < l->hidden; u++)
    y[u] = relu(l->bias[u] + row_product(&l->ih, u, x) + row_product(&l->hh, u, h));
}""",
        ("relu",),
    ),
    "lstm": Kernel(
        """\
/* One step of one row. The gates are i, f, g, o; c_new may be c; y must not be h. */
static void lstm(const struct layer *l, const float *x, const float *h, const float *c,
                 float *c_new, float *y) {
  const size_t hidden = l->hidden;
  size_t u, gate;
  for (u = 0; u < hidden; u++) {
    float sums[4];
    for (gate = 0; gate < 4; gate++) {
      const size_t row = gate * hidden + u;
      sums[gate] = l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, h);
    }
    c_new[u] = sigmoid(sums[1]) * c[u] + sigmoid(sums[0]) * tanh_f(sums[2]);
    y[u] = sigmoid(sums[3]) * tanh_f(c_new[u]);
  }
}""",
        ("sigmoid", "tanh_f"),
    ),
    "gru": Kernel(
        """\
/* One step of one row. The gates are r, z, n; y must not be h. */
static void gru(const struct layer *l, const float *x, const float *h, float *y) {
  const size_t hidden = l->hidden;
  size_t u, gate;
  for (u = 0; u < hidden; u++) {
    float sums[2], n;
    for (gate = 0; gate < 2; gate++) {
      const size_t row = gate * hidden + u;
      sums[gate] = l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, h);
    }
    n = l->bias_n[u] + row_product(&l->hh, 2 * hidden + u, h);
    n = l->bias[2 * hidden + u] + row_product(&l->ih, 2 * hidden + u, x) + sigmoid(sums[0]) * n;
    n = tanh_f(n);
    y[u] = n + sigmoid(sums[1]) * (h[u] - n);
  }
}""",
        ("sigmoid", "tanh_f"),
    ),
    "gru_reset_before": Kernel(
        """\
/* One step of one row, whose reset gate scales the state before the recurrent product. The gates
   are r, z, n; `work` has room for twice the hidden size. */
static void gru_reset_before(const struct layer *l, const float *x, const float *h, float *y,
                             float *work) {
  const size_t hidden = l->hidden;
  size_t u, row;
  for (row = 0; row < 2 * hidden; row++)
    work[row] =
        sigmoid(l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, h));
  for (u = 0; u < hidden; u++) work[u] *= h[u];
  for (u = 0; u < hidden; u++) {
    float n;
    row = 2 * hidden + u;
    n = tanh_f(l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, work));
    y[u] = n + work[hidden + u] * (h[u] - n);
  }
}""",
        ("sigmoid", "tanh_f"),
    ),
}
_LAYER = """\
/* One direction of a recurrent layer. */
struct layer {
  size_t hidden;
  struct matrix ih, hh;
  const float *bias;   /* of both products, one for each row of their sum */
"""


def has_gru(cells: Iterable[str]) -> bool:
    """Whether one of the cells has a bias that its reset gate scales."""
    return any(cell.partition("_")[0] == "gru" and "reset" not in cell for cell in cells)


_BIAS_N = "  const float *bias_n; /* of a GRU's new gate, scaled by its reset gate */\n"


CELLS |= {
    cell_of_integers(cell, input=input): Kernel(
        text_of_integers(cell, CELLS[cell].text, input=input), CELLS[cell].needs
    )
    for cell in CELLS_OF_INTEGERS
    for input in (False, True)
}


def needed(used: Iterable[str], cells: Iterable[str]) -> list[str]:
    """Return the kernels that are used, each after those that it calls."""
    order: dict[str, None] = {}

    def add(name: str) -> None:
        for other in KERNELS[name].needs:
            add(other)
        order.setdefault(name)

    for name in [
        *sorted(set(used)),
        *(need for cell in sorted(cells) for need in CELLS[cell].needs),
    ]:
        add(name)
    return list(order)


def definitions(
    used: Iterable[str],
    cells: Iterable[str],
    kinds: tuple[Kind, ...],
    *,
    widened: tuple[Kind, ...] = (),
    rows: bool = False,
    integers: bool = False,
) -> str:
    """Return the C of all functions that are used, each after those that it calls.

    Args:
        used: Names of kernels.
        cells: Names of cells.
        kinds: How matrices are stored; empty where there are none.
        widened: How those are stored that are multiplied in float32.
        rows: Whether whole rows of these are multiplied.
        integers: Whether others are multiplied as integers.
    """
    cells = sorted(set(cells))
    parts = [KERNELS[name].text for name in needed(used, cells)]
    if kinds:
        parts.append(_matrix(kinds))
    if widened:
        parts += [_products(widened), _part_product(widened)]
        parts += [_WHOLE_ROW] if rows else []
    if integers:
        parts.append(INTEGER_PRODUCTS)
    if cells:
        parts.append(_LAYER + (_BIAS_N if has_gru(cells) else "") + "};")
        parts += [CELLS[cell].text for cell in cells]
    return "\n\n".join(parts)
