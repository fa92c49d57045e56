#include "program.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* --- denormal numbers ------------------------------------------------------------------------ */

#if defined(__x86_64__)
typedef unsigned int rounding;
static rounding flush_denormals(void) {
  const rounding before = _mm_getcsr();
  _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
  return before;
}
static void restore(rounding before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
typedef uint64_t rounding;
static rounding flush_denormals(void) {
  rounding before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" : : "r"(before | ((uint64_t)1 << 24)));
  return before;
}
static void restore(rounding before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
typedef int rounding;
static rounding flush_denormals(void) { return 0; }
static void restore(rounding before) { (void)before; }
#endif

/* --- packing --------------------------------------------------------------------------------- */

static void *aligned(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes ? (bytes + 63) / 64 * 64 : 64)) return NULL;
  memset(memory, 0, bytes ? (bytes + 63) / 64 * 64 : 64);
  return memory;
}

int pack_matrix(struct matrix *matrix, const float *rows, const float *bias, int64_t units,
                int64_t inputs, int64_t gates, int64_t width) {
  const int64_t panels = (units + width - 1) / width;
  *matrix = (struct matrix){inputs, units, gates, panels, NULL, NULL};
  matrix->weights = aligned((size_t)(panels * inputs * gates * width) * sizeof(float));
  matrix->bias = aligned((size_t)(panels * gates * width) * sizeof(float));
  if (!matrix->weights || !matrix->bias) {
    free_matrix(matrix);
    return 0;
  }
  for (int64_t gate = 0; gate < gates; gate++)
    for (int64_t unit = 0; unit < units; unit++) {
      const int64_t panel = unit / width, lane = unit % width;
      const float *row = rows + (gate * units + unit) * inputs;
      float *to = matrix->weights + (panel * inputs * gates + gate) * width + lane;
      for (int64_t k = 0; k < inputs; k++) to[k * gates * width] = row[k];
      if (bias) matrix->bias[(panel * gates + gate) * width + lane] = bias[gate * units + unit];
    }
  return 1;
}

void free_matrix(struct matrix *matrix) {
  free(matrix->weights);
  free(matrix->bias);
  matrix->weights = matrix->bias = NULL;
}

#if !defined(WITHOUT_INTEGERS)
int pack_integers(struct integer_matrix *matrix, const struct kernels *kernels,
                  const int8_t *values, const float *scales, const float *bias, int64_t units,
                  int64_t inputs, int64_t gates) {
  const int64_t width = kernels->width, panels = (units + width - 1) / width;
  const int64_t fours = (inputs + 4 * FOURS - 1) / (4 * FOURS) * FOURS;
  const size_t lanes = (size_t)(panels * gates * width);
  *matrix = (struct integer_matrix){.kernels = kernels->integers, .inputs = inputs,
                                    .units = units, .gates = gates, .panels = panels,
                                    .fours = fours};
  matrix->weights = aligned(lanes * (size_t)fours * 4);
  matrix->sums = aligned(lanes * sizeof(int32_t));
  matrix->scales = aligned(lanes * sizeof(float));
  matrix->bias = aligned(lanes * sizeof(float));
  if (!matrix->weights || !matrix->sums || !matrix->scales || !matrix->bias) {
    free_integers(matrix);
    return 0;
  }
  for (int64_t gate = 0; gate < gates; gate++)
    for (int64_t unit = 0; unit < units; unit++) {
      const int64_t panel = unit / width, lane = unit % width, from = gate * units + unit;
      const int64_t to = (panel * gates + gate) * width + lane;
      const int8_t *row = values + from * inputs;
      int8_t *packed = matrix->weights + ((panel * fours * gates + gate) * width + lane) * 4;
      for (int64_t k = 0; k < inputs; k++) {
        packed[k / 4 * gates * width * 4 + k % 4] = row[k];
        matrix->sums[to] += row[k];
        /* 255 * 128 fits into 16 bits, 255 * 129 does not */
        if (k % 2 && abs(row[k - 1]) + abs(row[k]) > 128) matrix->wide = 1;
      }
      matrix->scales[to] = scales[from];
      if (bias) matrix->bias[to] = bias[from];
    }
  return 1;
}

