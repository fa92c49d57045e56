"""The whole tree of errors, as the toolkit sees it.

    RnnEdgeError                            rnnedge_runtime.errors: parent of all
    ├── ModelError (ValueError)             the file is not a model that can be opened
    │   ├── ContractError                   its contract is damaged, or of a newer format
    │   └── PlanError                       a part of it is not supported by the native engine
    │       └── NoMatchError                a body is not a step of a known cell
    ├── InputError (ValueError)             an input of the wrong name, shape, dtype or value
    ├── StateError (ValueError)             a state does not fit, or the model has none
    ├── GoldenError (ValueError)            golden vectors cannot be read, or do not fit
    ├── OptionError (ValueError)            an option has an unknown name or a wrong value
    ├── DeviceError (RuntimeError)          the device cannot be read
    ├── StreamError (RuntimeError)          a stream or pool is closed, full or in use
    ├── EngineError (RuntimeError)          the engine failed while it ran the model
    │   ├── DiedError                       a process that scores rows ended while it worked
    │   └── CrashError                      the model ended the process that ran it
    │       └── TimeLimitError              the model was ended at the time limit
    ├── WriteError (OSError)                a file must not or cannot be written there
    ├── MissingPackageError (ImportError)   an optional package is not installed
    ├── ExportError (ValueError)            rnnedge_exporters.errors: cannot be exported
    │   ├── LoopError                       a Python loop would be unrolled at the example's length
    │   │   └── MismatchError               its turns are not alike
    │   ├── MixingError                     a module moves or mixes the rows of the batch
    │   │   └── UnknownError                whether it does is not known
    │   ├── TrialError                      an input that the module or its file does not take
    │   └── WeightsError                    a weight cannot be read
    ├── SpecError (ValueError)              a specification has a wrong key, type or value
    ├── SourceError (ValueError)            a source cannot be read, or does not fit
    │   └── RefusedError                    PyTorch itself does not run the source on an input
    ├── ParityError (ValueError)            a model does not compute what its source computes
    │   └── CoverageError                   it does, but a proof did not see all of it
    ├── UnequalError (ValueError)           a model does not compute what it is compared with
    ├── PeerError (RuntimeError)            another engine does not run the network
    ├── UnhealthyError (ValueError)         the doctor found an error in a model
    └── RepairError (ValueError)            nothing in a model has to be, or can be, repaired
        └── NotMendedError                  one repair is not possible

    UserWarning
    └── WeightsWarning                      the weights hold NaN or infinity

Each leaf is also the built-in exception that a caller would expect to catch.
"""

from rnnedge_exporters.errors import CrashError as CrashError
from rnnedge_exporters.errors import ExportError as ExportError
from rnnedge_exporters.errors import LoopError as LoopError
from rnnedge_exporters.errors import MismatchError as MismatchError
from rnnedge_exporters.errors import MixingError as MixingError
from rnnedge_exporters.errors import TimeLimitError as TimeLimitError
from rnnedge_exporters.errors import TrialError as TrialError
from rnnedge_exporters.errors import UnknownError as UnknownError
from rnnedge_exporters.errors import WeightsError as WeightsError
from rnnedge_exporters.errors import WeightsWarning as WeightsWarning
from rnnedge_runtime.errors import ContractError as ContractError
from rnnedge_runtime.errors import DeviceError as DeviceError
from rnnedge_runtime.errors import DiedError as DiedError
from rnnedge_runtime.errors import EngineError as EngineError
from rnnedge_runtime.errors import GoldenError as GoldenError
from rnnedge_runtime.errors import InputError as InputError
from rnnedge_runtime.errors import MissingPackageError as MissingPackageError
from rnnedge_runtime.errors import ModelError as ModelError
from rnnedge_runtime.errors import NoMatchError as NoMatchError
from rnnedge_runtime.errors import OptionError as OptionError
from rnnedge_runtime.errors import PlanError as PlanError
from rnnedge_runtime.errors import RnnEdgeError as RnnEdgeError
from rnnedge_runtime.errors import StateError as StateError
from rnnedge_runtime.errors import StreamError as StreamError
from rnnedge_runtime.errors import WriteError as WriteError


class SpecError(RnnEdgeError, ValueError):
    """A specification has an unknown key, or a value of the wrong type or range."""


class SourceError(RnnEdgeError, ValueError):
    """A source (file, checkpoint or `package.module:name`) cannot be read, or does not fit."""


class RefusedError(SourceError):
    """PyTorch itself does not run the source on an input."""


class ParityError(RnnEdgeError, ValueError):
    """A model does not compute what its source computes."""

    exit_code = 3


class CoverageError(ParityError):
    """The cases of a proof are right, but have not seen all of a model."""


class UnequalError(RnnEdgeError, ValueError):
    """A model does not compute what it is compared with."""

    exit_code = 3


class PeerError(RnnEdgeError, RuntimeError):
    """Another engine does not run the network."""


class UnhealthyError(RnnEdgeError, ValueError):
    """The doctor found an error in a model."""

    exit_code = 3


class RepairError(RnnEdgeError, ValueError):
    """Nothing in a model can be repaired, or nothing has to be."""


class NotMendedError(RepairError):
    """One repair is not possible; the message says why."""
