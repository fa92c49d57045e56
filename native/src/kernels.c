/*
 * The kernels, for vectors of WIDTH floats. Compiled once for each set of instructions, with
 * KERNELS as the name of the table that it defines.
 */
#include "kernels.h"

#include <math.h>
#include <string.h>

#include "vector.h"

/* The rows of one step: where each has its input, its state and its output. */
struct step {
  const float *const *x;
  const float *const *ready; /* biases and the input's products, or NULL */
  const float *const *h;
  const float *const *c;
  float *const *c_new;
  float *const *y;
};

typedef void project(const struct matrix *, const float *const *x, float *const *y, int64_t panel);
typedef void advance(const struct layer *, const struct step *, int64_t panel);
typedef void multiply(const struct product *, const float *const *x, float *const *y,
                      int64_t panel);

struct block {
  multiply *product;
  project *project_1, *project_3, *project_4;
  advance *step_rnn, *step_lstm, *step_gru;
};

#define ROWS 1
#define PANELS 1
#include "block.h"
#define ROWS 1
#define PANELS 2
#include "block.h"
#define ROWS 1
#define PANELS 4
#include "block.h"
#if !defined(COMPACT)
#define ROWS 1
#define PANELS 8
#include "block.h"
#define ROWS 2
#define PANELS 1
#include "block.h"
#define ROWS 2
#define PANELS 2
#include "block.h"
#define ROWS 2
#define PANELS 4
#include "block.h"
#define ROWS 3
#define PANELS 1
#include "block.h"
#define ROWS 3
#define PANELS 2
#include "block.h"
#define ROWS 3
#define PANELS 4
#include "block.h"
#define ROWS 6
#define PANELS 1
#include "block.h"
#define ROWS 6
#define PANELS 2
#include "block.h"
#endif
#if REGISTERS == 32
#define ROWS 2
#define PANELS 8
#include "block.h"
#define ROWS 3
#define PANELS 8
#include "block.h"
#define ROWS 6
#define PANELS 4
#include "block.h"
#endif

#if defined(COMPACT)
#define MOST_ROWS 1
#else
#define MOST_ROWS 6
#endif

/* By rows and the logarithm of panels. */
static const struct block *const blocks[MOST_ROWS + 1][4] = {
#if defined(COMPACT)
    [1] = {&block_1_1, &block_1_2, &block_1_4},
#elif REGISTERS == 32
    [1] = {&block_1_1, &block_1_2, &block_1_4, &block_1_8},
    [2] = {&block_2_1, &block_2_2, &block_2_4, &block_2_8},
    [3] = {&block_3_1, &block_3_2, &block_3_4, &block_3_8},
    [6] = {&block_6_1, &block_6_2, &block_6_4},
#else
    [1] = {&block_1_1, &block_1_2, &block_1_4, &block_1_8},
    [2] = {&block_2_1, &block_2_2, &block_2_4},
    [3] = {&block_3_1, &block_3_2, &block_3_4},
    [6] = {&block_6_1, &block_6_2},
#endif
};

/* Panels that one block of so many rows covers, of one gate and of three or four, as a logarithm.
   Zero panels (-1) where the registers do not hold one. */
#if defined(COMPACT)
static const int narrow[MOST_ROWS + 1] = {[1] = 2};
static const int gated[MOST_ROWS + 1] = {[1] = 1};
#define GATED_ROWS 1
#elif REGISTERS == 32
static const int narrow[MOST_ROWS + 1] = {[1] = 3, [2] = 3, [3] = 3, [6] = 2};
static const int gated[MOST_ROWS + 1] = {[1] = 1, [2] = 1, [3] = 1, [6] = 0};
#define GATED_ROWS 6
#else
static const int narrow[MOST_ROWS + 1] = {[1] = 3, [2] = 2, [3] = 2, [6] = 1};
static const int gated[MOST_ROWS + 1] = {[1] = 1, [2] = 0, [3] = 0};
#define GATED_ROWS 3
#endif

