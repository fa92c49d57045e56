"""Models that the parts measure, and processes that run them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rnnedge
import rnnedge_runtime


def exported(spec: rnnedge.RNNSpec, *, states: bool = True) -> bytes:
    """Return a layer as an ONNX file for the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(rnnedge.build(spec, seed=0), path, states=states)
        return path.read_bytes()


class Fresh:
    """Starts Python processes that have this runtime, as an installed one is: with bytecode."""

    def __init__(self, folder: Path) -> None:
        """Keep bytecode under `folder`."""
        self.folder = folder
        self._env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self._env["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        self._env["PYTHONPATH"] = str(Path(rnnedge_runtime.__file__).parents[1])
        self._env["OMP_NUM_THREADS"] = "1"
        self._env.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for processes without this runtime

    def __call__(self, code: str, *arguments: object) -> list[int]:
        """Run `code`, and return the numbers that it prints."""
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
        )
        return list(map(int, done.stdout.split()))


@contextmanager
def fresh_processes() -> Iterator[Fresh]:
    """Give a `Fresh` whose folder goes away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Fresh(Path(folder))
