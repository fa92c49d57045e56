/* Layers that are computed in integers. */
#include "kernels.h"

#define ROWS_AT_ONCE 32 /* whose input products are formed together, and then a step */

static int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t rows_at_once(int64_t time, int64_t batch) {
  return batch >= ROWS_AT_ONCE ? ROWS_AT_ONCE : smaller_of(time * batch, ROWS_AT_ONCE);
}

static int64_t row_of(const struct integer_matrix *m) { return m ? m->fours * 4 : 0; }

struct scratch { /* bytes from its start */
  size_t values, wide, whole;
  int64_t row, wide_row;
};

static struct scratch lay_out(const struct kernels *kernels, const struct layer *layer,
                              int64_t rows) {
  const struct integer_matrix *m = layer->recurrent_integers;
  const int64_t others[] = {row_of(layer->input_integers), row_of(layer->projection_integers)};
  struct scratch at = {.row = row_of(m)};
  for (int i = 0; i < 2; i++)
    if (others[i] > at.row) at.row = others[i];
  at.values = (size_t)(rows * m->panels * m->gates * kernels->width) * sizeof(float);
  at.wide = at.values + (size_t)(rows * at.row);
  at.wide_row = (layer->hidden_size + 15) / 16 * 16;
  const int64_t wide = layer->projection_integers ? rows * at.wide_row : 0;
  at.whole = (at.wide + (size_t)wide * sizeof(float) + 63) / 64 * 64;
  return at;
}

size_t integer_scratch_size(const struct kernels *kernels, const struct layer *layer, int64_t time,
                            int64_t batch) {
  return lay_out(kernels, layer, rows_at_once(time, batch)).whole;
}

/* Rows in integers, and what they were quantized with. */
struct rounded {
  float scales[ROWS_AT_ONCE];
  int32_t zero_points[ROWS_AT_ONCE];
  struct quantized as;
};

static void quantize_rows(const struct integer_matrix *m, const float *const *x, int64_t count,
                          uint8_t *values, struct rounded *to) {
  const int64_t row = m->fours * 4;
  for (int64_t r = 0; r < count; r++)
    m->kernels->quantize(x[r], m->inputs, values + r * row, row, &to->scales[r],
                         &to->zero_points[r]);
  to->as = (struct quantized){values, row, to->scales, to->zero_points};
}

/* What the rows of a step have: input and ready products, and states before and after. */
struct rows {
  int64_t count;
  const float *x[ROWS_AT_ONCE], *ready[ROWS_AT_ONCE], *h[ROWS_AT_ONCE], *c[ROWS_AT_ONCE];
  float *c_new[ROWS_AT_ONCE], *y[ROWS_AT_ONCE];
};

static void project(const struct kernels *kernels, const struct layer *layer, int64_t count,
                    const float *const *x, float *const *ready, uint8_t *values) {
  const struct integer_matrix *m = layer->input_integers;
  struct rounded rounded;
  if (!m) {
    kernels->project(&layer->input, count, x, ready);
    return;
  }
  quantize_rows(m, x, count, values, &rounded);
  m->kernels->multiply(m, &rounded.as, count, ready, 1);
}

static void step(const struct layer *layer, const struct rows *rows, uint8_t *values, float *wide,
                 int64_t wide_row) {
  const struct integer_matrix *m = layer->recurrent_integers, *narrow = layer->projection_integers;
  struct rounded rounded;
  float *apart[ROWS_AT_ONCE];
  for (int64_t r = 0; narrow && r < rows->count; r++) apart[r] = wide + r * wide_row;
  quantize_rows(m, rows->h, rows->count, values, &rounded);
  m->kernels->step(layer, &rounded.as, rows->count, rows->ready, rows->h, rows->c, rows->c_new,
                   narrow ? apart : rows->y);
  if (!narrow) return;
  quantize_rows(narrow, (const float *const *)apart, rows->count, values, &rounded);
  narrow->kernels->multiply(narrow, &rounded.as, rows->count, rows->y, 0);
}

static int64_t length_of(const struct sequences *s, int64_t b) {
  return s->lengths ? s->lengths[b] : s->time;
}