/* How many of the rows that are left the next block takes. */
INLINE int64_t next_rows(int64_t left, int64_t most) {
  if (left >= most) return most;
  if (left == 4) return 2;
  return left < 3 ? left : 3;
}

static void activate(enum activation, float a, float b, const float *x, float *y, int64_t count);

/* Runs CALL(block, panel) over the panels from `from` to `to`. */
#define OVER_PANELS(LARGEST, FROM, TO, CALL)                             \
  do {                                                                   \
    int size_ = (LARGEST);                                               \
    for (int64_t panel = (FROM); panel < (TO); panel += 1 << size_) {    \
      while ((int64_t)1 << size_ > (TO)-panel) size_--;                  \
      const struct block *block = row_blocks[size_];                     \
      CALL;                                                              \
    }                                                                    \
  } while (0)

static void multiply_rows(const struct product *call) {
  const struct matrix *m = call->matrix;
  for (int64_t from = 0; from < m->panels; from += 8) {
    const int64_t to = from + 8 < m->panels ? from + 8 : m->panels;
    for (int64_t row = 0, rows; row < call->rows; row += rows) {
      rows = next_rows(call->rows - row, MOST_ROWS);
      const struct block *const *row_blocks = blocks[rows];
      const float *x[MOST_ROWS];
      float *y[MOST_ROWS];
      for (int64_t r = 0; r < rows; r++) {
        x[r] = call->x + (row + r) * call->x_row;
        y[r] = call->y + (row + r) * call->y_row;
      }
      OVER_PANELS(narrow[rows], from, to, block->product(call, x, y, panel));
    }
  }
  if (call->activation > ACTIVATION_RELU)
    for (int64_t row = 0; row < call->rows; row++) {
      float *y = call->y + row * call->y_row;
      activate(call->activation, call->a, call->b, y, y, m->units);
    }
}

/* The input's products of `count` rows, into `y`. */
static void project_rows(const struct matrix *m, int64_t count, const float *const *x,
                         float *const *y) {
  const int *largest = m->gates == 1 ? narrow : gated;
  const int64_t most = m->gates == 1 ? MOST_ROWS : GATED_ROWS, group = m->gates == 1 ? 8 : 2;
  for (int64_t from = 0; from < m->panels; from += group) {
    const int64_t to = from + group < m->panels ? from + group : m->panels;
    for (int64_t row = 0, rows; row < count; row += rows) {
      rows = next_rows(count - row, most);
      const struct block *const *row_blocks = blocks[rows];
      if (m->gates == 1)
        OVER_PANELS(largest[rows], from, to, block->project_1(m, x + row, y + row, panel));
      else if (m->gates == 3)
        OVER_PANELS(largest[rows], from, to, block->project_3(m, x + row, y + row, panel));
      else
        OVER_PANELS(largest[rows], from, to, block->project_4(m, x + row, y + row, panel));
    }
  }
}

static void step_rows(const struct layer *layer, int64_t count, const struct step *all_rows) {
  const int64_t panels = layer->input.panels;
  const int *largest = layer->cell == CELL_RNN ? narrow : gated;
  const int64_t most = layer->cell == CELL_RNN ? MOST_ROWS : GATED_ROWS;
  const int64_t group = layer->cell == CELL_RNN ? 8 : 2;
  for (int64_t from = 0; from < panels; from += group) {
    const int64_t to = from + group < panels ? from + group : panels;
    for (int64_t row = 0, rows; row < count; row += rows) {
      rows = next_rows(count - row, most);
      const struct block *const *row_blocks = blocks[rows];
      const struct step at = {
          all_rows->x + row,
          all_rows->ready ? all_rows->ready + row : NULL,
          all_rows->h + row,
          all_rows->c + row,
          all_rows->c_new + row,
          all_rows->y + row,
      };
      if (layer->cell == CELL_RNN)
        OVER_PANELS(largest[rows], from, to, block->step_rnn(layer, &at, panel));
      else if (layer->cell == CELL_LSTM)
        OVER_PANELS(largest[rows], from, to, block->step_lstm(layer, &at, panel));
      else
        OVER_PANELS(largest[rows], from, to, block->step_gru(layer, &at, panel));
    }
  }
}

