"""`EnginePacker`: weights as the kernels of the engine take them."""

from __future__ import annotations

import numpy as np

from rnnedge_native import _engine
from rnnedge_runtime.plan.packing import IntegerWeights, LayerWeights
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

        gates = len(weights.weight_ih) // weights.hidden_size
        matrices: list[Array | _engine.IntegerMatrix | None] = [
            packed(weights.weight_ih),
            packed(weights.weight_hh),
            packed(weights.projection),
        ]
        bias_n = None
        if weights.bias_n is not None:
            bias_n = np.concatenate([np.zeros(2 * len(weights.bias_n)), weights.bias_n])
        integers = (
            (weights.integers_ih, weights.bias, gates),
            (weights.integers_hh, bias_n, gates),
            (weights.integers_projection, None, 1),
        )
        for index, (values, bias, count) in enumerate(integers):
            if values is not None:
                matrices[index] = self._integers(values, bias, count)
        input, recurrent, projection = matrices
        return _engine.Layer(
            weights.cell,
            weights.nonlinearity,
            weights.weight_ih.shape[1],
            weights.hidden_size,
            weights.state_size,
            input,
            recurrent,
            packed(weights.bias),
            packed(weights.bias_n),
            projection,
            self._instructions,
        )

    def matrix(self, weights: Array, bias: Array | None) -> _engine.Matrix:
        """Return a matrix in panels."""
        units, inputs = weights.shape
        packed_bias = None if bias is None else as_float32(bias)
        return _engine.Matrix(as_float32(weights), packed_bias, units, inputs, self._instructions)

    def integer_matrix(self, weights: IntegerWeights, bias: Array | None) -> _engine.IntegerMatrix:
        """Return a matrix of integers in panels."""
        return self._integers(weights, bias, 1)

    def _integers(
        self, weights: IntegerWeights, bias: Array | None, gates: int
    ) -> _engine.IntegerMatrix:
        rows, inputs = weights.values.shape
        return _engine.IntegerMatrix(
            np.ascontiguousarray(weights.values),
            as_float32(weights.scales),
            None if bias is None else as_float32(bias),
            rows // gates,
            inputs,
            gates,
            self._instructions,
        )
