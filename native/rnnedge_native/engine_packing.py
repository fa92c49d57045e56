"""`EnginePacker`: weights as the kernels of the engine take them."""

from __future__ import annotations

from rnnedge_native import _engine
from rnnedge_runtime.plan.packing import LayerWeights
from rnnedge_runtime.plan.values import Array, as_float32


class EnginePacker:
    """Packs weights for one set of instructions."""

    def __init__(self, instructions: str) -> None:
        """Take the name of the set."""
        self._instructions = instructions

    def layer(self, weights: LayerWeights) -> _engine.Layer:
        """Return one direction of a layer in panels."""

        def packed(array: Array | None) -> Array | None:
            return None if array is None else as_float32(array)

        return _engine.Layer(
            weights.cell,
            weights.nonlinearity,
            weights.weight_ih.shape[1],
            weights.hidden_size,
            weights.state_size,
            packed(weights.weight_ih),
            packed(weights.weight_hh),
            packed(weights.bias),
            packed(weights.bias_n),
            packed(weights.projection),
            self._instructions,
        )

    def matrix(self, weights: Array, bias: Array | None) -> _engine.Matrix:
        """Return a matrix in panels."""
        units, inputs = weights.shape
        packed_bias = None if bias is None else as_float32(bias)
        return _engine.Matrix(as_float32(weights), packed_bias, units, inputs, self._instructions)