/* --- sequences ------------------------------------------------------------------------------- */

#define ROWS_AT_ONCE 32 /* whose input products are formed together */
#define FEW_ROWS 6      /* from here on a step has rows enough, and takes its input itself */

static int64_t padded(int64_t size) { return (size + 15) / 16 * 16; }

/* Steps whose input products are formed together; 0 where each step forms its own. */
static int64_t steps_at_once(const struct layer *layer, int64_t time, int64_t batch) {
  if (time < 2 || batch < 1 || batch >= FEW_ROWS || layer->cell == CELL_GRU_RESET_BEFORE) return 0;
  const int64_t steps = ROWS_AT_ONCE / batch;
  return steps < time ? steps : time;
}

struct layout { /* of the scratch memory, in bytes */
  size_t ready, hidden, pointers, whole;
};

static struct layout lay_out(const struct layer *layer, int64_t time, int64_t batch) {
  const int64_t steps = steps_at_once(layer, time, batch);
  const int64_t rows = (steps ? steps : 1) * batch;
  const struct matrix *m = &layer->input;
  size_t at = 0;
  struct layout layout;
  layout.ready = at;
  at += (size_t)(steps * batch * m->panels * m->gates) * WIDTH * sizeof(float);
  layout.hidden = at;
  int64_t hidden = layer->projection.weights ? padded(layer->hidden_size) : 0;
  if (layer->cell == CELL_GRU_RESET_BEFORE) hidden = 4 * padded(layer->hidden_size);
  at += (size_t)(batch * hidden) * sizeof(float);
  layout.pointers = at;
  at += (size_t)(2 * rows + 6 * batch) * sizeof(float *);
  layout.whole = (at + 63) / 64 * 64;
  return layout;
}

static size_t scratch_size(const struct layer *layer, int64_t time, int64_t batch) {
  return lay_out(layer, time, batch).whole;
}

/* One step of a GRU whose reset gate comes before the recurrent product, row by row. */
static void step_reset_before(const struct layer *layer, const float *x, const float *h, float *y,
                              float *scratch) {
  const int64_t hidden = layer->hidden_size, apart = padded(hidden);
  float *gates = scratch, *product = scratch + 3 * apart;
  const struct matrix *in = &layer->input, *state = &layer->recurrent;
  struct product call = {.matrix = in, .rows = 1, .x = x, .pieces = 1, .piece_size = in->inputs};
  call.y = gates;
  multiply_rows(&call); /* r, z, n, each `hidden` numbers */
  call.matrix = state; /* of r and z */
  call.x = h;
  call.piece_size = hidden;
  call.add = 1;
  call.activation = ACTIVATION_SIGMOID;
  multiply_rows(&call);
  for (int64_t i = 0; i < hidden; i++) product[i] = gates[i] * h[i];
  call.matrix = &layer->projection; /* of n */
  call.x = product;
  call.y = gates + 2 * hidden;
  call.activation = ACTIVATION_TANH;
  multiply_rows(&call);
  for (int64_t i = 0; i < hidden; i++) {
    const float new = gates[2 * hidden + i];
    y[i] = new + gates[hidden + i] * (h[i] - new);
  }
}

