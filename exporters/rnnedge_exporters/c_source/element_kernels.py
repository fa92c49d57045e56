"""The C functions that generated programs call, each with what it calls itself.

tanh, sigmoid and exp are within 2e-7: exp(x) = 2^n * exp(r) with x = n * log(2) + r and
|r| <= log(2) / 2, whose polynomial was fitted by its relative error, which is below 1.4e-8.
"""

from __future__ import annotations

from dataclasses import dataclass


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
