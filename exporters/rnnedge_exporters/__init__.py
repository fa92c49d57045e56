"""From PyTorch to ONNX, written node by node."""

from rnnedge_exporters.errors import ExportError as ExportError
from rnnedge_exporters.errors import WeightsError as WeightsError
from rnnedge_exporters.errors import WeightsWarning as WeightsWarning
from rnnedge_exporters.exporter import HIGHEST_OPSET as HIGHEST_OPSET
from rnnedge_exporters.exporter import LOWEST_OPSET as LOWEST_OPSET
from rnnedge_exporters.exporter import ExportResult as ExportResult
from rnnedge_exporters.exporter import export as export
from rnnedge_exporters.exporter import is_bare_layer as is_bare_layer
from rnnedge_exporters.lowerings import Target as Target
from rnnedge_exporters.recurrent import Recurrent as Recurrent
