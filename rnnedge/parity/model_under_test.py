"""The file that is compared, opened as often as the sweep needs it."""

from __future__ import annotations

import os
from typing import Any

from rnnedge_exporters.sandbox.session import IsolatedSession, Worker
from rnnedge_exporters.sandbox.session_server import open_for_comparison
from rnnedge_runtime import Session
from rnnedge_runtime.contract import Contract, Interface
from rnnedge_runtime.engine.options import EngineName


class OpenedModel:
    """A model file in one or more sessions.

    Args:
        path: The file.
        device: `cpu`, `cuda` or `auto`.
        worker: The process to open the file in, which stays the caller's; None is this one.
        engine: What runs it, `onnxruntime` or `native`.

    Attributes:
        path: The file.
        worker: The process it runs in, or None for this one.
        interface: What the file declares.
        contract: What rnnedge promised of it, or None.
        device: The device in use.
        engine: What runs it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str,
        worker: Worker | None,
        engine: EngineName = "onnxruntime",
    ) -> None:
        """Open the file with one thread.

        Raises:
            ModelError: When it cannot be opened.
        """
        self.path = os.fspath(path)
        self.worker = worker
        self._asked = device
        self.engine = engine
        self._states: dict[str, str] | None = None
        self._sessions: dict[int, Session | IsolatedSession] = {}
        session = self.session()
        self.interface: Interface = session.interface
        self.contract: Contract | None = session.contract
        self.device: str = session.device

    @property
    def calibrated(self) -> tuple[str, ...]:
        """The parameters that the file holds rounded up or down, by its contract."""
        return self.contract.calibrated if self.contract else ()

    def session(self, threads: int = 1) -> Session | IsolatedSession:
        """Return the file opened with so many threads; the native engine has one."""
        threads = 1 if self.engine == "native" else threads
        if threads not in self._sessions:
            options: Any = {
                "device": self._asked,
                "engine": self.engine,
                "threads": threads,
                "states": self._states,
            }
            self._sessions[threads] = (
                open_for_comparison(self.path, **options)
                if self.worker is None
                else IsolatedSession(self.worker, self.path, **options)
            )
        return self._sessions[threads]

    def pair_states(self, fitted: Interface) -> None:
        """Take the states of `fitted`, where the file has no contract that names them."""
        if self.contract is None and fitted.states != self.interface.states:
            self._states = {pair.output: pair.input for pair in fitted.states}
            self._sessions.clear()
