"""The C functions of recurrent cells, one step of one row each."""

from __future__ import annotations

from collections.abc import Iterable

from rnnedge_exporters.c_source.element_kernels import Kernel
from rnnedge_exporters.c_source.integer_kernels import (
    CELLS_OF_INTEGERS,
    cell_of_integers,
    text_of_integers,
)

CELLS: dict[str, Kernel] = {
    "rnn": Kernel(
        """\
/* y = tanh(bias + W_ih x + W_hh h) of one row; y must not be h. */
static void rnn(const struct layer *l, const float *x, const float *h, float *y) {
  size_t u;
  for (u = 0; u < l->hidden; u++)
    y[u] = tanh_f(l->bias[u] + row_product(&l->ih, u, x) + row_product(&l->hh, u, h));
}""",
        ("tanh_f",),
    ),
    "rnn_relu": Kernel(
        """\
/* y = relu(bias + W_ih x + W_hh h) of one row; y must not be h. */
static void rnn_relu(const struct layer *l, const float *x, const float *h, float *y) {
  size_t u;
  for (u = 0; u < l->hidden; u++)
    y[u] = relu(l->bias[u] + row_product(&l->ih, u, x) + row_product(&l->hh, u, h));
}""",
        ("relu",),
    ),
    "lstm": Kernel(
        """\
/* One step of one row. The gates are i, f, g, o; c_new may be c; y must not be h. */
static void lstm(const struct layer *l, const float *x, const float *h, const float *c,
                 float *c_new, float *y) {
  const size_t hidden = l->hidden;
  size_t u, gate;
  for (u = 0; u < hidden; u++) {
    float sums[4];
    for (gate = 0; gate < 4; gate++) {
      const size_t row = gate * hidden + u;
      sums[gate] = l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, h);
    }
    c_new[u] = sigmoid(sums[1]) * c[u] + sigmoid(sums[0]) * tanh_f(sums[2]);
    y[u] = sigmoid(sums[3]) * tanh_f(c_new[u]);
  }
}""",
        ("sigmoid", "tanh_f"),
    ),
    "gru": Kernel(
        """\
/* One step of one row. The gates are r, z, n; y must not be h. */
static void gru(const struct layer *l, const float *x, const float *h, float *y) {
  const size_t hidden = l->hidden;
  size_t u, gate;
  for (u = 0; u < hidden; u++) {
    float sums[2], n;
    for (gate = 0; gate < 2; gate++) {
      const size_t row = gate * hidden + u;
      sums[gate] = l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, h);
    }
    n = l->bias_n[u] + row_product(&l->hh, 2 * hidden + u, h);
    n = l->bias[2 * hidden + u] + row_product(&l->ih, 2 * hidden + u, x) + sigmoid(sums[0]) * n;
    n = tanh_f(n);
    y[u] = n + sigmoid(sums[1]) * (h[u] - n);
  }
}""",
        ("sigmoid", "tanh_f"),
    ),
    "gru_reset_before": Kernel(
        """\
/* One step of one row, whose reset gate scales the state before the recurrent product. The gates
   are r, z, n; `work` has room for twice the hidden size. */
static void gru_reset_before(const struct layer *l, const float *x, const float *h, float *y,
                             float *work) {
  const size_t hidden = l->hidden;
  size_t u, row;
  for (row = 0; row < 2 * hidden; row++)
    work[row] =
        sigmoid(l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, h));
  for (u = 0; u < hidden; u++) work[u] *= h[u];
  for (u = 0; u < hidden; u++) {
    float n;
    row = 2 * hidden + u;
    n = tanh_f(l->bias[row] + row_product(&l->ih, row, x) + row_product(&l->hh, row, work));
    y[u] = n + work[hidden + u] * (h[u] - n);
  }
}""",
        ("sigmoid", "tanh_f"),
    ),
}
CELLS |= {
    cell_of_integers(cell, input=input): Kernel(
        text_of_integers(cell, CELLS[cell].text, input=input), CELLS[cell].needs
    )
    for cell in CELLS_OF_INTEGERS
    for input in (False, True)
}

LAYER = """\
/* One direction of a recurrent layer. */
struct layer {
  size_t hidden;
  struct matrix ih, hh;
  const float *bias;   /* of both products, one for each row of their sum */
"""


def has_gru(cells: Iterable[str]) -> bool:
    """Whether one of the cells has a bias that its reset gate scales."""
    return any(cell.partition("_")[0] == "gru" and "reset" not in cell for cell in cells)


BIAS_N = "  const float *bias_n; /* of a GRU's new gate, scaled by its reset gate */\n"