void free_integers(struct integer_matrix *matrix) {
  free(matrix->weights);
  free(matrix->sums);
  free(matrix->scales);
  free(matrix->bias);
  matrix->weights = NULL;
  matrix->sums = NULL;
  matrix->scales = matrix->bias = NULL;
}
#endif

/* --- checking -------------------------------------------------------------------------------- */

#define MOST_BYTES ((int64_t)1 << 46)

/* Whether the elements at all combinations of `axes` distances lie within the buffer of a place. */
static int within(const struct program *program, const struct place *place, int64_t axes,
                  const int64_t *sizes, const int64_t *distances, int64_t item) {
  if (place->buffer < 0 || place->buffer >= program->buffers || place->offset < 0) return 0;
  if (place->offset % item || place->offset > MOST_BYTES) return 0;
  int64_t low = 0, high = 0;
  for (int64_t axis = 0; axis < axes; axis++) {
    int64_t reach;
    if (sizes[axis] < 0) return 0;
    if (sizes[axis] == 0) return 1;
    if (__builtin_mul_overflow(sizes[axis] - 1, distances[axis], &reach)) return 0;
    if (__builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high)) return 0;
  }
  if (high > MOST_BYTES || low < -MOST_BYTES) return 0;
  return place->offset + low * item >= 0 &&
         place->offset + (high + 1) * item <= program->extents[place->buffer];
}

static int run_within(const struct program *program, const struct place *place, int64_t count,
                      int64_t item) {
  const int64_t one = 1;
  return within(program, place, 1, &count, &one, item);
}

static int layer_fits(const struct program *program, const struct call *call) {
  const struct layer *layer = call->layer;
  const int64_t *d = call->distances;
  if (!layer) return 0;
  const int64_t time = call->sizes[0], batch = call->sizes[1];
  const int64_t hidden = layer->hidden_size, size = layer->state_size;
  if (time < 1 || batch < 1) return 0;
  const int64_t x[] = {time, batch, layer->input_size}, x_apart[] = {d[0], d[1], 1};
  const int64_t y[] = {time, batch, size}, y_apart[] = {d[4], d[5], 1};
  const int64_t h[] = {batch, size}, c[] = {batch, hidden};
  const int64_t h_0[] = {d[2], 1}, c_0[] = {d[3], 1}, h_n[] = {d[6], 1}, c_n[] = {d[7], 1};
  const int lstm = layer->cell == CELL_LSTM;
  return within(program, &call->places[0], 3, x, x_apart, 4) &&
         (call->places[1].buffer == NOWHERE ||
          within(program, &call->places[1], 2, h, h_0, 4)) &&
         (!lstm || call->places[2].buffer == NOWHERE ||
          within(program, &call->places[2], 2, c, c_0, 4)) &&
         (call->places[3].buffer == NOWHERE || run_within(program, &call->places[3], batch, 8)) &&
         within(program, &call->places[4], 3, y, y_apart, 4) &&
         within(program, &call->places[5], 2, h, h_n, 4) &&
         (!lstm || within(program, &call->places[6], 2, c, c_n, 4));
}

static int product_fits(const struct program *program, const struct call *call) {
  const struct matrix *matrix = call->matrix;
  const struct integer_matrix *integers = call->integers;
  const int64_t *s = call->sizes, *d = call->distances;
  int64_t inputs;
  if ((!matrix && !integers) || s[2] < 1 || s[3] < 1) return 0;
  if (integers && (s[2] != 1 || call->kind != ACTIVATION_NONE)) return 0;
  if ((matrix ? matrix->gates : integers->gates) != 1) return 0;
  if (__builtin_mul_overflow(s[2], s[3], &inputs)) return 0;
  if (inputs != (matrix ? matrix->inputs : integers->inputs)) return 0;
  const int64_t x[] = {s[0], s[1], s[2], s[3]}, x_apart[] = {d[0], d[1], d[2], 1};
  const int64_t units = matrix ? matrix->units : integers->units;
  const int64_t y[] = {s[0], s[1], units}, y_apart[] = {d[3], d[4], 1};
  return within(program, &call->places[0], 4, x, x_apart, 4) &&
         within(program, &call->places[1], 3, y, y_apart, 4) && call->kind >= 0 &&
         call->kind < ACTIVATION_COUNT;
}