static void run_layer(const struct layer *layer, const struct sequences *s) {
  const int64_t batch = s->batch, hidden = layer->hidden_size;
  const struct layout layout = lay_out(layer, s->time, batch);
  char *scratch = (char *)s->scratch;
  float *ready = (float *)(scratch + layout.ready), *apart = (float *)(scratch + layout.hidden);
  const int64_t steps = steps_at_once(layer, s->time, batch);
  const int64_t ready_row = layer->input.panels * layer->input.gates * WIDTH;
  const int64_t apart_row = padded(hidden);
  const float **project_from = (const float **)(scratch + layout.pointers);
  float **project_to = (float **)project_from + (steps ? steps : 1) * batch;
  const float **x = (const float **)project_to + (steps ? steps : 1) * batch;
  const float **ready_at = x + batch, **h = ready_at + batch, **c = h + batch;
  float **c_new = (float **)(c + batch), **y = c_new + batch;

  int64_t longest = s->time;
  if (s->lengths) {
    longest = 0;
    for (int64_t b = 0; b < batch; b++)
      if (s->lengths[b] > longest) longest = s->lengths[b];
  }
  for (int64_t begin = 0; begin < longest; begin += steps ? steps : 1) {
    int64_t end = begin + (steps ? steps : 1);
    if (end > longest) end = longest;
    if (steps) {
      int64_t count = 0;
      for (int64_t t = begin; t < end; t++)
        for (int64_t b = 0; b < batch; b++) {
          const int64_t length = s->lengths ? s->lengths[b] : s->time;
          if (t >= length) continue;
          const int64_t at = s->backward ? length - 1 - t : t;
          project_from[count] = s->x + at * s->x_time + b * s->x_batch;
          project_to[count++] = ready + ((t - begin) * batch + b) * ready_row;
        }
      project_rows(&layer->input, count, project_from, project_to);
    }
    for (int64_t t = begin; t < end; t++) {
      int64_t count = 0;
      for (int64_t b = 0; b < batch; b++) {
        const int64_t length = s->lengths ? s->lengths[b] : s->time;
        if (t >= length) continue;
        const int64_t at = s->backward ? length - 1 - t : t;
        const int64_t before = s->backward ? at + 1 : at - 1;
        x[count] = s->x + at * s->x_time + b * s->x_batch;
        ready_at[count] = ready + ((t - begin) * batch + b) * ready_row;
        y[count] = s->y + at * s->y_time + b * s->y_batch;
        if (t) h[count] = s->y + before * s->y_time + b * s->y_batch;
        else h[count] = s->h_0 ? s->h_0 + b * s->h_0_batch : layer->zeros;
        if (layer->cell == CELL_LSTM) {
          c_new[count] = s->c_n + b * s->c_n_batch;
          if (t) c[count] = c_new[count];
          else c[count] = s->c_0 ? s->c_0 + b * s->c_0_batch : layer->zeros;
        }
        count++;
      }
      if (layer->cell == CELL_GRU_RESET_BEFORE) {
        for (int64_t row = 0; row < count; row++)
          step_reset_before(layer, x[row], h[row], y[row], apart);
        continue;
      }
      struct step step = {x, steps ? ready_at : NULL, h, c, c_new, y};
      if (layer->projection.weights) {
        /* x has been read when its pointers are set to the rows before the projection. */
        float **wide = (float **)project_to;
        for (int64_t row = 0; row < count; row++) wide[row] = apart + row * apart_row;
        step.y = wide;
        step_rows(layer, count, &step);
        struct product call = {.matrix = &layer->projection, .rows = 1, .pieces = 1};
        call.piece_size = hidden;
        if (!s->lengths) { /* the rows lie at even distances */
          call.rows = count;
          call.x_row = apart_row;
          call.y_row = s->y_batch;
        }
        for (int64_t row = 0; row < count; row += call.rows) {
          call.x = wide[row];
          call.y = y[row];
          multiply_rows(&call);
        }
      } else {
        step_rows(layer, count, &step);
      }
    }
  }
  give_finals(layer, s);
}

/* --- numbers one by one ---------------------------------------------------------------------- */

#define ONE_BY_ONE(FUNCTION)                                                    \
  for (int64_t i = 0; i < count; i++) y[i] = FUNCTION(x[i]);                    \
  break

