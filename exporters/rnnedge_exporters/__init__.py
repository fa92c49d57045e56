"""From PyTorch to ONNX, written node by node.

What writes graphs loads on first use: a validation needs none of it.
"""

from typing import TYPE_CHECKING, Any

from rnnedge_exporters.errors import ExportError as ExportError
from rnnedge_exporters.errors import WeightsError as WeightsError
from rnnedge_exporters.errors import WeightsWarning as WeightsWarning
from rnnedge_exporters.recurrent import Recurrent as Recurrent
from rnnedge_exporters.weights import is_bare_layer as is_bare_layer

if TYPE_CHECKING:
    from rnnedge_exporters.exporter import HIGHEST_OPSET as HIGHEST_OPSET
    from rnnedge_exporters.exporter import LOWEST_OPSET as LOWEST_OPSET
    from rnnedge_exporters.exporter import ExportResult as ExportResult
    from rnnedge_exporters.exporter import export as export
    from rnnedge_exporters.lowerings import LOWERINGS as LOWERINGS
    from rnnedge_exporters.lowerings import Target as Target

_LATER = ("HIGHEST_OPSET", "LOWEST_OPSET", "LOWERINGS", "ExportResult", "Target", "export")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'rnnedge_exporters' has no attribute {name!r}")
    from rnnedge_exporters import exporter

    return getattr(exporter, name)