static int depthwise_fits(const struct program *program, const struct call *call) {
  const int64_t *s = call->sizes, *d = call->distances; /* batch, time, channels, kernel */
  const int64_t x[] = {s[0], s[1], s[3], s[2]}, x_apart[] = {d[0], d[1] * d[4], d[1] * d[5], 1};
  const int64_t y[] = {s[0], s[1], s[2]}, y_apart[] = {d[2], d[3], 1};
  int64_t weights;
  return s[3] >= 1 && !__builtin_mul_overflow(s[2], s[3], &weights) &&
         within(program, &call->places[0], 4, x, x_apart, 4) &&
         run_within(program, &call->places[1], weights, 4) &&
         run_within(program, &call->places[2], s[2], 4) &&
         within(program, &call->places[3], 3, y, y_apart, 4);
}

static int shaped(const struct program *program, const struct call *call, int places,
                  const int64_t *items) {
  if (call->axes < 0 || call->axes > MOST_AXES) return 0;
  int64_t dense[MOST_AXES], apart = 1;
  for (int64_t axis = call->axes; axis-- > 0;) {
    dense[axis] = apart;
    if (call->sizes[axis] < 0 || __builtin_mul_overflow(apart, call->sizes[axis], &apart)) return 0;
  }
  for (int place = 0; place < places; place++)
    if (!within(program, &call->places[place], call->axes, call->sizes,
                call->distances + place * MOST_AXES, items[place]))
      return 0;
  return call->operation == OP_COPY ||
         within(program, &call->places[places], call->axes, call->sizes, dense, items[places]);
}

static int rows_fit(const struct program *program, const struct place *place, int64_t rows,
                    int64_t size) {
  int64_t count;
  return rows >= 0 && size >= 1 && !__builtin_mul_overflow(rows, size, &count) &&
         run_within(program, place, count, 4);
}

static const int64_t item_sizes[] = {4, 8, 1}; /* float32, int64, bool */

int call_fits(const struct program *program, const struct call *call) {
  const int64_t *s = call->sizes, *d = call->distances;
  const struct place *at = call->places;
  switch (call->operation) {
    case OP_LAYER: return layer_fits(program, call);
    case OP_PRODUCT: return product_fits(program, call);
    case OP_ACTIVATE:
      return call->kind >= 0 && call->kind < ACTIVATION_COUNT &&
             run_within(program, &at[0], s[0], 4) && run_within(program, &at[1], s[0], 4);
    case OP_ARITHMETIC: {
      const int64_t items[] = {4, 4, 4};
      return call->kind >= 0 && call->kind < ARITHMETIC_COUNT && shaped(program, call, 2, items);
    }
    case OP_COPY: {
      if (call->kind < 0 || call->kind > 2) return 0;
      const int64_t items[] = {item_sizes[call->kind], item_sizes[call->kind], 0};
      return shaped(program, call, 2, items);
    }
    case OP_FILL: return run_within(program, &at[0], s[0], 4);
    case OP_GATHER: {
      const int64_t shape[] = {s[2], s[1]}, apart[] = {d[0], 1};
      return s[2] >= 0 && within(program, &at[0], 2, shape, apart, 4) &&
             run_within(program, &at[1], s[0], 8) && rows_fit(program, &at[2], s[0], s[1]);
    }
    case OP_SOFTMAX:
      return rows_fit(program, &at[0], s[0], s[1]) && rows_fit(program, &at[1], s[0], s[1]);
    case OP_NORMALIZE:
      return rows_fit(program, &at[0], s[0], s[1]) && run_within(program, &at[1], s[1], 4) &&
             (at[2].buffer == NOWHERE || run_within(program, &at[2], s[1], 4)) &&
             rows_fit(program, &at[3], s[0], s[1]);
    case OP_REDUCE: {
      const int64_t shape[] = {s[0], s[1], s[2]}, apart[] = {d[0], d[1], 1};
      return call->kind >= 0 && call->kind < REDUCTION_COUNT && s[1] >= 1 &&
             within(program, &at[0], 3, shape, apart, 4) &&
             (s[0] == 0 || s[2] == 0 || rows_fit(program, &at[1], s[0], s[2]));
    }
    case OP_DEPTHWISE: return depthwise_fits(program, call);
    case OP_COMPARE: {
      const int64_t item = (call->kind & 16) ? 8 : 4, items[] = {item, item, 1};
      return (call->kind & 15) <= 4 && call->kind >= 0 && call->kind < 32 &&
             shaped(program, call, 2, items);
    }
    case OP_WHERE: {
      const int64_t item = call->kind == 1 ? 8 : 4, items[] = {1, item, item, item};
      return (call->kind == 0 || call->kind == 1) && shaped(program, call, 3, items);
    }
    case OP_CAST:
      return call->kind >= 0 && call->kind < 9 &&
             run_within(program, &at[0], s[0], item_sizes[call->kind / 3]) &&
             run_within(program, &at[1], s[0], item_sizes[call->kind % 3]);
    default: return 0;
  }
}

