"""Run exported recurrent networks with ONNX Runtime, without PyTorch."""

from rnnedge_runtime.contract import Contract as Contract
from rnnedge_runtime.contract import Interface as Interface
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
from rnnedge_runtime.info import SessionInfo as SessionInfo
from rnnedge_runtime.pool import StreamPool as StreamPool
from rnnedge_runtime.session import RunResult as RunResult
from rnnedge_runtime.session import Session as Session
from rnnedge_runtime.stream import Stream as Stream

__version__ = "0.1.0"
