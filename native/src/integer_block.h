/*
 * ROWS rows and one panel, in registers from the first product to the last: included by integers.c
 * for each number of rows, so that every array has a constant size and every loop is unrolled.
 */
#define JOIN_(name, rows, wide) name##_##rows##_##wide
#define JOIN(name, rows, wide) JOIN_(name, rows, wide)
#define PARAMETERS                                                                       \
  const struct integer_matrix *m, const struct quantized *x, const struct step *at,      \
      int64_t row, int64_t panel
#define EACH_ROW UNROLL for (int r = 0; r < ROWS; r++)
#define EACH_GATE(GATES) UNROLL for (int g = 0; g < GATES; g++)
#if ROWS == 1
#define CHAINS 4 /* of sums, which are independent */
#elif ROWS == 2
#define CHAINS 2
#else
#define CHAINS 1
#endif

/* Declares sums[r][g]: the products of a panel, and the bias. */
#define SUMS(GATES, WIDE)                                                                \
  integers whole[CHAINS][ROWS][GATES];                                                   \
  const uint8_t *from[ROWS];                                                             \
  const int64_t first = panel * GATES * WIDTH;                                           \
  EACH_ROW {                                                                             \
    from[r] = x->values + (row + r) * x->row;                                            \
    EACH_GATE(GATES) {                                                                   \
      whole[0][r][g] =                                                                   \
          load_integers(m->sums + first + g * WIDTH) * (SHIFT - x->zero_points[row + r]); \
      UNROLL for (int c = 1; c < CHAINS; c++) whole[c][r][g] = (integers){0};            \
    }                                                                                    \
  }                                                                                      \
  const int8_t *weights = m->weights + first * m->fours * 4;                             \
  for (int64_t four = 0; four < m->fours; four += CHAINS)                                \
    UNROLL for (int c = 0; c < CHAINS; c++) {                                            \
      EACH_GATE(GATES) {                                                                 \
        bytes w = load_bytes(weights + g * WIDTH * 4);                                   \
        if (ROWS > 1) HOLD(w);                                                           \
        EACH_ROW whole[c][r][g] =                                                        \
            DOT(whole[c][r][g], four_of(from[r] + (four + c) * 4), w, WIDE);             \
      }                                                                                  \
      weights += GATES * WIDTH * 4;                                                      \
    }                                                                                    \
  vector sums[ROWS][GATES];                                                              \
  EACH_ROW EACH_GATE(GATES) {                                                            \
    UNROLL for (int c = 1; c < CHAINS; c++) whole[0][r][g] += whole[c][r][g];            \
    const vector product =                                                               \
        __builtin_convertvector(whole[0][r][g], vector) * x->scales[row + r];            \
    sums[r][g] = load(m->bias + first + g * WIDTH) +                                     \
                 product * load(m->scales + first + g * WIDTH);                          \
  }

/* What lies ready for a panel: the input's products and the biases. */
#define READY(GATES, G) load(at->ready[row + r] + first + (G) * WIDTH)

#define STEPS(WIDE)                                                                      \
  static void JOIN(step_rnn, ROWS, WIDE)(PARAMETERS) {                                   \
    SUMS(1, WIDE)                                                                        \
    EACH_ROW {                                                                           \
      vector v = READY(1, 0) + sums[r][0];                                               \
      if (at->layer->nonlinearity == ACTIVATION_RELU) v = larger(all(0), v);             \
      else v = hyperbolic_tangent(v);                                                    \
      store_some(at->y[row + r] + panel * WIDTH, v, m->units - panel * WIDTH);           \
    }                                                                                    \
  }                                                                                      \
                                                                                         \
  static void JOIN(step_lstm, ROWS, WIDE)(PARAMETERS) {                                  \
    SUMS(4, WIDE)                                                                        \
    EACH_ROW {                                                                           \
      const int64_t unit = panel * WIDTH, count = m->units - unit;                       \
      vector kept = sigmoid(READY(4, 1) + sums[r][1]);                                   \
      kept *= load_some(at->c[row + r] + unit, count);                                   \
      const vector candidate = hyperbolic_tangent(READY(4, 2) + sums[r][2]);             \
      const vector c = kept + sigmoid(READY(4, 0) + sums[r][0]) * candidate;             \
      store_some(at->c_new[row + r] + unit, c, count);                                   \
      const vector gate = sigmoid(READY(4, 3) + sums[r][3]);                             \
      store_some(at->y[row + r] + unit, gate * hyperbolic_tangent(c), count);            \
    }                                                                                    \
  }                                                                                      \
                                                                                         \
  static void JOIN(step_gru, ROWS, WIDE)(PARAMETERS) {                                   \
    SUMS(3, WIDE)                                                                        \
    EACH_ROW {                                                                           \
      const int64_t unit = panel * WIDTH, count = m->units - unit;                       \
      const vector h = load_some(at->h[row + r] + unit, count);                          \
      const vector reset = sigmoid(READY(3, 0) + sums[r][0]);                            \
      const vector kept = sigmoid(READY(3, 1) + sums[r][1]);                             \
      const vector new = hyperbolic_tangent(READY(3, 2) + reset * sums[r][2]);           \
      store_some(at->y[row + r] + unit, new + kept * (h - new), count);                  \
    }                                                                                    \
  }                                                                                      \
                                                                                         \
  static void JOIN(product, ROWS, WIDE)(PARAMETERS) {                                    \
    SUMS(1, WIDE)                                                                        \
    EACH_ROW store_some(at->y[row + r] + panel * WIDTH, sums[r][0],                      \
                        m->units - panel * WIDTH);                                       \
  }                                                                                      \
  PROJECT(1, WIDE)                                                                       \
  PROJECT(3, WIDE)                                                                       \
  PROJECT(4, WIDE)

#define PROJECT(GATES, WIDE)                                                             \
  static void JOIN(project_##GATES, ROWS, WIDE)(PARAMETERS) {                            \
    SUMS(GATES, WIDE)                                                                    \
    EACH_ROW EACH_GATE(GATES) store(at->y[row + r] + first + g * WIDTH, sums[r][g]);     \
  }

STEPS(0)
STEPS(1)

#undef PROJECT
#undef STEPS
#undef READY
#undef SUMS
#undef CHAINS
#undef EACH_GATE
#undef EACH_ROW
#undef PARAMETERS
#undef JOIN
#undef JOIN_
#undef ROWS