static size_t scratch_size_of(const struct kernels *kernels, const struct call *call,
                              int64_t rows) {
  if (call->integers) return integer_product_scratch_size(call->integers, rows);
  if (!call->layer) return 0;
  if (call->layer->recurrent_integers)
    return integer_scratch_size(kernels, call->layer, call->sizes[0], rows);
  return kernels->scratch_size(call->layer, call->sizes[0], rows);
}

/* --- rows that a team shares ----------------------------------------------------------------- */

#define LEAST_WORK 2e6 /* multiply-accumulates of a member */
#define LEAST_ROWS 6                  /* which the kernels take at once */

struct rows {
  int64_t first, count;
};

/* The rows of one member: blocks of LEAST_ROWS, spread evenly. */
static struct rows rows_of(const struct call *call, int member) {
  const int64_t all = call->sizes[1], blocks = (all + LEAST_ROWS - 1) / LEAST_ROWS;
  const int64_t first = blocks * member / call->members * LEAST_ROWS;
  const int64_t last = blocks * (member + 1) / call->members * LEAST_ROWS;
  return (struct rows){first, (last < all ? last : all) - first};
}

int members_for(const struct call *call, int team) {
  static const int64_t gates[] = {1, 4, 3, 3}; /* by cell */
  const struct layer *layer = call->layer;
  const int64_t most = call->sizes[1] / LEAST_ROWS;
  int64_t weights; /* of a row */
  if (layer)
    weights = gates[layer->cell] * layer->hidden_size * (layer->input_size + layer->state_size);
  else if (call->operation == OP_PRODUCT && call->matrix)
    weights = call->matrix->units * call->matrix->inputs;
  else if (call->operation == OP_PRODUCT && call->integers)
    weights = call->integers->units * call->integers->inputs;
  else
    return 0;
  /* In floating point, which does not overflow where a row is read many times. */
  const double work = (double)weights * (double)call->sizes[0] * (double)call->sizes[1];
  int64_t members = team < most ? team : most;
  while (members > 1 && work / (double)members < LEAST_WORK) members--;
  return members < 2 ? 0 : (int)members;
}

size_t call_scratch_size(const struct kernels *kernels, const struct call *call) {
  if (!call->members) return scratch_size_of(kernels, call, call->sizes[1]);
  size_t most = 0;
  for (int member = 0; member < call->members; member++) {
    const size_t size = scratch_size_of(kernels, call, rows_of(call, member).count);
    if (size > most) most = size;
  }
  return (most + 63) / 64 * 64;
}

/* --- running --------------------------------------------------------------------------------- */

static inline void *at(const struct program *program, const struct place *place) {
  if (place->buffer == NOWHERE) return NULL;
  return program->bases[place->buffer] + place->offset;
}

static const void *moved(const void *from, int64_t bytes) {
  return from ? (const char *)from + bytes : NULL;
}

