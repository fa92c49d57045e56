"""How a recurrent layer is written: its form, its types, and what the user's data decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from rnnedge_exporters.calibration.moments import Moments
from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.lowerings.operator_int8 import takes_parts
from rnnedge_exporters.onnx_model.int8_grid import COMPUTED_LIMIT, STORED_LIMIT, Grid
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.gptq import round_on_data


@dataclass(frozen=True, slots=True)
class Written:
    """How a recurrent layer is written.

    Attributes:
        source: The layer.
        layer: The layer with the weights that the data decided, which rounding leaves as they are.
        lowering: The form that it takes.
        reason: Why that one.
        storage: How its weights are written.
        gains: For each weight that the data decided, by the path of the parameter, the mean square
            error of its sums over that of rounding to the nearest.
    """

    source: RecurrentLayer
    layer: RecurrentLayer
    lowering: str
    reason: str
    storage: Storage
    gains: Mapping[str, float] = field(default_factory=dict)


class Choice(Protocol):
    """Decides how a layer is written, by the layer and whether it has lengths."""

    def __call__(self, layer: RecurrentLayer, *, lengths: bool) -> Written:
        """Return how `layer` is written."""
        ...


def write_layer(
    layer: RecurrentLayer, lowering: str, reason: str, storage: Storage, moments: Moments | None
) -> Written:
    """Round the weights of a layer by the data, where that is better than to the nearest.

    Args:
        layer: The layer, with its path.
        lowering: The form that it takes.
        reason: Why that one.
        storage: How its weights are written.
        moments: Of what the weights are multiplied with; None decides nothing.
    """
    gains: dict[str, float] = {}
    if moments is None:
        return Written(layer, layer, lowering, reason, storage)
    layers = [list(both) for both in layer.layers]
    for index, both in enumerate(layer.layers):
        for way, direction in enumerate(both):
            for weight, grid in int8_grids(layer, lowering, storage, index).items():
                name = f"{weight}_l{index}{'_reverse' if way else ''}"
                path = f"{layer.name}.{name}" if layer.name else name
                if path not in moments.of:
                    continue
                better = round_on_data(getattr(direction, weight), grid, moments.of[path])
                if better is not None:
                    layers[index][way] = replace(layers[index][way], **{weight: better[0]})
                    gains[path] = better[1]
    decided = replace(layer, layers=tuple(map(tuple, layers)))
    return Written(layer, decided, lowering, reason, storage, gains)


def int8_grids(
    layer: RecurrentLayer, lowering: str, storage: Storage, index: int
) -> dict[str, Grid]:
    """Return the integers of each weight of a direction that is written in int8.

    Args:
        layer: The layer.
        lowering: The form that the layer takes.
        storage: How its weights are written.
        index: Which of the stacked layers it is.
    """
    if not storage.startswith("int8"):
        return {}
    computed = lowering.endswith("_int8")
    state = Grid(COMPUTED_LIMIT if computed else STORED_LIMIT, blocks=lowering == "scan_nbits")
    seven = lowering == "operator_int8" and not takes_parts(layer, index)  # else all eight bits
    inputs = Grid(COMPUTED_LIMIT if seven else STORED_LIMIT)
    grids = {"weight_hh": state, "weight_hr": state}
    return grids | ({"weight_ih": inputs} if storage == "int8" else {})


def explain(reason: str, gains: Mapping[str, float]) -> str:
    """Add to a reason what the data decided, given the gains of `Written`."""
    if not gains:
        return reason
    said = ", ".join(f"{gain:.2f} in {name}" for name, gain in gains.items())
    return f"{reason}; rounded by the data, which leaves of the mean square error {said}"
