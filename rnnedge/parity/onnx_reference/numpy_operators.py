"""Layers that multiply integers, in numpy, straight from the equations of ONNX's operators.

Nothing here knows of PyTorch's order of gates, or of the forms that an exporter writes.
Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html, `__RNN`, `__GRU`, and
`__DynamicQuantizeLinear` for the rounding of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Nudge: TypeAlias = Callable[[tuple[int, ...]], Array | float]
"""Returns what is added to numbers of a shape, in steps, before they are rounded."""

_STEPS = 255


def to_nearest(shape: tuple[int, ...]) -> float:
    """Add nothing: round to the nearest."""
    return 0.0


def round_to_8_bits(x: Array, nudge: Nudge = to_nearest) -> Array:
    """Round to 256 steps between the smallest and the largest number and zero; float64."""
    single = x.astype(np.float32)
    low, high = min(single.min(initial=0), 0), max(single.max(initial=0), 0)
    scale = np.float32((np.float32(high) - np.float32(low)) / np.float32(_STEPS))
    if not scale > 0:
        return np.zeros(x.shape)
    zero = np.clip(np.rint(-low / scale), 0, _STEPS)
    steps = np.rint(single / scale + nudge(x.shape)) + zero
    rounded: Array = (np.clip(steps, 0, _STEPS) - zero) * np.float64(scale)
    return rounded


def in_parts(x: Array) -> Array:
    """Return an input, an eighth of it, and 16 times what rounding takes from it; float32."""
    rest = x - round_to_8_bits(x).astype(np.float32)
    return np.concatenate([x, x / np.float32(8), rest * np.float32(16)], -1)


def weights_in_parts(values: Array, scale: Array) -> Array:
    """Return the weights that belong to `in_parts`, all of one scale and at most 64 steps.

    Args:
        values: int8 [..., features], of which the first seven bits are multiplied by the input.
        scale: Of each channel, [..., 1].
    """
    eight = values.astype(np.float64)
    seven = np.rint(eight / 2)
    parts = [seven, 4 * (eight - 2 * seven), np.rint(seven / 16)]
    joined: Array = np.concatenate(parts, -1) * (2 * scale.astype(np.float64))
    return joined


@dataclass(frozen=True, slots=True)
class Product:
    """A `MatMul` or `Gemm` whose input is rounded.

    Attributes:
        weights: float64 [features, outputs].
    """

    weights: Array

    @property
    def terms(self) -> int:
        """Terms of its sums."""
        return len(self.weights)

    def run(self, x: Array, added: Sequence[Array], nudge: Nudge) -> tuple[list[Array], float]:
        """Return its output with what is added to it, and the largest number on the way."""
        y = round_to_8_bits(x, nudge) @ self.weights
        size = float(np.abs(y).max(initial=0))
        for more in added:
            y = y + more
        return [y], size


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A recurrent node whose state is rounded at each step.

    Attributes:
        op: `RNN`, `LSTM` or `GRU` with `linear_before_reset`.
        weights: W, float64 [directions, gates*hidden, features].
        recurrence: R, float64 [directions, gates*hidden, hidden].
        bias: B, float64 [directions, 2*gates*hidden].
        reverse: Whether its one direction is backwards.
        relu: Whether an RNN has relu for tanh.
        rounds_input: Whether the input is rounded too, once over all time.
        parts: Where it is so in three parts: the weights of all of them, float64 [directions,
            gates*hidden, 3*features]; else None.
    """

    op: str
    weights: Array
    recurrence: Array
    bias: Array
    reverse: bool
    relu: bool
    rounds_input: bool
    parts: Array | None

    @property
    def terms(self) -> int:
        """Terms of its sums."""
        return int(self.weights.shape[2] + self.recurrence.shape[2])

    def run(
        self,
        x: Array,
        lengths: Array | None,
        initial: Sequence[Array],
        nudge: Nudge,
        told: Array | None,
    ) -> tuple[list[Array], float]:
        """Run all steps.

        Args:
            x: [time, batch, features].
            lengths: [batch], or None when all rows are full.
            initial: [directions, batch, hidden] each; empty for zeros.
            nudge: How activations are rounded.
            told: What the operator's Y is in the file, [time, directions, batch, hidden]: each step
                then starts from the state before it in the file. None starts from its own.

        Returns:
            Y, Y_h and for an LSTM Y_c, and the largest number on the way.
        """
        time, batch, _ = x.shape
        directions, _, hidden = self.recurrence.shape
        count = 2 if self.op == "LSTM" else 1
        states = list(initial) or [np.zeros((directions, batch, hidden))] * count
        ends = np.full(batch, time) if lengths is None else lengths
        if self.reverse:  # all rows start at once, and so are rounded together
            x, told = _turned(x, ends), None if told is None else _turned(told, ends)
        wide = round_to_8_bits(x, nudge) if self.rounds_input else x.astype(np.float64)
        weights = self.weights
        if self.parts is not None:
            wide, weights = round_to_8_bits(in_parts(x), nudge), self.parts
        y = np.zeros((time, directions, batch, hidden))
        finals = [np.array(state, np.float64) for state in states]
        largest = 0.0
        for way in range(directions):
            projected = wide @ weights[way].T  # [time, batch, gates*hidden]
            state = [one[way].astype(np.float64) for one in states]
            for t in reversed(range(time)) if way else range(time):
                new, size = self._step(way, projected[t], state, nudge)
                inside = (t < ends)[:, None]
                y[t, way] = np.where(inside, new[0], 0)
                if told is not None:
                    new[0] = told[t, way].astype(np.float64)
                state = [np.where(inside, a, b) for a, b in zip(new, state, strict=True)]
                largest = max(largest, size)
            for final, last in zip(finals, state, strict=True):
                # ONNX Runtime answers zeros for a row of length zero.
                final[way] = np.where((ends > 0)[:, None], last, 0)
        if told is not None:
            finals[0] = _own_finals(y, ends)
        return [_turned(y, ends) if self.reverse else y, *finals], largest

    def _step(
        self, way: int, x: Array, state: list[Array], nudge: Nudge
    ) -> tuple[list[Array], float]:
        of_input, of_state = np.split(self.bias[way], 2)
        x = x + of_input
        h = state[0]
        product = round_to_8_bits(h, nudge) @ self.recurrence[way].T + of_state
        size = float(max(np.abs(x).max(initial=0), np.abs(product).max(initial=0)))
        if self.op == "RNN":
            sums = x + product
            return [np.maximum(sums, 0) if self.relu else np.tanh(sums)], size
        if self.op == "GRU":
            x_z, x_r, x_h = np.split(x, 3, 1)
            h_z, h_r, h_h = np.split(product, 3, 1)
            z, new = _sigmoid(x_z + h_z), np.tanh(x_h + _sigmoid(x_r + h_r) * h_h)
            return [(1 - z) * new + z * h], max(size, float(np.abs(h).max(initial=0)))
        i, o, f, c = np.split(x + product, 4, 1)
        cell = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(c)
        largest = max(size, float(np.abs(cell).max(initial=0)))
        return [_sigmoid(o) * np.tanh(cell), cell], largest


def _own_finals(y: Array, ends: Array) -> Array:
    """Return Y_h as it follows from Y: where each row ends forwards, and begins backwards."""
    rows, some = np.arange(y.shape[2]), (ends > 0)[:, None]
    last = y[np.maximum(ends - 1, 0), 0, rows]
    both = [last, *(y[0, way] for way in range(1, y.shape[1]))]
    return np.stack([np.where(some, final, 0) for final in both])


def _turned(x: Array, ends: Array) -> Array:
    """Turn each row of [time, ..., batch, features] round, up to its end."""
    steps = np.arange(len(x))[:, None]
    order = np.where(steps < ends, ends - 1 - steps, steps)  # [time, batch]
    order = order.reshape(len(x), *[1] * (x.ndim - 3), -1, 1)
    turned: Array = np.take_along_axis(x, order, 0)
    return turned


def _sigmoid(x: Array) -> Array:
    half: Array = 0.5 + 0.5 * np.tanh(0.5 * x)
    return half
