"""How much memory the process takes while something is done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from onnx import TensorProto, helper

from rnnedge_runtime.errors import RnnEdgeError

T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the process, in bytes.

    Attributes:
        before: Before the work.
        peak: The most while it was done.
        after: After it, with what it returned.
    """

    before: int
    peak: int
    after: int

    @property
    def resident(self) -> int:
        """Bytes that stay after the work, above what was there before."""
        return max(self.after - self.before, 0)

    @property
    def added(self) -> int:
        """Bytes that the work took at its peak, above what was there before."""
        return max(self.peak - self.before, 0)


def import_engine() -> None:
    """Import ONNX Runtime and open a first model in it: that memory is not a model's own."""
    with suppress(RnnEdgeError):  # opening a model says what is missing
        from rnnedge_runtime.engine.inference_session import open_inference_session
        from rnnedge_runtime.engine.options import EngineOptions

        spec = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
        same = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [spec], [same])
        opsets = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, ir_version=8, opset_imports=opsets)
        open_inference_session(
            model.SerializeToString(), device="cpu", options=EngineOptions(threads=1)
        )


def with_memory(work: Callable[[], T]) -> tuple[T, Memory | None]:
    """Do `work`, and return what it gives with the memory that the process took meanwhile.

    On Linux the peak is that of the work alone; elsewhere, that of the process up to its end. None
    where the system tells none.
    """
    with suppress(OSError):  # the peak of what came before
        _RESET.write_text("5")
    before = _resident("VmRSS")
    done = work()
    peak, after = _resident("VmHWM"), _resident("VmRSS")
    if before is None or peak is None or after is None:
        return done, None
    return done, Memory(before, peak, after)


def _resident(field: str) -> int | None:
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
