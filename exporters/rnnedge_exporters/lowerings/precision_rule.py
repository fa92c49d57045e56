"""Layers that are too narrow for their input: 8 bits would make too large an error of it.

PyTorch's initial weights are as large as the root of the hidden size is small, and so is what
rounding does to each. A sum over many inputs adds up many such errors: over standard normal inputs
they grow with the root of the features that there are for each hidden one. What a state adds does
not grow, except in a relu RNN, whose states have no limit.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.option_values import Storage

HALF_ABOVE: dict[str, tuple[float, float]] = {
    "rnn": (1 / 3, 1.3e-2),
    "rnn in int8": (1 / 8, 1.9e-2),
    "gru": (1, 8.5e-3),
    "lstm": (1.5, 7e-3),
    "lstm with a projection": (8, 2.5e-3),
}
"""For each cell, the input features for each hidden one above which its input weights are written
in float16, and the error of 8 bits with one for each, which grows with the root. Largest errors of
200 steps of 4 rows of standard normal input, with PyTorch's initial weights and ten seeds, for 16
and 64 features, hidden sizes from 8 up, one and two layers, one and both directions: so written,
none is above 1e-2."""
ALL_HALF_ABOVE = 1.0
"""The same for all weights of a relu RNN, whose largest error is 1.7e-2 otherwise."""


def storage_in_int8(layer: RecurrentLayer, lowering: str) -> tuple[Storage, str]:
    """Return how a layer is written in int8, and why, where that is not in int8 alone.

    Args:
        layer: The layer.
        lowering: The form that it takes.
    """
    if lowering == "operator_int8":  # it takes its input in integers, too
        return "int8", ""
    cell: str = "lstm with a projection" if layer.proj_size else layer.cell
    cell += " in int8" if (cell, lowering) == ("rnn", "scan_int8") else ""
    most, error = HALF_ABOVE[cell]
    features = layer.input_size / max(layer.hidden_size, 1)
    if layer.cell == "rnn" and layer.bidirectional and len(layer.layers) > 1:
        # The next layer takes the states of both directions, which are as much as so many features.
        features = max(2 * features, 0.3)
    inputs = (np.abs(one.weight_ih).max(initial=0) for both in layer.layers for one in both)
    if features <= most or max(inputs) > np.finfo(np.float16).max:
        return "int8", ""
    reason = f"narrow: 8 bits would make an error of up to {error * sqrt(features):.0e}"
    whole = layer.nonlinearity == "relu" and features > ALL_HALF_ABOVE
    return "float16" if whole else "int8_float16", reason
