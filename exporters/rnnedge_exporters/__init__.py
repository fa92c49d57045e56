"""From PyTorch to ONNX, written node by node.

Names load on first use, so that the errors can be imported without PyTorch, and a validation loads
nothing of what writes graphs.
"""

from typing import TYPE_CHECKING, Any

from rnnedge_exporters.errors import ExportError as ExportError
from rnnedge_exporters.errors import WeightsError as WeightsError
from rnnedge_exporters.errors import WeightsWarning as WeightsWarning

if TYPE_CHECKING:
    from rnnedge_exporters.exporter import HIGHEST_OPSET as HIGHEST_OPSET
    from rnnedge_exporters.exporter import LOWEST_OPSET as LOWEST_OPSET
    from rnnedge_exporters.exporter import ExportResult as ExportResult
    from rnnedge_exporters.exporter import export as export
    from rnnedge_exporters.layers.recurrent import Recurrent as Recurrent
    from rnnedge_exporters.layers.weights import is_bare_layer as is_bare_layer
    from rnnedge_exporters.lowerings import LOWERINGS as LOWERINGS
    from rnnedge_exporters.option_values import Target as Target

_LATER = {
    "HIGHEST_OPSET": "exporter",
    "LOWEST_OPSET": "exporter",
    "LOWERINGS": "lowerings",
    "ExportResult": "exporter",
    "Recurrent": "layers.recurrent",
    "Target": "option_values",
    "export": "exporter",
    "is_bare_layer": "layers.weights",
}
"""What loads on first use, and the module that has it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'rnnedge_exporters' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"rnnedge_exporters.{_LATER[name]}"), name)
