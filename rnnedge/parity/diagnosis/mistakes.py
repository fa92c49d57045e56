"""The mistakes that exporters, converters and hand-written code make, the commonest first.

Whoever answers what a mistake answers, to the last digits and in every case, has made it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge.parity.diagnosis import weight_mistakes as weights
from rnnedge.parity.diagnosis import wiring_mistakes as wiring
from rnnedge.parity.diagnosis.mistake import Mistake
from rnnedge_exporters.layers.weights import RecurrentLayer


def mistakes(layer: RecurrentLayer, *, lengths: bool, states: bool) -> Iterator[Mistake]:
    """Yield every mistake that can be made with a layer.

    Args:
        layer: The layer.
        lengths: Whether the model takes lengths.
        states: Whether it takes initial states.
    """
    yield from wiring.layouts(layer)
    yield from wiring.transposed_inside(layer)
    yield from wiring.resets(layer)
    yield from wiring.directions(layer)
    yield from weights.biases(layer)
    yield from wiring.states(layer, "final")
    if states:
        yield from wiring.states(layer, "initial")
    if lengths:
        yield from wiring.lengths(layer)
    yield from wiring.activations(layer)
    yield from weights.gate_orders(layer)
    yield from weights.other_weights(layer)
