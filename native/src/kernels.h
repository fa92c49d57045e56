/*
 * What a set of kernels offers. Each set is kernels.c and integers.c, each compiled for one set of
 * instructions; several sets may share one of them.
 */
#ifndef RNNEDGE_KERNELS_H
#define RNNEDGE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum activation {
  ACTIVATION_NONE,
  ACTIVATION_TANH,
  ACTIVATION_SIGMOID,
  ACTIVATION_RELU,
  ACTIVATION_LEAKY_RELU, /* a: slope below zero */
  ACTIVATION_CLIP,       /* from a to b */
  ACTIVATION_EXP,
  ACTIVATION_NEGATE,
  ACTIVATION_ABSOLUTE,
  ACTIVATION_RECIPROCAL,
  ACTIVATION_SQUARE_ROOT,
  ACTIVATION_LOGARITHM,
  ACTIVATION_ELU,          /* a: scale below zero */
  ACTIVATION_SOFTPLUS,
  ACTIVATION_HARD_SIGMOID, /* clip(a * x + b) from 0 to 1 */
  ACTIVATION_ERF,
  ACTIVATION_COUNT
};

enum cell { CELL_RNN, CELL_LSTM, CELL_GRU, CELL_GRU_RESET_BEFORE, CELL_COUNT };

enum arithmetic { ADD, SUBTRACT, MULTIPLY, DIVIDE, MINIMUM, MAXIMUM, POWER, ARITHMETIC_COUNT };

enum reduction { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX, REDUCE_MIN, REDUCTION_COUNT };

/*
 * A matrix packed in panels: [panel][input][gate][width], each panel `width` units of every gate.
 * The biases are packed alike, [panel][gate][width]. What lies past the last unit is zero.
 */
struct matrix {
  int64_t inputs, units, gates, panels;
  float *weights, *bias;
};

/*
 * A matrix of integers: [panel][inputs / 4][gate][width][4], so that one vector has four inputs of
 * each unit of a panel. What lies past the last unit or input is zero.
 */
struct integer_matrix {
  const struct integer_kernels *kernels;
  int64_t inputs, units, gates, panels, fours; /* fours: inputs / 4, a multiple of FOURS */
  int8_t *weights;
  int32_t *sums;         /* [panel][gate][width]: of the weights of a unit */
  float *scales, *bias;  /* likewise */
  int wide; /* whether products of two neighbours with 8 bits may not fit into 16 bits together */
};

#define FOURS 4 /* a row of integers is padded to so many times four */

/* Rows quantized as DynamicQuantizeLinear does it, each over its own range. */
struct quantized {
  const uint8_t *values; /* [rows, fours * 4] */
  int64_t row;           /* fours * 4 */
  const float *scales;   /* [rows] */
  const int32_t *zero_points;
};

/* One direction of one recurrent layer. */
struct layer {
  enum cell cell;
  enum activation nonlinearity; /* of an RNN: tanh or relu */
  int64_t input_size, hidden_size, state_size; /* state_size differs by a projection */
  struct matrix input;     /* gates in the order i, f, g, o or r, z, n; biases of both products */
  struct matrix recurrent; /* bias: GRU alone, of the new gate's recurrent product, [panel][width] */
  struct matrix projection;
  /* In the place of the matrices above where they are computed in integers, or NULL. The bias of
     the recurrent one is that of a GRU's new gate. */
  const struct integer_matrix *input_integers, *recurrent_integers, *projection_integers;
  float *zeros; /* a state of zeros */
};

/* Sequences through one direction of a layer. Distances are in floats. */
struct sequences {
  int64_t time, batch;
  int backward;
  const float *x;
  int64_t x_time, x_batch;
  const float *h_0, *c_0; /* [batch, size], or NULL for zeros */
  int64_t h_0_batch, c_0_batch;
  const int64_t *lengths; /* [batch], each from 0 to time, or NULL */
  float *y;
  int64_t y_time, y_batch;
  float *h_n, *c_n; /* [batch, size] */
  int64_t h_n_batch, c_n_batch;
  float *scratch; /* as many bytes as `scratch_size` says, aligned to 64 */
};

