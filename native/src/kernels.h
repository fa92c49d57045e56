/* What a set of kernels offers. Each set is kernels.c compiled for one set of instructions. */
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

/* One direction of one recurrent layer. */
struct layer {
  enum cell cell;
  enum activation nonlinearity; /* of an RNN: tanh or relu */
  int64_t input_size, hidden_size, state_size; /* state_size differs by a projection */
  struct matrix input;     /* gates in the order i, f, g, o or r, z, n; biases of both products */
  struct matrix recurrent; /* bias: GRU alone, of the new gate's recurrent product, [panel][width] */
  struct matrix projection;
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

struct kernels {
  const char *name;
  int64_t width;
  size_t (*scratch_size)(const struct layer *, int64_t time, int64_t batch);
  void (*run_layer)(const struct layer *, const struct sequences *);
  void (*multiply)(const struct product *);
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

extern const struct kernels kernels_baseline; /* SSE2 or NEON: what the platform promises */
#if defined(__x86_64__)
extern const struct kernels kernels_avx2, kernels_avx512;
#endif

/* The best set that this processor has, or the one of this name; NULL where it does not have it. */
const struct kernels *find_kernels(const char *name);

#endif
