"""The public names of `rnnedge`; this list is the only one."""

from rnnedge.builder import build as build
from rnnedge.errors import ContractError as ContractError
from rnnedge.errors import DeviceError as DeviceError
from rnnedge.errors import EngineError as EngineError
from rnnedge.errors import ExportError as ExportError
from rnnedge.errors import GoldenError as GoldenError
from rnnedge.errors import InputError as InputError
from rnnedge.errors import MissingPackageError as MissingPackageError
from rnnedge.errors import ModelError as ModelError
from rnnedge.errors import RnnEdgeError as RnnEdgeError
from rnnedge.errors import SourceError as SourceError
from rnnedge.errors import SpecError as SpecError
from rnnedge.errors import StateError as StateError
from rnnedge.errors import WeightsError as WeightsError
from rnnedge.errors import WeightsWarning as WeightsWarning
from rnnedge.parity import OutputReport as OutputReport
from rnnedge.parity import Report as Report
from rnnedge.parity import Tolerance as Tolerance
from rnnedge.parity import validate as validate
from rnnedge.sources import Source as Source
from rnnedge.sources import load_source as load_source
from rnnedge.spec import RNNSpec as RNNSpec
from rnnedge_exporters.exporter import ExportResult as ExportResult
from rnnedge_exporters.exporter import export as export
from rnnedge_exporters.quantization.report import LayerQuantization as LayerQuantization
from rnnedge_exporters.recurrent import Recurrent as Recurrent
