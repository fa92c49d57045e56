"""The child of a `Worker`: `rnnedge_runtime.Session`, with numpy and ONNX Runtime only.

A request is (command, arguments).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_exporters.sandbox.serve import serve
from rnnedge_runtime import Session
from rnnedge_runtime.contract import Contract, Interface
from rnnedge_runtime.engine.options import CPU
from rnnedge_runtime.errors import engine_errors
from rnnedge_runtime.latency import measure

Arrays: TypeAlias = dict[str, NDArray[Any]]
Options: TypeAlias = dict[str, Any]
_State: TypeAlias = tuple[int, int, int] | None


def open_for_comparison(model: str, **options: Any) -> Session:
    """Open a model that may be fed its own NaN: what becomes of it is compared."""
    session = Session(model, **options)
    session.binder.takes_nan = True
    return session


class SessionServer:
    """Keeps every model open that was asked for."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._sessions: dict[str, tuple[_State, Session]] = {}

    def answer(self, request: tuple[str, tuple[Any, ...]]) -> Any:
        """Carry out one command."""
        command, arguments = request
        commands: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "run": self._run,
            "latency": self._latency,
            "close": self._close,
            "probe": probe,
            "probe_all": probe_all,
        }
        return commands[command](*arguments)

    def _session(self, model: str, options: Options) -> Session:
        key, now = f"{model} {sorted(options.items())}", _state_of(model)
        before, session = self._sessions.get(key, (None, None))
        if session is None or now not in (before, None):  # another file has taken its place
            session = open_for_comparison(model, **options)
            self._sessions[key] = now, session
        return session

    def _open(self, model: str, options: Options) -> tuple[Interface, Contract | None, str]:
        session = self._session(model, options)
        return session.interface, session.contract, session.device

    def _run(self, model: str, options: Options, data: Arrays, lengths: Any, state: Any) -> Any:
        session = self._session(model, options)
        return session.run(data, lengths=lengths, state=state).outputs

    def _close(self, model: str) -> None:
        """Close a model that is not asked for again."""
        for key in [key for key in self._sessions if key.startswith(f"{model} ")]:
            del self._sessions[key]

    def _latency(
        self, model: str, options: Options, data: Arrays, lengths: Any, state: Any, seconds: float
    ) -> float:
        """Return the median milliseconds of a run."""
        call = partial(self._session(model, options).run, data, lengths=lengths, state=state)
        return measure(call, seconds=seconds).p50


def _state_of(model: str) -> _State:
    """Return what changes when a file is written anew; None where there is none."""
    try:
        found = os.stat(model)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def probe(model: bytes, feeds: Arrays) -> Arrays:
    """Run a model whose every tensor is an output, without the optimizer that would remove some.

    Args:
        model: The model.
        feeds: Its inputs by name.

    Raises:
        EngineError: When ONNX Runtime refuses it.
    """
    return probe_all(model, [feeds])[0]


def probe_all(model: bytes, feeds: Sequence[Arrays]) -> list[Arrays]:
    """Run a model several times, as `probe` does, and open it once.

    Args:
        model: The model.
        feeds: Its inputs by name, for each run.

    Raises:
        EngineError: When ONNX Runtime refuses it.
    """
    from rnnedge_runtime.engine.library import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with engine_errors("the inner tensors of the model cannot be read"):
        session = onnxruntime.InferenceSession(model, options, providers=[CPU])
        answers = [session.run(None, one) for one in feeds]
    names = [output.name for output in session.get_outputs()]
    return [
        {n: v for n, v in zip(names, values, strict=True) if isinstance(v, np.ndarray)}
        for values in answers
    ]


def main(idle: float | None = None) -> None:
    """Carry out commands until stdin ends."""
    serve(SessionServer().answer, idle)
