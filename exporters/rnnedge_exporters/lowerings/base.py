"""What every lowering takes and gives.

A lowering turns ONE stacked layer (its one or two directions) into ONNX:

    lower(graph, call) -> (output, finals)

with call.x float32 [time, batch, features], each initial and final state float32
[directions, batch, hidden], and output float32 [time, batch, directions*hidden]. It keeps PyTorch's
meaning of lengths: `output` is zero past a row's end, the backward direction starts there, and a
row of length zero hands its initial state on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
import onnx_ir as ir

from rnnedge_exporters.layers.weights import DirectionWeights, RecurrentLayer
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder


class Lengths:
    """The lengths of the rows, in the forms that lowerings need; each is computed once.

    Args:
        graph: The outermost graph.
        lengths: int64 [batch].
        x: float32 [time, batch, features]; its first axis is the time of the mask.
    """

    def __init__(self, graph: GraphBuilder, lengths: ir.Value, x: ir.Value) -> None:
        """Compute nothing yet."""
        self._graph = graph
        self._lengths = lengths
        self._x = x

    @cached_property
    def int32(self) -> ir.Value:
        """int32 [batch], the type that `sequence_lens` must have."""
        with self._graph.scope("lengths"):
            return self._graph.op("Cast", self._lengths, to=ir.DataType.INT32)

    @cached_property
    def empty(self) -> ir.Value:
        """A bool [batch, 1], true for the rows of length zero; broadcasts over directions."""
        graph = self._graph
        with graph.scope("lengths"):
            is_zero = graph.op("Equal", self._lengths, graph.integers(0))
            return graph.op("Unsqueeze", is_zero, graph.integers(1))

    @cached_property
    def mask(self) -> ir.Value:
        """A bool [time, batch, 1], true where a row has not ended."""
        graph = self._graph
        with graph.scope("lengths"):
            shape = graph.op("Shape", self._x, start=0, end=1)
            time = graph.op("Squeeze", shape, graph.integers(0))
            zero = graph.constant("zero", np.array(0, np.int64))
            one = graph.constant("one", np.array(1, np.int64))
            steps = graph.op("Range", zero, time, one)
            column = graph.op("Unsqueeze", steps, graph.integers(1, 2))  # [time, 1, 1]
            ends = graph.op("Unsqueeze", self._lengths, graph.integers(0, 2))  # [1, batch, 1]
            return graph.op("Less", column, ends)


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One stacked layer, and what it is called with.

    Attributes:
        layer: The layer with its weights.
        index: Which of its stacked layers.
        x: float32 [time, batch, features].
        lengths: The lengths of the rows, or None when all are full.
        initial: (h_0,) or (h_0, c_0), each float32 [directions, batch, hidden]; None for zeros.
    """

    layer: RecurrentLayer
    index: int
    x: ir.Value
    lengths: Lengths | None
    initial: tuple[ir.Value, ...] | None

    @property
    def weights(self) -> tuple[DirectionWeights, ...]:
        """The weights of each direction."""
        return self.layer.layers[self.index]


Lowered: TypeAlias = tuple[ir.Value, tuple[ir.Value, ...]]
"""Output and final states, as at the top of this module."""


class Lowering(Protocol):
    """The one signature of all lowerings."""

    def __call__(self, graph: GraphBuilder, call: LayerCall) -> Lowered:
        """Add a call of a layer to `graph`; return its output and its final states."""
        ...
