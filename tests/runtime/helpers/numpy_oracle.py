"""RNN, LSTM and GRU in numpy and float64, written from PyTorch's equations alone.

https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html (and `RNN`, `GRU`)
"""

from dataclasses import dataclass

import numpy as np

BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3}
"""Blocks of rows in a weight, in PyTorch's order: lstm i, f, g, o; gru r, z, n."""


@dataclass(frozen=True)
class Weights:
    """One direction, as PyTorch names and shapes it."""

    w_ih: np.ndarray  # [blocks*hidden, features]
    w_hh: np.ndarray  # [blocks*hidden, hidden]
    b_ih: np.ndarray  # [blocks*hidden]
    b_hh: np.ndarray  # [blocks*hidden]


def random_weights(cell: str, input_size: int, hidden_size: int, seed: int) -> Weights:
    random = np.random.default_rng(seed)
    rows = BLOCKS[cell] * hidden_size
    shapes = (rows, input_size), (rows, hidden_size), (rows,), (rows,)
    return Weights(*(random.uniform(-0.7, 0.7, shape).astype(np.float32) for shape in shapes))


def run(
    cell: str,
    directions: list[Weights],
    x: np.ndarray,
    state: tuple[np.ndarray, ...],
    lengths: np.ndarray,
    nonlinearity: str = "tanh",
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Run one layer, row by row as a PackedSequence means it.

    Args:
        cell: `rnn`, `lstm` or `gru`.
        directions: The forward weights, and the backward ones of a bidirectional layer.
        x: [time, batch, features].
        state: (h,) or (h, c), each [directions, batch, hidden].
        lengths: Integers [batch].
        nonlinearity: Of an rnn.

    Returns:
        The output [time, batch, directions*hidden], zero past a row's end, and the final state.
    """
    time, batch, _ = x.shape
    hidden = directions[0].w_hh.shape[1]
    output = np.zeros((time, batch, len(directions) * hidden))
    finals = tuple(np.array(s, np.float64) for s in state)
    for d, weights in enumerate(directions):
        for row in range(batch):
            steps = range(lengths[row])
            now = [final[d, row] for final in finals]
            for t in reversed(steps) if d else steps:
                now = _step(cell, weights, x[t, row].astype(np.float64), now, nonlinearity)
                output[t, row, d * hidden : (d + 1) * hidden] = now[0]
            for final, last in zip(finals, now, strict=True):
                final[d, row] = last
    return output, finals


def _step(
    cell: str, w: Weights, x: np.ndarray, state: list[np.ndarray], nonlinearity: str
) -> list[np.ndarray]:
    from_input = w.w_ih.astype(np.float64) @ x + w.b_ih
    from_state = w.w_hh.astype(np.float64) @ state[0] + w.b_hh
    if cell == "rnn":
        total = from_input + from_state
        return [np.tanh(total) if nonlinearity == "tanh" else np.maximum(total, 0)]
    if cell == "lstm":
        i, f, g, o = np.split(from_input + from_state, 4)
        c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
        return [_sigmoid(o) * np.tanh(c), c]
    r_x, z_x, n_x = np.split(from_input, 3)
    r_h, z_h, n_h = np.split(from_state, 3)
    r, z = _sigmoid(r_x + r_h), _sigmoid(z_x + z_h)
    n = np.tanh(n_x + r * n_h)
    return [(1 - z) * n + z * state[0]]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