static void run_layer_rows(const struct program *program, const struct call *call,
                           struct rows rows, char *scratch) {
  const int64_t *d = call->distances, first = rows.first;
  struct sequences sequences = {
      .time = call->sizes[0],
      .batch = rows.count,
      .backward = (int)call->kind,
      .x = at(program, &call->places[0]),
      .x_time = d[0],
      .x_batch = d[1],
      .h_0 = at(program, &call->places[1]),
      .h_0_batch = d[2],
      .c_0 = at(program, &call->places[2]),
      .c_0_batch = d[3],
      .lengths = at(program, &call->places[3]),
      .y = at(program, &call->places[4]),
      .y_time = d[4],
      .y_batch = d[5],
      .h_n = at(program, &call->places[5]),
      .h_n_batch = d[6],
      .c_n = at(program, &call->places[6]),
      .c_n_batch = d[7],
      .scratch = (float *)scratch,
  };
  sequences.x += first * d[1];
  sequences.h_0 = moved(sequences.h_0, first * d[2] * 4);
  sequences.c_0 = moved(sequences.c_0, first * d[3] * 4);
  sequences.lengths = moved(sequences.lengths, first * 8);
  sequences.y += first * d[5];
  sequences.h_n += first * d[6];
  if (call->layer->cell == CELL_LSTM) sequences.c_n += first * d[7];
  if (call->layer->recurrent_integers)
    run_integer_layer(program->kernels, call->layer, &sequences);
  else
    program->kernels->run_layer(call->layer, &sequences);
}

static void run_product_rows(const struct program *program, const struct call *call,
                             struct rows rows, char *scratch) {
  const int64_t *d = call->distances;
  struct product product = {
      .matrix = call->matrix,
      .rows = rows.count,
      .x_row = d[1],
      .pieces = call->sizes[2],
      .piece_size = call->sizes[3],
      .piece_distance = d[2],
      .y_row = d[4],
      .activation = (enum activation)call->kind,
      .a = call->numbers[0],
      .b = call->numbers[1],
  };
  const float *x = at(program, &call->places[0]);
  float *y = at(program, &call->places[1]);
  for (int64_t outer = 0; outer < call->sizes[0]; outer++) {
    product.x = x + outer * d[0] + rows.first * d[1];
    product.y = y + outer * d[3] + rows.first * d[4];
    if (call->integers)
      multiply_integers(call->integers, product.x, d[1], product.rows, product.y, d[4], scratch);
    else
      program->kernels->multiply(&product);
  }
}

/* A call whose rows are shared. */
struct shared {
  const struct program *program;
  const struct call *call;
};

static void run_rows(const struct program *program, const struct call *call, struct rows rows,
                     char *scratch) {
  if (call->layer) run_layer_rows(program, call, rows, scratch);
  else run_product_rows(program, call, rows, scratch);
}

static void run_member(void *context, int member) {
  const struct shared *shared = context;
  const struct call *call = shared->call;
  const rounding before = flush_denormals();
  run_rows(shared->program, call, rows_of(call, member),
           call->scratch + (size_t)member * call->scratch_each);
  restore(before);
}

static void run_all_rows(const struct program *program, const struct call *call) {
  struct shared shared = {program, call};
  if (call->members) program->share(program->team, call->members, run_member, &shared);
  else run_rows(program, call, (struct rows){0, call->sizes[1]}, call->scratch);
}

static enum failure run_layer(const struct program *program, const struct call *call,
                              int64_t *value) {
  const int64_t *lengths = at(program, &call->places[3]);
  for (int64_t b = 0; lengths && b < call->sizes[1]; b++)
    if (lengths[b] < 0 || lengths[b] > call->sizes[0]) {
      *value = lengths[b];
      return LENGTH_OUT_OF_RANGE;
    }
  run_all_rows(program, call);
  return NO_FAILURE;
}

/* Runs the rest for each position of all axes but the last, with `from[i]` the offset of operand i. */
#define OVER_SHAPE(OPERANDS, ...)                                                      \
  do {                                                                                 \
    int64_t index[MOST_AXES] = {0}, from[OPERANDS] = {0};                              \
    const int64_t last = call->axes - 1, size = call->axes ? call->sizes[last] : 1;    \
    int64_t outer = 1;                                                                 \
    for (int64_t axis = 0; axis < last; axis++) outer *= call->sizes[axis];            \
    if (size == 0) outer = 0;                                                          \
    for (int64_t turn = 0; turn < outer; turn++) {                                     \
      __VA_ARGS__;                                                                     \
      for (int64_t axis = last - 1; axis >= 0; axis--) {                               \
        for (int i = 0; i < OPERANDS; i++)                                             \
          from[i] += call->distances[i * MOST_AXES + axis];                            \
        if (++index[axis] < call->sizes[axis]) break;                                  \
        for (int i = 0; i < OPERANDS; i++)                                             \
          from[i] -= call->distances[i * MOST_AXES + axis] * call->sizes[axis];        \
        index[axis] = 0;                                                               \
      }                                                                                \
    }                                                                                  \
  } while (0)

