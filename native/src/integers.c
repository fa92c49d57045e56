/*
 * Products of integers, for vectors of WIDTH units. Compiled once for each set of instructions, with
 * INTEGERS as the name of the table that it defines.
 *
 * A row is quantized over its own range, as ONNX's DynamicQuantizeLinear does it for one row; its
 * products with the weights are exact sums in 32 bits. What a row gives does not depend on the
 * other rows, nor on the set of instructions, until the sums become floating point.
 */
#include "kernels.h"

#include <float.h>

#include "vector.h"

typedef int8_t bytes __attribute__((vector_size(WIDTH * 4)));

INLINE bytes load_bytes(const int8_t *from) {
  bytes v;
  memcpy(&v, from, sizeof v);
  return v;
}

INLINE integers load_integers(const int32_t *from) {
  integers v;
  memcpy(&v, from, sizeof v);
  return v;
}

/* Four integers of a row, in each lane. */
INLINE integers four_of(const uint8_t *from) {
  int32_t four;
  memcpy(&four, from, sizeof four);
  return (integers){0} + four;
}

/*
 * sums[unit] += x[0] * w[unit][0] + … + x[3] * w[unit][3]. With `wide`, two products together may
 * not fit into 16 bits; each alone does.
 */
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
#define DOT(sums, x, w, wide)                                                     \
  ((void)(wide), (integers)_mm512_dpbusd_epi32((__m512i)(sums), (__m512i)(x), (__m512i)(w)))
#elif defined(__AVXVNNI__)
#define DOT(sums, x, w, wide)                                                     \
  ((void)(wide), (integers)_mm256_dpbusd_avx_epi32((__m256i)(sums), (__m256i)(x), (__m256i)(w)))
#elif defined(__AVX512BW__)
INLINE integers dot(integers sums, integers x, bytes w, int wide) {
  const __m512i ones = _mm512_set1_epi16(1);
  if (!wide) {
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)x, (__m512i)w);
    return sums + (integers)_mm512_madd_epi16(pairs, ones);
  }
  const __m512i even = _mm512_set1_epi16(0xff);
  const __m512i first = _mm512_maddubs_epi16(_mm512_and_si512((__m512i)x, even), (__m512i)w);
  const __m512i second = _mm512_maddubs_epi16(_mm512_andnot_si512(even, (__m512i)x), (__m512i)w);
  return sums + (integers)_mm512_madd_epi16(first, ones) +
         (integers)_mm512_madd_epi16(second, ones);
}
#define DOT dot
#elif defined(__AVX2__)
INLINE integers dot(integers sums, integers x, bytes w, int wide) {
  const __m256i ones = _mm256_set1_epi16(1);
  if (!wide) {
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)x, (__m256i)w);
    return sums + (integers)_mm256_madd_epi16(pairs, ones);
  }
  const __m256i even = _mm256_set1_epi16(0xff);
  const __m256i first = _mm256_maddubs_epi16(_mm256_and_si256((__m256i)x, even), (__m256i)w);
  const __m256i second = _mm256_maddubs_epi16(_mm256_andnot_si256(even, (__m256i)x), (__m256i)w);
  return sums + (integers)_mm256_madd_epi16(first, ones) +
         (integers)_mm256_madd_epi16(second, ones);
}
#define DOT dot
#elif defined(__SSE2__)
INLINE integers dot(integers sums, integers x, bytes w, int wide) {
  (void)wide; /* 16 bits hold each factor, and 32 their products */
  const __m128i zero = _mm_setzero_si128();
  const __m128i factors = _mm_unpacklo_epi8((__m128i)x, zero);
  const __m128i signs = _mm_cmpgt_epi8(zero, (__m128i)w);
  const __m128 low = (__m128)_mm_madd_epi16(factors, _mm_unpacklo_epi8((__m128i)w, signs));
  const __m128 high = (__m128)_mm_madd_epi16(factors, _mm_unpackhi_epi8((__m128i)w, signs));
  return sums + (integers)_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)) +
         (integers)_mm_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1));
}
#define DOT dot
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define SHIFT 128 /* both factors are signed: each of x is less by so much */
INLINE integers dot(integers sums, integers x, bytes w, int wide) {
  (void)wide;
  const int8x16_t factors = vreinterpretq_s8_u8(
      veorq_u8(vreinterpretq_u8_s32((int32x4_t)x), vdupq_n_u8(SHIFT)));
  return (integers)vdotq_s32((int32x4_t)sums, factors, (int8x16_t)w);
}
#define DOT dot
#else
INLINE integers dot(integers sums, integers x, bytes w, int wide) {
  (void)wide;
  uint8_t factors[4];
  int32_t four = x[0];
  memcpy(factors, &four, sizeof factors);
  for (int unit = 0; unit < WIDTH; unit++)
    for (int k = 0; k < 4; k++) sums[unit] += factors[k] * w[4 * unit + k];
  return sums;
}
#define DOT dot
#endif
#ifndef SHIFT
#define SHIFT 0
#endif

/* The operands of one step, or of a product into `y`. */
struct step {
  const struct layer *layer;
  const float *const *ready, *const *h, *const *c;
  float *const *c_new, *const *y;
};