#define BY_VECTOR(EXPRESSION)                                                   \
  for (int64_t i = 0; i < count; i += WIDTH) {                                  \
    vector v = load_some(x + i, count - i);                                     \
    store_some(y + i, (EXPRESSION), count - i);                                 \
  }                                                                             \
  break

INLINE vector choose(integers condition, vector yes, vector no) {
  return (vector)((condition & (integers)yes) | (~condition & (integers)no));
}

static void activate(enum activation kind, float a, float b, const float *x, float *y,
                     int64_t count) {
  switch (kind) {
    case ACTIVATION_TANH: BY_VECTOR(hyperbolic_tangent(v));
    case ACTIVATION_SIGMOID: BY_VECTOR(sigmoid(v));
    case ACTIVATION_RELU: BY_VECTOR(larger(all(0), v));
    case ACTIVATION_LEAKY_RELU: BY_VECTOR(choose(v < all(0), v * a, v));
    case ACTIVATION_CLIP: BY_VECTOR(smaller(all(b), larger(all(a), v)));
    case ACTIVATION_EXP: BY_VECTOR(exponential(v));
    case ACTIVATION_NEGATE: BY_VECTOR(-v);
    case ACTIVATION_ABSOLUTE: BY_VECTOR(absolute(v));
    case ACTIVATION_RECIPROCAL: BY_VECTOR(1.0f / v);
    case ACTIVATION_HARD_SIGMOID: BY_VECTOR(smaller(all(1), larger(all(0), v * a + b)));
    case ACTIVATION_SQUARE_ROOT: ONE_BY_ONE(sqrtf);
    case ACTIVATION_LOGARITHM: ONE_BY_ONE(logf);
    case ACTIVATION_ERF: ONE_BY_ONE(erff);
    case ACTIVATION_ELU:
      for (int64_t i = 0; i < count; i++) y[i] = x[i] < 0 ? a * expm1f(x[i]) : x[i];
      break;
    case ACTIVATION_SOFTPLUS:
      for (int64_t i = 0; i < count; i++)
        y[i] = (x[i] > 0 ? x[i] : 0) + log1pf(expf(x[i] > 0 ? -x[i] : x[i]));
      break;
    default:
      if (x != y) memmove(y, x, (size_t)count * sizeof(float));
  }
}

#define BINARY(EXPRESSION)                                                      \
  for (int64_t i = 0; i < count; i += WIDTH) {                                  \
    const int64_t left = count - i;                                             \
    vector v = x_step ? load_some(x + i, left) : all(*x);                       \
    vector w = z_step ? load_some(z + i, left) : all(*z);                       \
    store_some(y + i, (EXPRESSION), left);                                      \
  }                                                                             \
  break

static void arithmetic(enum arithmetic kind, const float *x, int64_t x_step, const float *z,
                       int64_t z_step, float *y, int64_t count) {
  switch (kind) {
    case ADD: BINARY(v + w);
    case SUBTRACT: BINARY(v - w);
    case MULTIPLY: BINARY(v * w);
    case DIVIDE: BINARY(v / w);
    case MINIMUM: BINARY(choose(w != w, w, smaller(w, v)));
    case MAXIMUM: BINARY(choose(w != w, w, larger(w, v)));
    default:
      for (int64_t i = 0; i < count; i++) y[i] = powf(x[i * x_step], z[i * z_step]);
  }
}

static float sum_of(const float *x, int64_t size) {
  vector sum = {0};
  for (int64_t i = 0; i < size; i += WIDTH) sum += load_some(x + i, size - i);
  float whole = 0;
  for (int i = 0; i < WIDTH; i++) whole += sum[i];
  return whole;
}

