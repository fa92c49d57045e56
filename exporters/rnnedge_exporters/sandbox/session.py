"""`IsolatedSession`: what `rnnedge_runtime.Session` is, in the child process of a `Worker`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rnnedge_exporters.errors import CrashError
from rnnedge_exporters.sandbox.child_process import TIME_LIMIT as TIME_LIMIT
from rnnedge_exporters.sandbox.child_process import ChildOwner, ChildProcess, make_error
from rnnedge_runtime.contract import Contract, Interface
from rnnedge_runtime.errors import ModelError, RnnEdgeError
from rnnedge_runtime.loaded_model import RunResult


class Worker(ChildOwner):
    """A child process that opens and runs models; one that died is replaced at the next call.

    Args:
        time_limit: Seconds that one call may take, above 0. The start of the child does not count.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        """Start the child, which gets ready while the caller goes on."""
        self._limit = time_limit
        self._process = ChildProcess("session_server")
        self._process.start()

    def call(self, command: str, *arguments: Any) -> Any:
        """Have the child carry out a command.

        Raises:
            CrashError: When the child died.
            TimeLimitError: When it took longer than the limit.
            RnnEdgeError: What the child itself raised.
        """
        return self._process.call((command, arguments), self._limit)


class IsolatedSession:
    """What `rnnedge_runtime.Session` is, in the process of a `Worker`.

    Attributes:
        interface: The inputs, outputs, states and lengths of the model.
        contract: What the exporter promised, or None.
        device: The device in use, `cpu` or `cuda`.
    """

    interface: Interface
    contract: Contract | None
    device: str

    def __init__(self, worker: Worker, model: str | os.PathLike[str], **options: Any) -> None:
        """Open `model` with the options of `Session`.

        Raises:
            ModelError: When it cannot be opened, or ends the process when it is.
        """
        self._worker, self._arguments = worker, (os.path.abspath(model), options)
        self._model = os.fspath(model)
        try:
            answer = worker.call("open", *self._arguments)
        except CrashError as error:
            raise ModelError(f"{self._model} cannot be opened by ONNX Runtime: {error}") from error
        except RnnEdgeError as error:
            text = str(error).replace(self._arguments[0], self._model)
            raise make_error(type(error), text) from None
        self.interface, self.contract, self.device = answer

    def run(
        self,
        input: Mapping[str, NDArray[Any]],
        *,
        lengths: NDArray[Any] | None = None,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> RunResult:
        """Run whole sequences, as `Session.run` does.

        Raises:
            CrashError: When the model ended the process, or did not end.
            RnnEdgeError: What `Session.run` raises.
        """
        outputs = self._worker.call("run", *self._arguments, dict(input), lengths, state)
        return RunResult(outputs, tuple(outputs[p.output] for p in self.interface.states))

    def latency(
        self,
        input: Mapping[str, NDArray[Any]],
        *,
        lengths: NDArray[Any] | None,
        state: Mapping[str, NDArray[Any]] | None,
        seconds: float,
    ) -> float:
        """Return the median milliseconds of `run` inside the child."""
        milliseconds: float = self._worker.call(
            "latency", *self._arguments, dict(input), lengths, state, seconds
        )
        return milliseconds
