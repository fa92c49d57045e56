/* Vectors of WIDTH floats, and the functions of one number that the kernels need. */
#ifndef RNNEDGE_VECTOR_H
#define RNNEDGE_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 16
#define REGISTERS 32
#elif defined(__AVX2__)
#include <immintrin.h>
#define WIDTH 8
#define REGISTERS 16
#elif defined(__SSE2__)
#include <emmintrin.h>
#define WIDTH 4
#define REGISTERS 16
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define WIDTH 4
#define REGISTERS 16
#define COMPACT 1 /* what a page loads has fewer shapes of blocks, and functions that are called */
#else
#define WIDTH 4
#define REGISTERS 32
#endif

typedef float vector __attribute__((vector_size(WIDTH * 4)));
typedef int32_t integers __attribute__((vector_size(WIDTH * 4)));

#define INLINE static inline __attribute__((always_inline))
#if defined(COMPACT)
#define CALLED static __attribute__((noinline))
#else
#define CALLED INLINE
#endif
#define UNROLL _Pragma("GCC unroll 16")

INLINE vector load(const float *from) {
  vector v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE void store(float *to, vector v) { memcpy(to, &v, sizeof v); }

INLINE vector all(float x) { return (vector){0} + x; }

/* The first `count` numbers, 1 to WIDTH; nothing past them is touched. */
CALLED vector load_some(const float *from, int64_t count) {
  if (count >= WIDTH) return load(from);
#if defined(__AVX512F__)
  return (vector)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#elif defined(__wasm_simd128__)
  v128_t v = wasm_v128_load32_zero(from);
  if (count > 1) v = wasm_f32x4_replace_lane(v, 1, from[1]);
  if (count > 2) v = wasm_f32x4_replace_lane(v, 2, from[2]);
  return (vector)v;
#else
  vector v = {0};
  for (int64_t i = 0; i < count; i++) v[i] = from[i];
  return v;
#endif
}

CALLED void store_some(float *to, vector v, int64_t count) {
  if (count >= WIDTH) {
    store(to, v);
    return;
  }
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)v);
#elif defined(__wasm_simd128__)
  to[0] = v[0];
  if (count > 1) to[1] = v[1];
  if (count > 2) to[2] = v[2];
#else
  for (int64_t i = 0; i < count; i++) to[i] = v[i];
#endif
}

/* Of two numbers the smaller or larger; x where it is NaN. */
INLINE vector smaller(vector limit, vector x) {
#if defined(__AVX512F__)
  return (vector)_mm512_min_ps((__m512)limit, (__m512)x);
#elif defined(__AVX2__)
  return (vector)_mm256_min_ps((__m256)limit, (__m256)x);
#elif defined(__SSE2__)
  return (vector)_mm_min_ps((__m128)limit, (__m128)x);
#elif defined(__wasm_simd128__)
  return (vector)wasm_f32x4_pmin((v128_t)x, (v128_t)limit);
#else
  integers take = limit < x;
  return (vector)((take & (integers)limit) | (~take & (integers)x));
#endif
}

INLINE vector larger(vector limit, vector x) {
#if defined(__AVX512F__)
  return (vector)_mm512_max_ps((__m512)limit, (__m512)x);
#elif defined(__AVX2__)
  return (vector)_mm256_max_ps((__m256)limit, (__m256)x);
#elif defined(__SSE2__)
  return (vector)_mm_max_ps((__m128)limit, (__m128)x);
#elif defined(__wasm_simd128__)
  return (vector)wasm_f32x4_pmax((v128_t)x, (v128_t)limit);
#else
  integers take = limit > x;
  return (vector)((take & (integers)limit) | (~take & (integers)x));
#endif
}

/* Keeps a vector that several products share in a register, where a compiler would load it anew. */
#if defined(__AVX512F__)
#define HOLD(v) __asm__("" : "+v"(v))
#elif defined(__x86_64__)
#define HOLD(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define HOLD(v) __asm__("" : "+w"(v))
#else
#define HOLD(v) (void)(v)
#endif

#define SIGN ((integers){0} + INT32_MIN)

INLINE vector absolute(vector x) { return (vector)((integers)x & ~SIGN); }

/*
 * 2**n and exp(r) - 1 with x = n * log(2) + r and |r| <= log(2) / 2, for |x| <= 87.3.
 * The polynomial was fitted to exp(r) - 1 by its relative error, which is below 1.4e-8.
 */
INLINE vector reduce_exponential(vector x, vector *power) {
  const float magic = 12582912.0f; /* 1.5 * 2**23: a sum with it is rounded to an integer */
  vector shifted = x * 1.44269504f + magic;
  vector n = shifted - magic;
  vector r = x - n * 0.693359375f; /* log(2) in two parts, the first exact in 10 bits */
  r = r + n * 2.12194440e-4f;
  *power = (vector)(((integers)shifted << 23) + 0x3f800000);
  vector q = r * 0.00138825062f + 0.00836659595f;
  q = q * r + 0.0416672006f;
  q = q * r + 0.166665435f;
  q = q * r + 0.49999997f;
  return r + r * r * q;
}

CALLED vector exponential(vector x) {
  /* Past the upper limit: infinity, in two factors since 2**128 is not a float. */
  vector clipped = smaller(all(88.8f), larger(all(-87.3f), x));
  vector power, half = clipped * 0.5f;
  vector rest = reduce_exponential(half, &power);
  vector root = power + power * rest;
  (void)root;
  vector whole = reduce_exponential(smaller(all(87.3f), clipped), &power);
  vector near = power * (1.0f + whole);
  integers far = clipped > all(87.3f), none = x < all(-87.3f);
  vector value = (vector)((far & (integers)(root * root)) | (~far & (integers)near));
  return (vector)(~none & (integers)value);
}

/* Within 1e-7; relatively too, down to the smallest normal number. */
CALLED vector sigmoid(vector x) {
  x = smaller(all(87.3f), larger(all(-87.3f), x));
  vector power, rest = reduce_exponential(-x, &power);
  return 1.0f / (1.0f + (power + power * rest));
}

/* Within 2e-7, relatively too: exp(-2|x|) - 1 is formed without a difference of near numbers. */
CALLED vector hyperbolic_tangent(vector x) {
  vector power, size = smaller(all(10.0f), absolute(x));
  vector rest = reduce_exponential(size * -2.0f, &power);
  vector below = power * rest + (power - 1.0f); /* exp(-2|x|) - 1, from -1 to 0 */
  vector value = below / (-2.0f - below);
  return (vector)((integers)value | ((integers)x & SIGN));
}

#endif
