/*
 * One block of rows and panels, in registers from the first product to the last: included by
 * kernels.c for each shape, with ROWS and PANELS as plain numbers, so that every array here has a
 * constant size and every loop over rows, panels and gates is unrolled.
 *
 * The products of a number are summed in the same order in every block: its value does not depend
 * on the other rows of the batch, nor on how many there are.
 */
#define JOIN_(name, rows, panels) name##_##rows##_##panels
#define JOIN(name, rows, panels) JOIN_(name, rows, panels)
#define NAMED(name) JOIN(name, ROWS, PANELS)

#define EACH_ROW UNROLL for (int r = 0; r < ROWS; r++)
#define EACH_PANEL UNROLL for (int p = 0; p < PANELS; p++)

/*
 * sums[r][p][TARGET(g)] += x[r][k] * weights[panel + p][k][g], for k from 0 to COUNT. Of rows and
 * weights the fewer are held in registers, and the others come one at a time.
 */
#define ADD_PRODUCTS(GATES, X, COUNT, WEIGHTS, DISTANCE, TARGET)                         \
  do {                                                                                   \
    const float *in[ROWS];                                                               \
    EACH_ROW in[r] = (X)[r];                                                             \
    const float *weights = (WEIGHTS);                                                    \
    for (int64_t k = 0; k < (COUNT); k++) {                                              \
      if (ROWS > PANELS * GATES) {                                                       \
        vector held[PANELS][GATES];                                                      \
        EACH_PANEL UNROLL for (int g = 0; g < GATES; g++) {                              \
          held[p][g] = load(weights + p * (DISTANCE) + g * WIDTH);                       \
          HOLD(held[p][g]);                                                              \
        }                                                                                \
        EACH_ROW {                                                                       \
          vector x = all(in[r][k]);                                                      \
          HOLD(x);                                                                       \
          EACH_PANEL UNROLL for (int g = 0; g < GATES; g++)                              \
              sums[r][p][TARGET(g)] += held[p][g] * x;                                   \
        }                                                                                \
      } else {                                                                           \
        EACH_PANEL UNROLL for (int g = 0; g < GATES; g++) {                              \
          vector w = load(weights + p * (DISTANCE) + g * WIDTH);                         \
          if (ROWS > 1) HOLD(w);                                                         \
          EACH_ROW sums[r][p][TARGET(g)] += w * in[r][k];                                \
        }                                                                                \
      }                                                                                  \
      weights += GATES * WIDTH;                                                          \
    }                                                                                    \
  } while (0)

#define SAME(g) (g)
#define NEW_APART(g) ((g) == 2 ? 3 : (g)) /* the new gate's recurrent product of a GRU */

/* Sets the sums to the biases and adds the input's products, or takes both where they are ready. */
#define ADD_INPUT(GATES)                                                                 \
  do {                                                                                   \
    const struct matrix *m = &layer->input;                                              \
    if (at->ready) {                                                                     \
      EACH_ROW EACH_PANEL UNROLL for (int g = 0; g < GATES; g++)                         \
          sums[r][p][g] = load(at->ready[r] + ((panel + p) * GATES + g) * WIDTH);        \
      break;                                                                             \
    }                                                                                    \
    const float *bias = m->bias + panel * GATES * WIDTH;                                 \
    EACH_PANEL UNROLL for (int g = 0; g < GATES; g++) {                                  \
      vector b = load(bias + (p * GATES + g) * WIDTH);                                   \
      EACH_ROW sums[r][p][g] = b;                                                        \
    }                                                                                    \
    const int64_t distance = m->inputs * GATES * WIDTH;                                  \
    ADD_PRODUCTS(GATES, at->x, m->inputs, m->weights + panel * distance, distance, SAME); \
  } while (0)

#define ADD_STATE(GATES, TARGET)                                                         \
  do {                                                                                   \
    const struct matrix *m = &layer->recurrent;                                          \
    const int64_t distance = m->inputs * GATES * WIDTH;                                  \
    ADD_PRODUCTS(GATES, at->h, m->inputs, m->weights + panel * distance, distance, TARGET); \
  } while (0)

/* Products of a matrix of GATES gates, stored as they are packed: [panel][gate][width]. */
#define PROJECT(GATES)                                                                   \
  static void NAMED(project_##GATES)(const struct matrix *m, const float *const *x,      \
                                     float *const *y, int64_t panel) {                   \
    vector sums[ROWS][PANELS][GATES];                                                    \
    const int64_t distance = m->inputs * GATES * WIDTH;                                  \
    const float *bias = m->bias + panel * GATES * WIDTH;                                 \
    EACH_PANEL UNROLL for (int g = 0; g < GATES; g++) {                                  \
      vector b = load(bias + (p * GATES + g) * WIDTH);                                   \
      EACH_ROW sums[r][p][g] = b;                                                        \
    }                                                                                    \
    ADD_PRODUCTS(GATES, x, m->inputs, m->weights + panel * distance, distance, SAME);    \
    EACH_ROW EACH_PANEL UNROLL for (int g = 0; g < GATES; g++)                           \
        store(y[r] + ((panel + p) * GATES + g) * WIDTH, sums[r][p][g]);                  \
  }

