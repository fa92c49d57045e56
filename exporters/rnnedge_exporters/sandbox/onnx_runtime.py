"""`Sandbox`: models as ONNX Runtime opens them, which may end their process, or never end."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from rnnedge_exporters.errors import CrashError, TimeLimitError
from rnnedge_exporters.sandbox.child_process import TIME_LIMIT as TIME_LIMIT
from rnnedge_exporters.sandbox.child_process import ChildOwner, ChildProcess
from rnnedge_exporters.sandbox.onnx_runtime_server import INTERFACE, NOT_OPEN, OPENED, Wanted
from rnnedge_exporters.sandbox.onnx_runtime_server import Arrays as Arrays
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.foreign.read_interface import Reading

_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:|"
    r"/onnxruntime_src/\S+:\d+ .*?\) "
)
"""What ONNX Runtime puts around what it has to say."""
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run gave: outputs, or what ONNX Runtime said, or how the process ended.

    Attributes:
        outputs: Outputs by name; empty when there are none.
        error: What ONNX Runtime said, or None.
        death: How the process ended (`SIGABRT`, `did not end within 60 s`), or None.
        endless: Whether it was ended at the time limit.
        untried: Whether it was not run, since an earlier run did not end.
    """

    outputs: Arrays = field(default_factory=dict)
    error: str | None = None
    death: str | None = None
    endless: bool = False
    untried: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ran."""
        return self.error is None and self.death is None

    @property
    def trouble(self) -> str:
        """What kept it from running, in one line."""
        if self.death is None:
            return self.error or ""
        return self.death if self.endless else f"ends the process: {self.death}"


class ModelBytes:
    """A model that is not in a file, which is sent to a child once."""

    def __init__(self, content: bytes) -> None:
        """Keep the model's bytes."""
        self.content = content
        self.number = next(_NUMBERS)


class Sandbox(ChildOwner):
    """A child process that runs models on the CPU, with one thread; it starts again after a death.

    Args:
        time_limit: Seconds that opening a model and running it once may take; above 0. The start of
            the child does not count.
        options: How models are opened; None is with ONNX Runtime's defaults.
        keep: How many models stay open.
        idle: Seconds without a run after which the child ends by itself; None for never.
    """

    def __init__(
        self,
        time_limit: float = TIME_LIMIT,
        *,
        options: EngineOptions | None = None,
        keep: int = 2,  # a file and its repaired copy are run in turn
        idle: float | None = None,
    ) -> None:
        """Start nothing yet."""
        self._limit, self._options, self._keep = time_limit, options, keep
        self._process = ChildProcess("onnx_runtime_server", idle=idle)
        self._endless: dict[Any, Answer] = {}

    @property
    def pid(self) -> int | None:
        """The process id of the child; None while there is none."""
        return self._process.pid

    def start(self) -> None:
        """Start the child unless it runs; it gets ready while the caller goes on."""
        self._process.start()

    def run(
        self,
        model: str | os.PathLike[str] | ModelBytes,
        feeds: Arrays | None,
        outputs: Sequence[str] | None = None,
    ) -> Answer:
        """Run a model once; what goes wrong is in the answer.

        One that once did not end in time is not tried again.

        Args:
            model: The `.onnx` file, or its bytes.
            feeds: Its inputs by name; None opens it only.
            outputs: The outputs that are wanted; None for all.

        Raises:
            MissingPackageError: When onnxruntime is not installed.
        """
        found = self._ask(model, OPENED if feeds is None else (outputs, feeds))
        return found if isinstance(found, Answer) else Answer(found or {})

    def interface(self, model: str | os.PathLike[str] | ModelBytes) -> Reading | Answer:
        """Return what a model says of itself, as the runtime reads it; or what went wrong.

        Args:
            model: The `.onnx` file, or its bytes.

        Raises:
            MissingPackageError: When onnxruntime is not installed.
        """
        found: Reading | Answer = self._ask(model, INTERFACE)
        return found

    def _ask(self, model: str | os.PathLike[str] | ModelBytes, wanted: Wanted) -> Any:
        """Return what is wanted of a model, or an answer that says what went wrong."""
        key, content = _named(model)
        if key in self._endless:
            return self._endless[key]
        try:
            reply = self._process.call((key, None, wanted), self._limit)
            if reply == NOT_OPEN:
                source = (content, self._options, self._keep)
                reply = self._process.call((key, source, wanted), self._limit)
        except TimeLimitError as error:
            answer = Answer(death=error.how, endless=True)
            self._endless[key] = replace(answer, untried=True)
            return answer
        except CrashError as error:
            return Answer(death=error.how)
        found, said = reply
        return found if said is None else Answer(error=_NOISE.sub("", said))


def _named(model: str | os.PathLike[str] | ModelBytes) -> tuple[Any, str | bytes]:
    """Return what tells a model from all others, and what the child opens it from."""
    if isinstance(model, ModelBytes):
        return model.number, model.content
    path = os.path.abspath(model)
    try:
        seen = os.stat(path)
    except OSError:  # ONNX Runtime says what is wrong with it
        return path, path
    return (path, seen.st_ino, seen.st_size, seen.st_mtime_ns), path
