"""The whole tree of errors, as the toolkit sees it.

    RnnEdgeError                            rnnedge_runtime.errors: parent of all
    ├── ModelError (ValueError)             the file is not a model that can be opened
    │   └── ContractError                   its contract is damaged, or of a newer format
    ├── InputError (ValueError)             an input of the wrong name, shape, dtype or value
    ├── StateError (ValueError)             a state does not fit, or the model has none
    ├── GoldenError (ValueError)            golden vectors cannot be read, or do not fit
    ├── OptionError (ValueError)            an option that ONNX Runtime does not know
    ├── DeviceError (RuntimeError)          the device cannot be had
    ├── StreamError (RuntimeError)          a stream or pool is closed, full or in use
    ├── EngineError (RuntimeError)          ONNX Runtime failed while it ran
    ├── WriteError (OSError)                a file must not or cannot be written there
    ├── MissingPackageError (ImportError)   an optional package is not installed
    ├── ExportError (ValueError)            rnnedge_exporters.errors: cannot be exported
    │   └── WeightsError                    a weight cannot be read
    ├── RepairError (ValueError)            rnnedge.doctor: nothing has to be, or can be, repaired
    ├── SpecError (ValueError)              a specification has a wrong key, type or value
    └── SourceError (ValueError)            a source cannot be read, or does not fit

Each leaf is also the built-in exception that a caller would expect to catch.
"""

from rnnedge_exporters.errors import ExportError as ExportError
from rnnedge_exporters.errors import WeightsError as WeightsError
from rnnedge_exporters.errors import WeightsWarning as WeightsWarning
from rnnedge_runtime.errors import ContractError as ContractError
from rnnedge_runtime.errors import DeviceError as DeviceError
from rnnedge_runtime.errors import EngineError as EngineError
from rnnedge_runtime.errors import GoldenError as GoldenError
from rnnedge_runtime.errors import InputError as InputError
from rnnedge_runtime.errors import MissingPackageError as MissingPackageError
from rnnedge_runtime.errors import ModelError as ModelError
from rnnedge_runtime.errors import OptionError as OptionError
from rnnedge_runtime.errors import RnnEdgeError as RnnEdgeError
from rnnedge_runtime.errors import StateError as StateError
from rnnedge_runtime.errors import StreamError as StreamError
from rnnedge_runtime.errors import WriteError as WriteError


class SpecError(RnnEdgeError, ValueError):
    """A specification has an unknown key, or a value of the wrong type or range."""


class SourceError(RnnEdgeError, ValueError):
    """A source (file, checkpoint or `package.module:name`) cannot be read, or does not fit."""
