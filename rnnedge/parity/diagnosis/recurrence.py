"""A recurrent layer in numpy float64, that can be made to make the mistakes exporters make.

Equations: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html, and those of `nn.GRU`
and `nn.RNN`. Without a mistake it computes what PyTorch computes, by other code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rnnedge_exporters.layers.weights import DirectionWeights, RecurrentLayer

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Place = tuple[int, int]
"""A stacked layer, and 0 for its forward direction or 1 for its backward one."""
Activation = Literal[
    "tanh",
    "relu",
    "sigmoid",
    "identity",
    "hard sigmoid",
    "hard sigmoid x/6 + 1/2",
    "softsign",
    "leaky relu",
]
Rows = Callable[[Float64], Float64]


def _sigmoid(x: Float64) -> Float64:
    return 0.5 * np.tanh(0.5 * x) + 0.5  # where exp(-x) would overflow too


ACTIVATIONS: dict[Activation, Callable[[Float64], Float64]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "identity": lambda x: x,
    "hard sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard sigmoid x/6 + 1/2": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "leaky relu": lambda x: np.where(x < 0, 0.01 * x, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
}


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a layer differs from PyTorch, apart from its weights.

    Attributes:
        reset_first: Places where a GRU resets before the recurrent product.
        activation: What takes the place of tanh (or relu) at `activated`.
        gate: What takes the place of sigmoid there.
        cell_out: What takes the place of the tanh that an LSTM's cell state passes through.
        activated: Places where the activations are others.
        forward_again: Layers whose backward direction runs forward.
        turned_only: Layers whose backward direction runs forward, and has its output reversed.
        not_turned: Layers whose backward output stays in the order it was computed in.
        halves: Layers whose output has the backward direction first.
        initial: How the rows of each initial state are rearranged.
        final: How the rows of each final state are rearranged.
        swap_initial: Whether h_0 and c_0 are exchanged.
        swap_final: Whether h_n and c_n are exchanged.
        lengths: What becomes of the lengths: `ignored`, `last step` (final states of short rows are
            taken behind their end), `zero at end` (final states are the output of the last step,
            which is padding), `second run` (final states come from a run that knows no lengths, of
            the right input), `unmasked` (output goes on past a row's end), `backward at padding`
            (the backward direction starts in the padding), `empty rows lose` (a row of length zero
            ends in zeros).
        lengths_at: Places where that happens; None is everywhere.
        transposed: Layers, not the first, whose input has batch and time exchanged.
        transposed_back: Whether their output is exchanged again.
    """

    reset_first: frozenset[Place] = frozenset()
    activation: Activation | None = None
    gate: Activation | None = None
    cell_out: Activation | None = None
    activated: frozenset[Place] = frozenset()
    forward_again: frozenset[int] = frozenset()
    turned_only: frozenset[int] = frozenset()
    not_turned: frozenset[int] = frozenset()
    halves: frozenset[int] = frozenset()
    initial: tuple[Rows | None, Rows | None] = (None, None)
    final: tuple[Rows | None, Rows | None] = (None, None)
    swap_initial: bool = False
    swap_final: bool = False
    lengths: str = ""
    lengths_at: frozenset[Place] | None = None
    transposed: frozenset[int] = frozenset()
    transposed_back: bool = False


@dataclass(frozen=True, slots=True)
class LayerRun:
    """What `run` gave.

    Attributes:
        output: float64 [time, batch, directions*features].
        finals: float64 [layers*directions, batch, features], (h,) or (h, c).
        layers: The output of each stacked layer.
    """

    output: Float64
    finals: tuple[Float64, ...]
    layers: tuple[Float64, ...] = field(default=())


def run(
    layer: RecurrentLayer,
    x: Float64,
    initial: Sequence[Float64] | None = None,
    lengths: Int64 | None = None,
    quirks: Quirks | None = None,
) -> LayerRun:
    """Run a layer.

    Args:
        layer: The layer with its weights.
        x: float64 [time, batch, input_size].
        initial: (h,) or (h, c), each [layers*directions, batch, features]; None is zeros.
        lengths: int64 [batch]; None runs every row to the end.
        quirks: What to do otherwise.

    Raises:
        ValueError: When shapes do not fit, as they may under a quirk.
    """
    quirks = quirks or Quirks()
    time, batch, _ = x.shape
    rows = len(layer.layers) * layer.directions
    states = [np.zeros((rows, batch, size)) for size in layer.state_sizes]
    if initial is not None:
        states = [np.asarray(state, np.float64) for state in initial]
    states = _changed(states, quirks.initial, swap=quirks.swap_initial)
    for state, size in zip(states, layer.state_sizes, strict=True):
        if state.shape != (rows, batch, size):
            raise ValueError(f"state {state.shape}, expected {(rows, batch, size)}")
    ends = np.full(batch, time) if lengths is None else lengths
    finals: list[list[Float64]] = [[] for _ in states]
    outputs = []
    for index, directions in enumerate(layer.layers):
        halves = []
        if index in quirks.transposed:
            x = x.swapaxes(0, 1)
        for direction, weights in enumerate(directions):
            row = index * layer.directions + direction
            y, last = _direction(
                layer, weights, x, [s[row] for s in states], ends, quirks, (index, direction)
            )
            halves.append(y)
            for kept, final in zip(finals, last, strict=True):
                kept.append(final)
        if index in quirks.halves:
            halves = halves[::-1]
        x = np.concatenate(halves, axis=2)
        if index in quirks.transposed and quirks.transposed_back:
            x = x.swapaxes(0, 1)
        outputs.append(x)
    ended = _changed([np.stack(f) for f in finals], quirks.final, swap=quirks.swap_final)
    return LayerRun(x, tuple(ended), tuple(outputs))


