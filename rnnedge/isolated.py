"""A session in a process of its own: a model that ends its process ends that one only.

ONNX Runtime's kernels can abort, and a graph can run for ever. Both happen in a child here, that
imports numpy and ONNX Runtime but not PyTorch, and come back as errors.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import IO, Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnedge.errors import CrashError, TimeLimitError
from rnnedge_runtime import EngineError, ModelError, RnnEdgeError, Session
from rnnedge_runtime.contract import Contract, Interface
from rnnedge_runtime.errors import engine_errors
from rnnedge_runtime.latency import measure
from rnnedge_runtime.loaded_model import RunResult

Arrays = dict[str, NDArray[Any]]
TIME_LIMIT = 60.0
"""Seconds that one call may take before the child is ended."""
_T = TypeVar("_T")
_READY = b"rnnedge.isolated is ready\n"
_CODE = (
    "import sys; sys.path[:] = filter(None, sys.path); "  # no queue.py of the user's own folder
    "from rnnedge.isolated import serve; serve()"
)


class Worker:
    """A child process that opens and runs models; one that died is replaced at the next call.

    Args:
        time_limit: Seconds that one call may take, above 0.
    """

    def __init__(self, time_limit: float = TIME_LIMIT) -> None:
        """Start the child, which gets ready while the caller goes on."""
        self._limit = time_limit
        self._child: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._ready = False
        self._start()

    def __enter__(self) -> Worker:
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

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                try:
                    assert pipe is not None
                    pipe.close()
                except OSError:  # what was still to be written to a child that is gone
                    pass
        if self._said is not None:
            self._said.close()
            self._said = None

    def call(self, command: str, *arguments: Any) -> Any:
        """Have the child carry out a command.

        Raises:
            CrashError: When the child died.
            TimeLimitError: When it took longer than the limit.
            RnnEdgeError: What the child itself raised.
        """
        if self._child is None or self._child.poll() is not None:
            self._start()
        if not self._ready:  # the imports of the child are not the model's time
            self._within(max(self._limit, TIME_LIMIT), _wait)
            self._ready = True
        answer, error = self._within(self._limit, partial(_exchange, (command, arguments)))
        if error is not None:
            raise _error(*error)
        return answer

    def _within(self, limit: float, talk: Callable[[IO[bytes], IO[bytes]], _T]) -> _T:
        """Talk with the child over its stdin and stdout, and end it when that takes too long."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(limit, end)
        timer.start()
        try:
            return talk(child.stdin, child.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._raise_death(limit if late.is_set() else None)
        finally:
            timer.cancel()

    def _start(self) -> None:
        self.close()
        self._ready = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def _raise_death(self, limit: float | None) -> NoReturn:
        """Say how the child ended; at the time limit unless `limit` is None."""
        assert self._child is not None
        assert self._said is not None
        code = self._child.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        self.close()
        if limit is not None:
            raise TimeLimitError(f"it did not end within {limit:g} s")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise CrashError(f"it ended the process: {how}{f' ({lines[-1][:200]})' if lines else ''}")


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
            raise _error(type(error), text) from None
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


def _wait(_: IO[bytes], answers: IO[bytes]) -> None:
    """Read up to the sign that the child is ready, past what else was printed before it."""
    for line in iter(answers.readline, b""):
        if line == _READY:
            return
    raise EOFError


def _exchange(call: Any, calls: IO[bytes], answers: IO[bytes]) -> Any:
    pickle.dump(call, calls)
    calls.flush()
    return pickle.load(answers)


def _error(kind: type[RnnEdgeError], text: str) -> RnnEdgeError:
    """Make an error that says `text`, whatever its class is made from."""
    return kind.__new__(kind, text)


def serve() -> None:
    """Carry out what comes on stdin until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what ONNX Runtime prints must not get between the answers
    with suppress(ImportError):  # the first command says what is missing
        from rnnedge_runtime.engine import library  # noqa: F401
    answers.write(b"\n" + _READY)
    answers.flush()
    sessions: dict[str, Session] = {}

    def opened(model: str, options: dict[str, Any]) -> Session:
        key = f"{model} {sorted(options.items())}"
        if key not in sessions:
            sessions[key] = Session(model, **options)
        return sessions[key]

    def carry_out(command: str, arguments: tuple[Any, ...]) -> Any:
        if command == "open":
            session = opened(*arguments)
            return session.interface, session.contract, session.device
        if command == "run":
            model, options, data, lengths, state = arguments
            return opened(model, options).run(data, lengths=lengths, state=state).outputs
        if command == "latency":
            model, options, data, lengths, state, seconds = arguments
            call = partial(opened(model, options).run, data, lengths=lengths, state=state)
            return measure({"run": call}, seconds=seconds)["run"].p50
        assert command == "probe"
        model, feeds = arguments
        return probe(model, feeds)

    while True:
        try:
            command, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: tuple[Any, Any] = (carry_out(command, arguments), None)
        except RnnEdgeError as error:
            answer = (None, (type(error), str(error)))
        except Exception as error:  # nobody reads a traceback here; the parent says it
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            answer = (None, (EngineError, said))
        pickle.dump(answer, answers)
        answers.flush()


def probe(model: bytes, feeds: Arrays) -> Arrays:
    """Run a model whose every tensor is an output, without the optimizer that would remove some.

    Args:
        model: The model.
        feeds: Its inputs by name.

    Raises:
        EngineError: When ONNX Runtime refuses it.
    """
    from rnnedge_runtime.engine.library import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with engine_errors("the inner tensors of the model cannot be had"):
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        values = session.run(None, feeds)
    return {
        output.name: value
        for output, value in zip(session.get_outputs(), values, strict=True)
        if isinstance(value, np.ndarray)
    }


if __name__ == "__main__":
    serve()