/* The distance of an operand along the last axis. */
#define ALONG(OPERAND) (call->axes ? call->distances[(OPERAND)*MOST_AXES + last] : 0)

static void run_arithmetic(const struct program *program, const struct call *call) {
  const float *x = at(program, &call->places[0]), *z = at(program, &call->places[1]);
  float *y = at(program, &call->places[2]);
  OVER_SHAPE(2, {
    const int64_t dx = ALONG(0), dz = ALONG(1);
    if ((dx == 1 || dx == 0) && (dz == 1 || dz == 0))
      program->kernels->arithmetic((enum arithmetic)call->kind, x + from[0], dx, z + from[1], dz,
                                   y, size);
    else
      for (int64_t i = 0; i < size; i++)
        program->kernels->arithmetic((enum arithmetic)call->kind, x + from[0] + i * dx, 0,
                                     z + from[1] + i * dz, 0, y + i, 1);
    y += size;
  });
}

#define COPY(TYPE)                                                                     \
  do {                                                                                 \
    const TYPE *x = at(program, &call->places[0]);                                     \
    TYPE *y = at(program, &call->places[1]);                                           \
    OVER_SHAPE(2, {                                                                    \
      const int64_t dx = ALONG(0), dy = ALONG(1);                                      \
      if (dx == 1 && dy == 1)                                                          \
        memcpy(y + from[1], x + from[0], (size_t)size * sizeof(TYPE));                 \
      else                                                                             \
        for (int64_t i = 0; i < size; i++) y[from[1] + i * dy] = x[from[0] + i * dx];  \
    });                                                                                \
  } while (0)

static void run_copy(const struct program *program, const struct call *call) {
  if (call->kind == 0) COPY(uint32_t);
  else if (call->kind == 1) COPY(uint64_t);
  else COPY(uint8_t);
}

static enum failure run_gather(const struct program *program, const struct call *call,
                               int64_t *value) {
  const float *table = at(program, &call->places[0]);
  const int64_t *indices = at(program, &call->places[1]);
  float *y = at(program, &call->places[2]);
  const int64_t size = call->sizes[1], rows = call->sizes[2];
  for (int64_t i = 0; i < call->sizes[0]; i++) {
    int64_t row = indices[i];
    if (row < -rows || row >= rows) {
      *value = row;
      return INDEX_OUT_OF_RANGE;
    }
    if (row < 0) row += rows;
    memcpy(y + i * size, table + row * call->distances[0], (size_t)size * sizeof(float));
  }
  return NO_FAILURE;
}

#define COMPARE(TYPE)                                                                  \
  do {                                                                                 \
    const TYPE *x = at(program, &call->places[0]), *z = at(program, &call->places[1]); \
    uint8_t *y = at(program, &call->places[2]);                                        \
    const int64_t kind = call->kind & 15;                                              \
    OVER_SHAPE(2, {                                                                    \
      const int64_t dx = ALONG(0), dz = ALONG(1);                                      \
      for (int64_t i = 0; i < size; i++) {                                             \
        const TYPE v = x[from[0] + i * dx], w = z[from[1] + i * dz];                   \
        y[i] = kind == 0   ? v == w                                                    \
               : kind == 1 ? v < w                                                     \
               : kind == 2 ? v <= w                                                    \
               : kind == 3 ? v > w                                                     \
                           : v >= w;                                                   \
      }                                                                                \
      y += size;                                                                       \
    });                                                                                \
  } while (0)

static void run_compare(const struct program *program, const struct call *call) {
  if (call->kind & 16) COMPARE(int64_t);
  else COMPARE(float);
}

#define WHERE(TYPE)                                                                    \
  do {                                                                                 \
    const uint8_t *condition = at(program, &call->places[0]);                          \
    const TYPE *x = at(program, &call->places[1]), *z = at(program, &call->places[2]); \
    TYPE *y = at(program, &call->places[3]);                                           \
    OVER_SHAPE(3, {                                                                    \
      const int64_t dc = ALONG(0), dx = ALONG(1), dz = ALONG(2);                       \
      for (int64_t i = 0; i < size; i++)                                               \
        y[i] = condition[from[0] + i * dc] ? x[from[1] + i * dx] : z[from[2] + i * dz]; \
      y += size;                                                                       \
    });                                                                                \
  } while (0)