def _changed(states: list[Float64], changes: Sequence[Rows | None], *, swap: bool) -> list[Float64]:
    """Return states as a quirk has them."""
    states = states[::-1] if swap else states
    return [
        state if change is None else change(state)
        for state, change in zip(states, changes, strict=False)
    ]


def _direction(
    layer: RecurrentLayer,
    weights: DirectionWeights,
    x: Float64,
    before: list[Float64],
    ends: Int64,
    quirks: Quirks,
    place: Place,
) -> tuple[Float64, list[Float64]]:
    """Run one direction of one stacked layer; `ends` is where each row stops."""
    time = len(x)
    wrong = quirks.lengths if quirks.lengths_at is None or place in quirks.lengths_at else ""
    if wrong == "ignored":
        ends = np.full_like(ends, time)
    given = x
    turns_in = place[1] == 1 and place[0] not in quirks.forward_again | quirks.turned_only
    turns_out = place[1] == 1 and place[0] not in quirks.forward_again | quirks.not_turned
    if turns_in:
        x = x[::-1] if wrong == "backward at padding" else _turned(x, ends)
    step = _step_of(layer, weights, quirks, place)
    state, kept = list(before), list(before)
    steps = []
    padding_first = turns_in and wrong == "backward at padding"
    all_full = bool((ends == time).all())
    for t in range(time):
        state = step(x[t], state)
        if all_full:
            steps.append(state[0])
            kept = state
            continue
        alive = ((time - 1 - t if padding_first else t) < ends)[:, None]
        steps.append(np.where(alive | (wrong == "unmasked"), state[0], 0.0))
        if wrong == "last step":
            kept = state
        else:
            kept = [np.where(alive, new, old) for new, old in zip(state, kept, strict=True)]
    y = np.stack(steps)
    if wrong == "zero at end":
        kept = [np.where((ends == time)[:, None], k, 0.0) for k in kept]
    if wrong == "second run":
        full = np.full_like(ends, time)
        _, kept = _direction(layer, weights, given, before, full, Quirks(), place)
    if wrong == "empty rows lose":
        kept = [np.where((ends > 0)[:, None], k, 0.0) for k in kept]
    if turns_out:
        y = y[::-1] if padding_first else _turned(y, ends)
    return y, kept


def _turned(x: Float64, ends: Int64) -> Float64:
    """Reverse each row up to its end."""
    if (ends == len(x)).all():
        return x[::-1]
    steps = np.arange(len(x))[:, None]
    source = np.where(steps < ends, ends - 1 - steps, steps)  # [time, batch]
    return np.take_along_axis(x, source[:, :, None], axis=0)


def _step_of(
    layer: RecurrentLayer, weights: DirectionWeights, quirks: Quirks, place: Place
) -> Callable[[Float64, list[Float64]], list[Float64]]:
    other = place in quirks.activated
    act = ACTIVATIONS[(quirks.activation if other else None) or layer.nonlinearity]
    gate = ACTIVATIONS[(quirks.gate if other else None) or "sigmoid"]
    out = ACTIVATIONS[(quirks.cell_out if other else None) or "tanh"]
    w, r = weights.weight_ih.T.astype(np.float64), weights.weight_hh.T.astype(np.float64)
    b, c = weights.bias_ih.astype(np.float64), weights.bias_hh.astype(np.float64)
    projection = None if weights.weight_hr is None else weights.weight_hr.T.astype(np.float64)

    def rnn(x: Float64, state: list[Float64]) -> list[Float64]:
        return [act(x @ w + b + state[0] @ r + c)]

    def lstm(x: Float64, state: list[Float64]) -> list[Float64]:
        i, f, g, o = _gates(x @ w + b + state[0] @ r + c, 4)
        cell = gate(f) * state[1] + gate(i) * act(g)
        h = gate(o) * out(cell)
        return [h if projection is None else h @ projection, cell]

    def gru(x: Float64, state: list[Float64]) -> list[Float64]:
        (h,) = state
        x_r, x_z, x_n = _gates(x @ w + b, 3)
        if place in quirks.reset_first:
            r_r, r_z, r_n = _gates(r, 3)
            c_r, c_z, c_n = _gates(c, 3)
            reset, update = gate(x_r + h @ r_r + c_r), gate(x_z + h @ r_z + c_z)
            new = act(x_n + (reset * h) @ r_n + c_n)
        else:
            h_r, h_z, h_n = _gates(h @ r + c, 3)
            reset, update = gate(x_r + h_r), gate(x_z + h_z)
            new = act(x_n + reset * h_n)
        return [(1 - update) * new + update * h]

    steps: dict[str, Any] = {"rnn": rnn, "lstm": lstm, "gru": gru}
    return steps[layer.cell]  # type: ignore[no-any-return]


def _gates(joined: Float64, count: int) -> list[Float64]:
    """Cut the last axis into equal parts; `numpy.split` takes longer than a step of a layer."""
    size = joined.shape[-1] // count
    return [joined[..., start : start + size] for start in range(0, size * count, size)]


def with_weights(
    layer: RecurrentLayer,
    places: frozenset[Place],
    change: Callable[[DirectionWeights], DirectionWeights],
) -> RecurrentLayer:
    """Return the layer with the weights at `places` changed."""
    return replace(
        layer,
        layers=tuple(
            tuple(
                change(weights) if (index, direction) in places else weights
                for direction, weights in enumerate(directions)
            )
            for index, directions in enumerate(layer.layers)
        ),
    )


def with_layers(
    layer: RecurrentLayer, changed: dict[int, tuple[DirectionWeights, ...]]
) -> RecurrentLayer:
    """Return the layer with both directions of some stacked layers exchanged for others."""
    return replace(
        layer,
        layers=tuple(changed.get(index, pair) for index, pair in enumerate(layer.layers)),
    )
