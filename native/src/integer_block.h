/*
 * ROWS rows and PANELS panels, in registers from the first product to the last: included by
 * integers.c for each shape, so that every array has a constant size and every loop is unrolled.
 * What has several gates takes one panel at a time.
 */
#define JOIN_(name, rows, panels, wide) name##_##rows##_##panels##_##wide
#define JOIN(name, rows, panels, wide) JOIN_(name, rows, panels, wide)
#define NAMED(name, wide) JOIN(name, ROWS, PANELS, wide)
#define PARAMETERS                                                                       \
  const struct integer_matrix *m, const struct quantized *x, const struct step *at,      \
      int64_t row, int64_t panel
#define EACH_ROW UNROLL for (int r = 0; r < ROWS; r++)
#define EACH_PANEL UNROLL for (int p = 0; p < PANELS; p++)
#define EACH_GATE(GATES) UNROLL for (int g = 0; g < GATES; g++)
#if ROWS * PANELS <= 2
#define CHAINS 4 / ROWS /* of sums, which are independent; a divisor of FOURS */
#elif ROWS * PANELS == 4 && ROWS < 4
#define CHAINS 2
#else
#define CHAINS 1
#endif

/* Declares sums[r][p][g]: the products of some panels, and the bias. */
#define SUMS(GATES, WIDE)                                                                \
  integers whole[CHAINS][ROWS][PANELS][GATES];                                           \
  const uint8_t *from[ROWS];                                                             \
  const int64_t first = panel * GATES * WIDTH;                                           \
  EACH_ROW {                                                                             \
    from[r] = x->values + (row + r) * x->row;                                            \
    const int32_t shift = SHIFT - x->zero_points[row + r];                               \
    EACH_PANEL EACH_GATE(GATES) {                                                        \
      whole[0][r][p][g] =                                                                \
          load_integers(m->sums + first + (p * GATES + g) * WIDTH) * shift;              \
      UNROLL for (int c = 1; c < CHAINS; c++) whole[c][r][p][g] = (integers){0};         \
    }                                                                                    \
  }                                                                                      \
  const int64_t distance = m->fours * GATES * WIDTH * 4;                                 \
  const int8_t *weights = m->weights + panel * distance;                                 \
  for (int64_t four = 0; four < m->fours; four += CHAINS)                                \
    UNROLL for (int c = 0; c < CHAINS; c++) {                                            \
      integers in[ROWS];                                                                 \
      EACH_ROW in[r] = four_of(from[r] + (four + c) * 4);                                \
      EACH_PANEL EACH_GATE(GATES) {                                                      \
        bytes w = load_bytes(weights + p * distance + g * WIDTH * 4);                    \
        if (ROWS > 1) HOLD(w);                                                           \
        EACH_ROW whole[c][r][p][g] = DOT(whole[c][r][p][g], in[r], w, WIDE);             \
      }                                                                                  \
      weights += GATES * WIDTH * 4;                                                      \
    }                                                                                    \
  vector sums[ROWS][PANELS][GATES];                                                      \
  EACH_ROW EACH_PANEL EACH_GATE(GATES) {                                                 \
    const int64_t at_gate = first + (p * GATES + g) * WIDTH;                             \
    UNROLL for (int c = 1; c < CHAINS; c++) whole[0][r][p][g] += whole[c][r][p][g];      \
    const vector product =                                                               \
        __builtin_convertvector(whole[0][r][p][g], vector) * x->scales[row + r];         \
    sums[r][p][g] = load(m->bias + at_gate) + product * load(m->scales + at_gate);       \
  }

/* What lies ready for a panel: the input's products and the biases. */
#define READY(GATES, G) load(at->ready[row + r] + first + (G) * WIDTH)

#define OF_ONE_GATE(WIDE)                                                                \
  static void NAMED(step_rnn, WIDE)(PARAMETERS) {                                        \
    SUMS(1, WIDE)                                                                        \
    EACH_ROW EACH_PANEL {                                                                \
      const int64_t unit = (panel + p) * WIDTH;                                          \
      vector v = READY(1, p) + sums[r][p][0];                                            \
      if (at->layer->nonlinearity == ACTIVATION_RELU) v = larger(all(0), v);             \
      else v = hyperbolic_tangent(v);                                                    \
      store_some(at->y[row + r] + unit, v, m->units - unit);                             \
    }                                                                                    \
  }                                                                                      \
                                                                                         \
  static void NAMED(product, WIDE)(PARAMETERS) {                                         \
    SUMS(1, WIDE)                                                                        \
    EACH_ROW EACH_PANEL {                                                                \
      const int64_t unit = (panel + p) * WIDTH;                                          \
      store_some(at->y[row + r] + unit, sums[r][p][0], m->units - unit);                 \
    }                                                                                    \
  }                                                                                      \
  PROJECT(1, WIDE)

#define PROJECT(GATES, WIDE)                                                             \
  static void NAMED(project_##GATES, WIDE)(PARAMETERS) {                                 \
    SUMS(GATES, WIDE)                                                                    \
    EACH_ROW EACH_PANEL EACH_GATE(GATES)                                                 \
        store(at->y[row + r] + first + (p * GATES + g) * WIDTH, sums[r][p][g]);          \
  }

OF_ONE_GATE(0)
OF_ONE_GATE(1)

#if PANELS == 1
#define OF_SEVERAL_GATES(WIDE)                                                           \
  static void NAMED(step_lstm, WIDE)(PARAMETERS) {                                       \
    SUMS(4, WIDE)                                                                        \
    EACH_ROW {                                                                           \
      const int64_t unit = panel * WIDTH, count = m->units - unit;                       \
      vector kept = sigmoid(READY(4, 1) + sums[r][0][1]);                                \
      kept *= load_some(at->c[row + r] + unit, count);                                   \
      const vector candidate = hyperbolic_tangent(READY(4, 2) + sums[r][0][2]);          \
      const vector c = kept + sigmoid(READY(4, 0) + sums[r][0][0]) * candidate;          \
      store_some(at->c_new[row + r] + unit, c, count);                                   \
      const vector gate = sigmoid(READY(4, 3) + sums[r][0][3]);                          \
      store_some(at->y[row + r] + unit, gate * hyperbolic_tangent(c), count);            \
    }                                                                                    \
  }                                                                                      \
                                                                                         \
  static void NAMED(step_gru, WIDE)(PARAMETERS) {                                        \
    SUMS(3, WIDE)                                                                        \
    EACH_ROW {                                                                           \
      const int64_t unit = panel * WIDTH, count = m->units - unit;                       \
      const vector h = load_some(at->h[row + r] + unit, count);                          \
      const vector reset = sigmoid(READY(3, 0) + sums[r][0][0]);                         \
      const vector kept = sigmoid(READY(3, 1) + sums[r][0][1]);                          \
      const vector new = hyperbolic_tangent(READY(3, 2) + reset * sums[r][0][2]);        \
      store_some(at->y[row + r] + unit, new + kept * (h - new), count);                  \
    }                                                                                    \
  }                                                                                      \
  PROJECT(3, WIDE)                                                                       \
  PROJECT(4, WIDE)

OF_SEVERAL_GATES(0)
OF_SEVERAL_GATES(1)
#undef OF_SEVERAL_GATES
#endif

#undef OF_ONE_GATE
#undef PROJECT
#undef READY
#undef SUMS
#undef CHAINS
#undef EACH_GATE
#undef EACH_PANEL
#undef EACH_ROW
#undef PARAMETERS
#undef NAMED
#undef JOIN
#undef JOIN_
#undef ROWS
#undef PANELS