static void softmax(const float *x, float *y, int64_t rows, int64_t size, int logarithm) {
  for (int64_t row = 0; row < rows; row++, x += size, y += size) {
    float largest = x[0];
    for (int64_t i = 1; i < size; i++)
      if (x[i] > largest) largest = x[i];
    for (int64_t i = 0; i < size; i += WIDTH)
      store_some(y + i, exponential(load_some(x + i, size - i) - largest), size - i);
    const float sum = sum_of(y, size);
    if (logarithm) {
      const float shift = largest + logf(sum);
      for (int64_t i = 0; i < size; i++) y[i] = x[i] - shift;
    } else {
      for (int64_t i = 0; i < size; i++) y[i] /= sum;
    }
  }
}

static void normalize(const float *x, const float *scale, const float *bias, float epsilon,
                      float *y, int64_t rows, int64_t size) {
  for (int64_t row = 0; row < rows; row++, x += size, y += size) {
    const float mean = sum_of(x, size) / (float)size;
    for (int64_t i = 0; i < size; i++) y[i] = x[i] - mean;
    vector squares = {0};
    for (int64_t i = 0; i < size; i += WIDTH) {
      const vector v = load_some(y + i, size - i);
      squares += v * v;
    }
    float sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += squares[i];
    const float factor = 1.0f / sqrtf(sum / (float)size + epsilon);
    for (int64_t i = 0; i < size; i++)
      y[i] = y[i] * factor * scale[i] + (bias ? bias[i] : 0.0f);
  }
}

static float reduce_one(enum reduction kind, float so_far, float x) {
  if (kind <= REDUCE_MEAN) return so_far + x;
  if (x != x || so_far != so_far) return so_far + x;
  if (kind == REDUCE_MAX) return x > so_far ? x : so_far;
  return x < so_far ? x : so_far;
}

static void reduce(enum reduction kind, const float *x, int64_t outer, int64_t size, int64_t inner,
                   int64_t outer_distance, int64_t size_distance, float *y) {
  for (int64_t o = 0; o < outer; o++, x += outer_distance, y += inner) {
    memcpy(y, x, (size_t)inner * sizeof(float));
    for (int64_t s = 1; s < size; s++) {
      const float *from = x + s * size_distance;
      if (kind <= REDUCE_MEAN)
        for (int64_t i = 0; i < inner; i++) y[i] += from[i];
      else
        for (int64_t i = 0; i < inner; i++) y[i] = reduce_one(kind, y[i], from[i]);
    }
    if (kind == REDUCE_MEAN)
      for (int64_t i = 0; i < inner; i++) y[i] /= (float)size;
  }
}

static void depthwise(const float *x, int64_t x_time, const float *weights, const float *bias,
                      float *y, int64_t y_time, int64_t time, int64_t channels, int64_t kernel,
                      int64_t stride, int64_t dilation) {
  for (int64_t t = 0; t < time; t++) {
    const float *from = x + t * stride * x_time;
    float *to = y + t * y_time;
    for (int64_t i = 0; i < channels; i += WIDTH) {
      const int64_t left = channels - i;
      vector sum = load_some(bias + i, left);
      for (int64_t k = 0; k < kernel; k++)
        sum += load_some(weights + k * channels + i, left) *
               load_some(from + k * dilation * x_time + i, left);
      store_some(to + i, sum, left);
    }
  }
}

static int is_finite(const float *x, int64_t count) {
  integers bad = {0};
  const integers exponent = (integers){0} + 0x7f800000;
  for (int64_t i = 0; i < count; i += WIDTH)
    bad |= ((integers)load_some(x + i, count - i) & exponent) == exponent;
  int any = 0;
  for (int i = 0; i < WIDTH; i++) any |= bad[i];
  return !any;
}

const struct kernels KERNELS = {
    .width = WIDTH,
    .scratch_size = scratch_size,
    .run_layer = run_layer,
    .multiply = multiply_rows,
    .project = project_rows,
    .activate = activate,
    .arithmetic = arithmetic,
    .softmax = softmax,
    .normalize = normalize,
    .reduce = reduce,
    .depthwise = depthwise,
    .is_finite = is_finite,
};
