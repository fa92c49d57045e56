"""How a plan keeps weights: packed for the engine's kernels, or as another target takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.plan.values import Array


@dataclass(frozen=True, eq=False, slots=True)
class IntegerWeights:
    """Weights that are multiplied as integers.

    Their product with a row x is `scale * (q - zero_point) @ values.T * scales`, where q, scale and
    zero_point are what ONNX's DynamicQuantizeLinear gives for that row alone. The sums are exact.

    Attributes:
        values: int8 [units, inputs].
        scales: float32 [units].
    """

    values: Array
    scales: Array

    def __len__(self) -> int:
        """Return the units."""
        return len(self.values)

    @property
    def wide(self) -> Array:
        """The weights in float32 [units, inputs]."""
        made: Array = self.values.astype(np.float32) * self.scales[:, None]
        return made

    def reordered(self, order: Sequence[int]) -> IntegerWeights:
        """Return as many blocks of units in another order."""
        count = len(order)
        values, scales = np.split(self.values, count), np.split(self.scales, count)
        return IntegerWeights(
            np.concatenate([values[block] for block in order]),
            np.concatenate([scales[block] for block in order]),
        )


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One direction of one layer, float32, gates in PyTorch's order.

    Attributes:
        cell: `rnn`, `lstm`, `gru`, or `gru_reset_before`.
        nonlinearity: `tanh` or `relu`.
        weight_ih: [gates*hidden, input].
        weight_hh: [gates*hidden, state].
        bias: [gates*hidden], of the input's product; of both where they are simply added.
        bias_n: [hidden], what the reset gate of a GRU scales; None otherwise.
        projection: [state, hidden], or None.
        integers_ih: Where the file computes the input's product in integers, the same weights as
            integers; None otherwise.
        integers_hh: Of the recurrent product, likewise.
        integers_projection: Of the projection, likewise.
        rounding_undone: Whether the file quantizes the input in parts that make up for rounding,
            which is not quantized here.
    """

    cell: str
    nonlinearity: str
    weight_ih: Array
    weight_hh: Array
    bias: Array | None
    bias_n: Array | None = None
    projection: Array | None = None
    integers_ih: IntegerWeights | None = None
    integers_hh: IntegerWeights | None = None
    integers_projection: IntegerWeights | None = None
    rounding_undone: bool = False

    @property
    def hidden_size(self) -> int:
        """Features of the state c, and of h where there is no projection."""
        gates = {"rnn": 1, "lstm": 4}.get(self.cell, 3)
        return len(self.weight_ih) // gates

    @property
    def state_size(self) -> int:
        """Features of the state h, and of the output."""
        return int(self.weight_hh.shape[1])


def signed_weights(values: Array, zero_point: Array | None) -> Array:
    """Return weights less their zero point as int8.

    Args:
        values: int8 or uint8, the units along the last axis.
        zero_point: A number, or one for each unit; None is 0.

    Raises:
        PlanError: Where they are no 8-bit integers, or do not fit in int8.
    """
    if values.dtype not in (np.int8, np.uint8):
        raise PlanError(f"integer weights of {values.dtype}")
    if zero_point is None or not zero_point.any():
        shifted = values.astype(np.int16)
    else:
        shifted = values.astype(np.int16) - zero_point.astype(np.int16)
    if shifted.size and not -128 <= shifted.min() <= shifted.max() <= 127:
        raise PlanError("integer weights that do not fit in int8 less their zero point")
    return shifted.astype(np.int8)


class Packer(Protocol):
    """What makes the `packed` of a call from its weights."""

    def layer(self, weights: LayerWeights) -> object:
        """Return one direction of a layer, whose shapes were checked."""
        ...

    def matrix(self, weights: Array, bias: Array | None) -> object:
        """Return a matrix float32 [units, inputs], and its bias [units]."""
        ...

    def integer_matrix(self, weights: IntegerWeights, bias: Array | None) -> object:
        """Return a matrix of integers, and its bias float32 [units]."""
        ...