#define ROWS 1
#define PANELS 1
#include "integer_block.h"
#define ROWS 1
#define PANELS 4
#include "integer_block.h"
#define ROWS 2
#define PANELS 1
#include "integer_block.h"
#define ROWS 2
#define PANELS 4
#include "integer_block.h"
#if REGISTERS == 32
#define ROWS 4
#define PANELS 1
#include "integer_block.h"
#define ROWS 4
#define PANELS 4
#include "integer_block.h"
#define MOST_ROWS 4
#else
#define MOST_ROWS 2
#endif
#define MOST_PANELS 4 /* of one gate, at once */

typedef void block(const struct integer_matrix *, const struct quantized *, const struct step *,
                   int64_t row, int64_t panel);

#if MOST_ROWS == 4
#define BLOCKS(NAME, PANELS, WIDE) \
  {[1] = NAME##_1_##PANELS##_##WIDE, NAME##_2_##PANELS##_##WIDE, NULL, NAME##_4_##PANELS##_##WIDE}
#else
#define BLOCKS(NAME, PANELS, WIDE) {[1] = NAME##_1_##PANELS##_##WIDE, NAME##_2_##PANELS##_##WIDE}
#endif
#define BOTH(NAME, PANELS) {BLOCKS(NAME, PANELS, 0), BLOCKS(NAME, PANELS, 1)}

typedef block *const blocks[2][MOST_ROWS + 1]; /* by `wide` and rows */

/* Of one panel, and of MOST_PANELS. */
static const blocks step_rnn[] = {BOTH(step_rnn, 1), BOTH(step_rnn, 4)},
                    product[] = {BOTH(product, 1), BOTH(product, 4)},
                    project_1[] = {BOTH(project_1, 1), BOTH(project_1, 4)};
static const blocks step_lstm = BOTH(step_lstm, 1), step_gru = BOTH(step_gru, 1),
                    project_3 = BOTH(project_3, 1), project_4 = BOTH(project_4, 1);

static void over_rows(const blocks all, const struct integer_matrix *m, const struct quantized *x,
                      int64_t rows, const struct step *at, int64_t panel) {
  block *const *by_rows = all[m->wide ? 1 : 0];
  for (int64_t row = 0, count; row < rows; row += count) {
    const int64_t left = rows - row;
    count = left >= MOST_ROWS ? MOST_ROWS : left >= 2 ? 2 : 1;
    by_rows[count](m, x, at, row, panel);
  }
}

/* `some`: blocks of one panel, and, where the matrix has one gate, behind them those of several. */
static void over_blocks(const blocks *some, const struct integer_matrix *m,
                        const struct quantized *x, int64_t rows, const struct step *at) {
  int64_t panel = 0;
  if (m->gates == 1)
    for (; panel + MOST_PANELS <= m->panels; panel += MOST_PANELS)
      over_rows(some[1], m, x, rows, at, panel);
  for (; panel < m->panels; panel++) over_rows(some[0], m, x, rows, at, panel);
}

static void step(const struct layer *layer, const struct quantized *h_integers, int64_t rows,
                 const float *const *ready, const float *const *h, const float *const *c,
                 float *const *c_new, float *const *y) {
  const struct step at = {layer, ready, h, c, c_new, y};
  const blocks *some = layer->cell == CELL_RNN    ? step_rnn
                       : layer->cell == CELL_LSTM ? &step_lstm
                                                  : &step_gru;
  over_blocks(some, layer->recurrent_integers, h_integers, rows, &at);
}

static void multiply(const struct integer_matrix *m, const struct quantized *x, int64_t rows,
                     float *const *y, int packed) {
  const struct step at = {.y = y};
  const blocks *some = !packed         ? product
                       : m->gates == 1 ? project_1
                       : m->gates == 3 ? &project_3
                                       : &project_4;
  over_blocks(some, m, x, rows, &at);
}

/* The smallest number of a vector, by halves. */
INLINE float least_of(vector v) {
  float numbers[WIDTH];
  store(numbers, v);
  UNROLL for (int half = WIDTH / 2; half > 0; half /= 2)
    UNROLL for (int i = 0; i < half; i++)
      numbers[i] = numbers[i + half] < numbers[i] ? numbers[i + half] : numbers[i];
  return numbers[0];
}

/* As https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html; a range that a denormal
   number would tell counts as none. */
static void quantize(const float *x, int64_t count, uint8_t *values, int64_t row, float *scale,
                     int32_t *zero_point) {
  typedef uint8_t narrow __attribute__((vector_size(WIDTH)));
  const float magic = 12582912.0f; /* 1.5 * 2**23: a sum with it is rounded to an integer */
  vector low = all(0), high = all(0);
  for (int64_t i = 0; i < count; i += WIDTH) {
    const vector v = load_some(x + i, count - i);
    low = smaller(low, v);
    high = larger(high, v);
  }
  /* A lane that ended on NaN counts as zero. */
  const float least = least_of(smaller(low, all(0))), most = -least_of(-larger(high, all(0)));
  float step = (most - least) / 255.0f;
  if (!(step >= FLT_MIN)) step = 1;
  const float zero = (-least / step + magic) - magic;
  *scale = step;
  *zero_point = zero >= 0 && zero <= 255 ? (int32_t)zero : 0;
  for (int64_t i = 0; i < row; i += WIDTH) {
    vector v = i < count ? load_some(x + i, count - i) : all(0);
    v = ((v / step + magic) - magic) + (float)*zero_point;
    v = smaller(all(255), larger(all(0), v));
    const narrow q = __builtin_convertvector(__builtin_convertvector(v, integers), narrow);
    memcpy(values + i, &q, sizeof q);
  }
}

const struct integer_kernels INTEGERS = {quantize, multiply, step};