/* Blocks of one gate: plain RNN, and products. */
static void NAMED(product)(const struct product *call, const float *const *x, float *const *y,
                           int64_t panel) {
  const struct matrix *m = call->matrix;
  vector sums[ROWS][PANELS][1];
  const int64_t distance = m->inputs * WIDTH;
  EACH_PANEL {
    int64_t count = m->units - (panel + p) * WIDTH;
    if (call->add) {
      EACH_ROW sums[r][p][0] = load_some(y[r] + (panel + p) * WIDTH, count);
    } else {
      vector b = load(m->bias + (panel + p) * WIDTH);
      EACH_ROW sums[r][p][0] = b;
    }
  }
  for (int64_t piece = 0; piece < call->pieces; piece++) {
    const float *from[ROWS];
    EACH_ROW from[r] = x[r] + piece * call->piece_distance;
    ADD_PRODUCTS(1, from, call->piece_size,
                 m->weights + panel * distance + piece * call->piece_size * WIDTH, distance, SAME);
  }
  EACH_ROW EACH_PANEL {
    vector v = sums[r][p][0];
    if (call->activation == ACTIVATION_TANH) v = hyperbolic_tangent(v);
    else if (call->activation == ACTIVATION_RELU) v = larger(all(0), v);
    else if (call->activation == ACTIVATION_SIGMOID) v = sigmoid(v);
    store_some(y[r] + (panel + p) * WIDTH, v, m->units - (panel + p) * WIDTH);
  }
}

PROJECT(1)

static void NAMED(step_rnn)(const struct layer *layer, const struct step *all_rows, int64_t panel) {
  const struct step *at = all_rows;
  vector sums[ROWS][PANELS][1];
  ADD_INPUT(1);
  ADD_STATE(1, SAME);
  EACH_ROW EACH_PANEL {
    vector h = layer->nonlinearity == ACTIVATION_RELU ? larger(all(0), sums[r][p][0])
                                                      : hyperbolic_tangent(sums[r][p][0]);
    store_some(at->y[r] + (panel + p) * WIDTH, h, layer->hidden_size - (panel + p) * WIDTH);
  }
}

#if ROWS * PANELS * 4 <= REGISTERS - 4 || (ROWS == 1 && PANELS <= 2)
#define HAS_GATED 1
PROJECT(3)
PROJECT(4)

static void NAMED(step_lstm)(const struct layer *layer, const struct step *at, int64_t panel) {
  vector sums[ROWS][PANELS][4];
  ADD_INPUT(4);
  ADD_STATE(4, SAME);
  EACH_ROW EACH_PANEL {
    const int64_t unit = (panel + p) * WIDTH, count = layer->hidden_size - unit;
    vector c = load_some(at->c[r] + unit, count);
    vector kept = sigmoid(sums[r][p][1]) * c;
    c = kept + sigmoid(sums[r][p][0]) * hyperbolic_tangent(sums[r][p][2]);
    store_some(at->c_new[r] + unit, c, count);
    store_some(at->y[r] + unit, sigmoid(sums[r][p][3]) * hyperbolic_tangent(c), count);
  }
}

static void NAMED(step_gru)(const struct layer *layer, const struct step *at, int64_t panel) {
  vector sums[ROWS][PANELS][4]; /* r, z, the new gate's input product, its recurrent product */
  ADD_INPUT(3);
  EACH_PANEL {
    vector b = load(layer->recurrent.bias + (panel + p) * WIDTH);
    EACH_ROW sums[r][p][3] = b;
  }
  ADD_STATE(3, NEW_APART);
  EACH_ROW EACH_PANEL {
    const int64_t unit = (panel + p) * WIDTH, count = layer->hidden_size - unit;
    vector h = load_some(at->h[r] + unit, count);
    vector reset = sigmoid(sums[r][p][0]), kept = sigmoid(sums[r][p][1]);
    vector new = hyperbolic_tangent(sums[r][p][2] + reset * sums[r][p][3]);
    store_some(at->y[r] + unit, new + kept * (h - new), count);
  }
}
#endif

static const struct block NAMED(block) = {
    .product = NAMED(product),
    .project_1 = NAMED(project_1),
    .step_rnn = NAMED(step_rnn),
#ifdef HAS_GATED
    .project_3 = NAMED(project_3),
    .project_4 = NAMED(project_4),
    .step_lstm = NAMED(step_lstm),
    .step_gru = NAMED(step_gru),
#endif
};

#undef HAS_GATED
#undef PROJECT
#undef ADD_STATE
#undef ADD_INPUT
#undef NEW_APART
#undef SAME
#undef ADD_PRODUCTS
#undef EACH_PANEL
#undef EACH_ROW
#undef NAMED
#undef JOIN
#undef JOIN_
#undef ROWS
#undef PANELS
