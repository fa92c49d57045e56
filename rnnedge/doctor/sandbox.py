"""Running models that may kill their process, or never end: every run happens in a child."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from rnnedge_runtime.errors import MissingPackageError

Arrays = dict[str, NDArray[Any]]

TIME_LIMIT = 60.0
"""Seconds that opening a model and running it once may take."""

# By path, so that the child imports neither rnnedge nor what that imports.
_START = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
_CHILD = str(Path(__file__).with_name("child.py"))
_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:|"
    r"/onnxruntime_src/\S+:\d+ .*?\) "
)
"""What ONNX Runtime puts around what it has to say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run gave: outputs, or what ONNX Runtime said, or how the process ended.

    Attributes:
        outputs: Outputs by name; empty when there are none.
        error: What ONNX Runtime said, or None.
        death: How the process ended (`SIGABRT`, `did not end within 60 s`), or None.
        untried: Whether it was not run, since an earlier run did not end.
    """

    outputs: Arrays = field(default_factory=dict)
    error: str | None = None
    death: str | None = None
    untried: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ran."""
        return self.error is None and self.death is None

    @property
    def endless(self) -> bool:
        """Whether it was ended at the time limit."""
        return self.death is not None and self.death.startswith("did not end")

    @property
    def trouble(self) -> str:
        """What kept it from running, in one line."""
        if self.death is None:
            return self.error or ""
        return self.death if self.endless else f"ends the process: {self.death}"


class Sandbox:
    """A child process that runs models, which starts again after each death.

    Args:
        time_limit: Seconds that opening a model and running it once may take; above 0.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        """Start nothing yet."""
        self._limit = time_limit
        self._child: subprocess.Popen[bytes] | None = None
        self._endless: dict[str, Answer] = {}

    def __enter__(self) -> Sandbox:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child."""
        self.close()

    def run(self, path: Path, feeds: Arrays | None) -> Answer:
        """Run a model once; what goes wrong is in the answer.

        One that once did not end in time is not tried again.

        Args:
            path: The `.onnx` file.
            feeds: Its inputs by name; None opens it only.

        Raises:
            MissingPackageError: When onnxruntime is not installed.
        """
        absolute = os.path.abspath(path)
        if absolute in self._endless:
            return self._endless[absolute]
        child = self._started()
        assert child.stdin is not None
        try:
            pickle.dump((absolute, feeds), child.stdin)
            child.stdin.flush()
        except BrokenPipeError:
            pass  # it died between two runs; that is read next
        answer = self._receive(child)
        if answer.death:
            self.close()
        if answer.endless:
            self._endless[absolute] = replace(answer, untried=True)
        return answer

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            if find_spec("onnxruntime") is None:
                raise MissingPackageError(
                    "rnnedge doctor", "onnxruntime", 'pip install "rnnedge-runtime[cpu]"'
                )
            self._child = subprocess.Popen(
                [sys.executable, "-c", _START, _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONSAFEPATH": "1"},  # not what lies in the user's folder
            )
        return self._child

    def _receive(self, child: subprocess.Popen[bytes]) -> Answer:
        assert child.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self._limit, end)
        timer.start()
        try:
            outputs, error = pickle.load(child.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = child.wait()
            if late.is_set():
                return Answer(death=f"did not end within {self._limit:g} s")
            return Answer(death=signal.Signals(-code).name if code < 0 else f"exit code {code}")
        finally:
            timer.cancel()
        return Answer(outputs or {}, _NOISE.sub("", error) if error else None)