/* y[row] = activation(x[row] * weights + bias); a row of x may lie in several pieces. */
struct product {
  const struct matrix *matrix;
  int64_t rows;
  const float *x;
  int64_t x_row;
  int64_t pieces, piece_size, piece_distance; /* pieces * piece_size = inputs */
  float *y;
  int64_t y_row;
  int add; /* to what is in y, instead of to the bias */
  enum activation activation;
  float a, b;
};

struct integer_kernels {
  /* One row of `count` numbers into `row` integers, zero points past the last. */
  void (*quantize)(const float *x, int64_t count, uint8_t *values, int64_t row, float *scale,
                   int32_t *zero_point);
  /* y[row] = x[row] * weights + bias, as [unit], or packed as [panel][gate][width]. */
  void (*multiply)(const struct integer_matrix *, const struct quantized *x, int64_t rows,
                   float *const *y, int packed);
  /* One step of a layer: `h` and `ready` as in `step` of kernels.c, and h quantized. */
  void (*step)(const struct layer *, const struct quantized *h_integers, int64_t rows,
               const float *const *ready, const float *const *h, const float *const *c,
               float *const *c_new, float *const *y);
};

struct kernels {
  const char *name;
  int64_t width;
  const struct integer_kernels *integers;
  size_t (*scratch_size)(const struct layer *, int64_t time, int64_t batch);
  void (*run_layer)(const struct layer *, const struct sequences *);
  void (*multiply)(const struct product *);
  /* y[row] = x[row] * weights + bias, packed as [panel][gate][width] */
  void (*project)(const struct matrix *, int64_t rows, const float *const *x, float *const *y);
  void (*activate)(enum activation, float a, float b, const float *x, float *y, int64_t count);
  /* x_step and z_step are 1, or 0 for the same number all along */
  void (*arithmetic)(enum arithmetic, const float *x, int64_t x_step, const float *z,
                     int64_t z_step, float *y, int64_t count);
  void (*softmax)(const float *x, float *y, int64_t rows, int64_t size, int logarithm);
  void (*normalize)(const float *x, const float *scale, const float *bias, float epsilon, float *y,
                    int64_t rows, int64_t size);
  /* x [outer, size, inner] with these distances -> y [outer, inner] */
  void (*reduce)(enum reduction, const float *x, int64_t outer, int64_t size, int64_t inner,
                 int64_t outer_distance, int64_t size_distance, float *y);
  /* y[time][channel] = bias + sum over k of weights[k][channel] * x[time * stride + k * dilation] */
  void (*depthwise)(const float *x, int64_t x_time, const float *weights, const float *bias,
                    float *y, int64_t y_time, int64_t time, int64_t channels, int64_t kernel,
                    int64_t stride, int64_t dilation);
  int (*is_finite)(const float *x, int64_t count);
};

/* Ends a run of a layer: final states, and zeros in `y` past the end of a row. */
void give_finals(const struct layer *, const struct sequences *);

/* What `scratch_size`, `run_layer` and `multiply` do, in integers; `bias` is that of the matrix. */
size_t integer_scratch_size(const struct kernels *, const struct layer *, int64_t time,
                            int64_t batch);
void run_integer_layer(const struct kernels *, const struct layer *, const struct sequences *);
size_t integer_product_scratch_size(const struct integer_matrix *, int64_t rows);
void multiply_integers(const struct integer_matrix *, const float *x, int64_t x_row, int64_t rows,
                       float *y, int64_t y_row, void *scratch);

extern const struct kernels kernels_baseline; /* SSE2 or NEON: what the platform promises */
extern const struct integer_kernels integers_baseline;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512;
extern const struct integer_kernels integers_avx2, integers_avxvnni, integers_avx512,
    integers_avx512vnni;
#elif defined(__aarch64__)
extern const struct integer_kernels integers_dotprod;
#endif

/* The best set that this processor has, or the one of this name; NULL where it does not have it. */
const struct kernels *find_kernels(const char *name);

/* The names of all sets, the widest first, had or not; NULL past the last. */
const char *set_name(int set);

#endif
