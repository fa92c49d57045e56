"""Opens a model in a child process first, for a command that shows what a stranger's file holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from rnnedge_runtime.engine.options import Device, EngineName
from rnnedge_runtime.errors import ModelError

TIME_LIMIT = 60.0
"""Seconds that opening a model may take."""
_OPEN = (
    "import sys; sys.path[:] = filter(None, sys.path); from rnnedge_runtime import Session; "
    "session = Session(sys.argv[1], device=sys.argv[2], engine=sys.argv[3], threads=1)"
)
_RUN = """
from rnnedge_runtime.latency import random_inputs
session.run(random_inputs(session, 1, 1))
"""


def check_that_it_opens(
    model: str | os.PathLike[str],
    *,
    device: Device = "cpu",
    engine: EngineName = "auto",
    time_limit: float = TIME_LIMIT,
    step: bool = False,
) -> None:
    """Open a model in a child process, which may end without an answer, or never.

    Args:
        model: The path of an `.onnx` file. What is wrong with it otherwise passes: whoever opens it
            next says that.
        device: As in `Session`.
        engine: As in `Session`.
        time_limit: Seconds that it may take, above 0.
        step: Whether it is run for one step too.

    Raises:
        ModelError: If that ends the process, or does not end in time.
    """
    path, doing = os.fspath(model), "opening it and running one step" if step else "opening it"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _OPEN + _RUN * step, path, device, engine],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: {doing} did not end within {time_limit:g} s") from None
    if done.returncode < 0:
        raise ModelError(f"{path}: {doing} ends the process: {_name(-done.returncode)}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals, which have no names
        return f"signal {number}"