static const float *input_at(const struct sequences *s, int64_t t, int64_t b) {
  const int64_t at = s->backward ? length_of(s, b) - 1 - t : t;
  return s->x + at * s->x_time + b * s->x_batch;
}

/* Adds row b of step t. */
static void add_row(struct rows *rows, const struct layer *layer, const struct sequences *s,
                    int64_t t, int64_t b) {
  const int64_t i = rows->count++, at = s->backward ? length_of(s, b) - 1 - t : t;
  const int64_t before = s->backward ? at + 1 : at - 1;
  rows->x[i] = input_at(s, t, b);
  rows->y[i] = s->y + at * s->y_time + b * s->y_batch;
  if (t) rows->h[i] = s->y + before * s->y_time + b * s->y_batch;
  else rows->h[i] = s->h_0 ? s->h_0 + b * s->h_0_batch : layer->zeros;
  if (layer->cell != CELL_LSTM) return;
  rows->c_new[i] = s->c_n + b * s->c_n_batch;
  if (t) rows->c[i] = rows->c_new[i];
  else rows->c[i] = s->c_0 ? s->c_0 + b * s->c_0_batch : layer->zeros;
}

void run_integer_layer(const struct kernels *kernels, const struct layer *layer,
                       const struct sequences *s) {
  const int64_t batch = s->batch, most = rows_at_once(s->time, batch);
  const int64_t steps = batch >= most ? 1 : most / batch; /* whose inputs are read together */
  const struct integer_matrix *m = layer->recurrent_integers;
  const int64_t ready_row = m->panels * m->gates * kernels->width;
  const struct scratch scratch = lay_out(kernels, layer, most);
  char *memory = (char *)s->scratch;
  float *ready = s->scratch, *wide = (float *)(memory + scratch.wide);
  uint8_t *values = (uint8_t *)memory + scratch.values;
  float *to[ROWS_AT_ONCE];

  int64_t longest = 0;
  for (int64_t b = 0; b < batch; b++)
    if (length_of(s, b) > longest) longest = length_of(s, b);
  for (int64_t begin = 0; begin < longest; begin += steps) {
    const int64_t end = smaller_of(begin + steps, longest);
    if (steps > 1) {
      const float *x[ROWS_AT_ONCE];
      int64_t count = 0;
      for (int64_t t = begin; t < end; t++)
        for (int64_t b = 0; b < batch; b++) {
          if (t >= length_of(s, b)) continue;
          x[count] = input_at(s, t, b);
          to[count++] = ready + ((t - begin) * batch + b) * ready_row;
        }
      project(kernels, layer, count, x, to, values);
    }
    for (int64_t t = begin; t < end; t++)
      for (int64_t first = 0; first < batch; first += most) {
        struct rows rows = {.count = 0};
        for (int64_t b = first; b < smaller_of(first + most, batch); b++) {
          if (t >= length_of(s, b)) continue;
          const int64_t place = steps > 1 ? (t - begin) * batch + b : rows.count;
          to[rows.count] = ready + place * ready_row;
          rows.ready[rows.count] = to[rows.count];
          add_row(&rows, layer, s, t, b);
        }
        if (!rows.count) continue;
        if (steps == 1) project(kernels, layer, rows.count, rows.x, to, values);
        step(layer, &rows, values, wide, scratch.wide_row);
      }
  }
  give_finals(layer, s);
}

size_t integer_product_scratch_size(const struct integer_matrix *m, int64_t rows) {
  return (size_t)(smaller_of(rows, ROWS_AT_ONCE) * m->fours * 4);
}

void multiply_integers(const struct integer_matrix *m, const float *x, int64_t x_row, int64_t rows,
                       float *y, int64_t y_row, void *scratch) {
  for (int64_t first = 0; first < rows; first += ROWS_AT_ONCE) {
    const int64_t count = smaller_of(rows - first, ROWS_AT_ONCE);
    const float *from[ROWS_AT_ONCE];
    float *to[ROWS_AT_ONCE];
    struct rounded rounded;
    for (int64_t r = 0; r < count; r++) {
      from[r] = x + (first + r) * x_row;
      to[r] = y + (first + r) * y_row;
    }
    quantize_rows(m, from, count, scratch, &rounded);
    m->kernels->multiply(m, &rounded.as, count, to, 0);
  }
}
