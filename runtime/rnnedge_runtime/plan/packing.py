"""How a plan keeps weights: packed for the engine's kernels, or as another target takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rnnedge_runtime.plan.values import Array


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
    """

    cell: str
    nonlinearity: str
    weight_ih: Array
    weight_hh: Array
    bias: Array | None
    bias_n: Array | None = None
    projection: Array | None = None

    @property
    def hidden_size(self) -> int:
        """Features of the state c, and of h where there is no projection."""
        gates = {"rnn": 1, "lstm": 4}.get(self.cell, 3)
        return len(self.weight_ih) // gates

    @property
    def state_size(self) -> int:
        """Features of the state h, and of the output."""
        return int(self.weight_hh.shape[1])


class Packer(Protocol):
    """What makes the `packed` of a call from its weights."""

    def layer(self, weights: LayerWeights) -> object:
        """Return one direction of a layer, whose shapes were checked."""
        ...

    def matrix(self, weights: Array, bias: Array | None) -> object:
        """Return a matrix float32 [units, inputs], and its bias [units]."""
        ...