static void run_where(const struct program *program, const struct call *call) {
  if (call->kind == 1) WHERE(uint64_t);
  else WHERE(uint32_t);
}

#define CAST(FROM, TO, EXPRESSION)                                                     \
  do {                                                                                 \
    const FROM *x = at(program, &call->places[0]);                                     \
    TO *y = at(program, &call->places[1]);                                             \
    for (int64_t i = 0; i < call->sizes[0]; i++) y[i] = (TO)(EXPRESSION);              \
  } while (0)

/* A number past int64 becomes its lowest one, as x86-64 does it; C leaves it open. */
static int64_t whole(float x) {
  return x >= -9223372036854775808.0f && x < 9223372036854775808.0f ? (int64_t)x : INT64_MIN;
}

static void run_cast(const struct program *program, const struct call *call) {
  switch (call->kind) {
    case 1: CAST(float, int64_t, whole(x[i])); break;
    case 2: CAST(float, uint8_t, x[i] != 0); break;
    case 3: CAST(int64_t, float, x[i]); break;
    case 5: CAST(int64_t, uint8_t, x[i] != 0); break;
    case 6: CAST(uint8_t, float, x[i]); break;
    case 7: CAST(uint8_t, int64_t, x[i]); break;
    case 4: CAST(int64_t, int64_t, x[i]); break;
    case 8: CAST(uint8_t, uint8_t, x[i]); break;
    default: CAST(float, float, x[i]); break;
  }
}

static enum failure run_call(const struct program *program, const struct call *call,
                             int64_t *value) {
  const struct kernels *kernels = program->kernels;
  const int64_t *s = call->sizes, *d = call->distances;
  const struct place *places = call->places;
  switch (call->operation) {
    case OP_LAYER: return run_layer(program, call, value);
    case OP_PRODUCT: run_all_rows(program, call); break;
    case OP_ACTIVATE:
      kernels->activate((enum activation)call->kind, call->numbers[0], call->numbers[1],
                        at(program, &places[0]), at(program, &places[1]), s[0]);
      break;
    case OP_ARITHMETIC: run_arithmetic(program, call); break;
    case OP_COPY: run_copy(program, call); break;
    case OP_FILL: {
      float *y = at(program, &places[0]);
      for (int64_t i = 0; i < s[0]; i++) y[i] = call->numbers[0];
      break;
    }
    case OP_GATHER: return run_gather(program, call, value);
    case OP_SOFTMAX:
      kernels->softmax(at(program, &places[0]), at(program, &places[1]), s[0], s[1],
                       (int)call->kind);
      break;
    case OP_NORMALIZE:
      kernels->normalize(at(program, &places[0]), at(program, &places[1]),
                         at(program, &places[2]), call->numbers[0], at(program, &places[3]), s[0],
                         s[1]);
      break;
    case OP_REDUCE:
      kernels->reduce((enum reduction)call->kind, at(program, &places[0]), s[0], s[1], s[2], d[0],
                      d[1], at(program, &places[1]));
      break;
    case OP_DEPTHWISE: {
      const float *x = at(program, &places[0]);
      float *y = at(program, &places[3]);
      for (int64_t b = 0; b < s[0]; b++)
        kernels->depthwise(x + b * d[0], d[1], at(program, &places[1]), at(program, &places[2]),
                           y + b * d[2], d[3], s[1], s[2], s[3], d[4], d[5]);
      break;
    }
    case OP_COMPARE: run_compare(program, call); break;
    case OP_WHERE: run_where(program, call); break;
    case OP_CAST: run_cast(program, call); break;
    default: break;
  }
  return NO_FAILURE;
}

enum failure run_program(const struct program *program, int64_t *failed, int64_t *value) {
  const rounding before = flush_denormals();
  enum failure failure = NO_FAILURE;
  for (int64_t i = 0; i < program->count && !failure; i++) {
    failure = run_call(program, &program->calls[i], value);
    if (failure) *failed = i;
  }
  restore(before);
  return failure;
}
