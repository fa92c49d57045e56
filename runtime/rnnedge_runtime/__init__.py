"""Run exported recurrent networks with ONNX Runtime, without PyTorch.

The modules that a session needs are loaded at once, the others on first use: a fresh process that
runs a model once, as on a phone or a serverless platform, starts faster.
"""

from typing import TYPE_CHECKING, Any

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
from rnnedge_runtime.errors import PlanError as PlanError
from rnnedge_runtime.errors import RnnEdgeError as RnnEdgeError
from rnnedge_runtime.errors import StateError as StateError
from rnnedge_runtime.errors import StreamError as StreamError
from rnnedge_runtime.errors import WriteError as WriteError
from rnnedge_runtime.loaded_model import RunResult as RunResult
from rnnedge_runtime.session import Session as Session
from rnnedge_runtime.version import __version__ as __version__

if TYPE_CHECKING:
    from rnnedge_runtime.decoding.decode import Decoded as Decoded
    from rnnedge_runtime.decoding.generate import Generated as Generated
    from rnnedge_runtime.decoding.search import Hypothesis as Hypothesis
    from rnnedge_runtime.engine.info import SessionInfo as SessionInfo
    from rnnedge_runtime.pool.pool import StreamPool as StreamPool
    from rnnedge_runtime.streaming.stream import Stream as Stream

_LATER = {
    "Decoded": "decoding.decode",
    "Generated": "decoding.generate",
    "Hypothesis": "decoding.search",
    "SessionInfo": "engine.info",
    "Stream": "streaming.stream",
    "StreamPool": "pool.pool",
}
"""What loads on first use, and the module that has it."""


def __getattr__(name: str) -> Any:
    if name == "__all__":
        here = __name__
        own = {n for n, v in globals().items() if getattr(v, "__module__", "").startswith(here)}
        return sorted({name for name in own if not name.startswith("_")} | set(_LATER))
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"rnnedge_runtime.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
