"""The inputs and outputs that a bare layer has as a model file."""

from __future__ import annotations

from collections.abc import Sequence

from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_runtime.contract import BATCH, TIME, Interface, StatePair, TensorSpec


def layer_interface(layer: RecurrentLayer, *, lengths: bool, states: bool) -> Interface:
    """Return the inputs and outputs of a bare layer, in the order that the model file promises."""
    rows = len(layer.layers) * layer.directions
    names = ("h", "c")[: len(layer.state_sizes)]
    outer = [BATCH, TIME] if layer.batch_first else [TIME, BATCH]
    width = layer.directions * layer.state_sizes[0]

    def state_specs(suffix: str) -> list[TensorSpec]:
        sizes: Sequence[int] = layer.state_sizes
        return [
            TensorSpec(f"{name}_{suffix}", "float32", (rows, BATCH, size))
            for name, size in zip(names, sizes, strict=True)
        ]

    inputs = [TensorSpec("input", "float32", (*outer, layer.input_size))]
    if lengths:
        inputs.append(TensorSpec("lengths", "int64", (BATCH,)))
    if states:
        inputs += state_specs("0")
    return Interface(
        inputs=tuple(inputs),
        outputs=(TensorSpec("output", "float32", (*outer, width)), *state_specs("n")),
        states=tuple(StatePair(f"{n}_0", f"{n}_n") for n in names) if states else (),
        lengths="lengths" if lengths else None,
    )
