"""`OtherRuntime`: a model in a runtime that is not ONNX Runtime's Python, in a child process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from shutil import which

from rnnedge_exporters.errors import CrashError
from rnnedge_exporters.sandbox.child_process import ChildOwner, ChildProcess
from rnnedge_exporters.sandbox.onnx_runtime import Answer, Arrays


@dataclass(frozen=True, slots=True)
class Installed:
    """A runtime that can be installed on this machine.

    Attributes:
        version: Returns its version, or None where it is not installed.
        install: The command that installs it.
    """

    version: Callable[[], str | None]
    install: str


def _package(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return version


def _with_converter(name: str, converter: str) -> Callable[[], str | None]:
    def version() -> str | None:
        """Return the version of a package that needs another to read ONNX."""
        return _package(name)() if _package(converter)() else None

    return version


def _npm(package: str, expression: str = "") -> Callable[[], str | None]:
    expression = expression or f"require('{package}/package.json').version"

    @cache
    def version() -> str | None:
        """Return the version of a Node package, which is looked for from the current folder up."""
        node = which("node")
        if node is None:
            return None
        code = f"process.stdout.write({expression})"
        try:
            done = subprocess.run(
                [node, "-e", code], capture_output=True, text=True, check=False, timeout=30
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 and done.stdout else None

    return version


RUNNABLE: Mapping[str, Installed] = {
    "openvino": Installed(_package("openvino"), "pip install openvino"),
    "tract": Installed(_package("tract"), "pip install tract"),
    "onnx.reference": Installed(_package("onnx"), "pip install onnx"),
    "mnn": Installed(_package("MNN"), "pip install MNN"),
    "ncnn": Installed(_with_converter("ncnn", "pnnx"), "pip install ncnn pnnx"),
    "onnxruntime-node": Installed(_npm("onnxruntime-node"), "npm install onnxruntime-node"),
    "onnxruntime-web": Installed(
        _npm("onnxruntime-web", "require('onnxruntime-web').env.versions.web"),
        "npm install onnxruntime-web",
    ),
    "rnnedge-wasm": Installed(_npm("rnnedge"), "npm install rnnedge"),
    "rnnedge-native": Installed(_package("rnnedge-native"), "pip install rnnedge-native"),
}
"""The runtimes that a model can be run in here, where they are installed."""


class OtherRuntime(ChildOwner):
    """Runs models in one other runtime, on the CPU.

    Args:
        name: The runtime, out of `RUNNABLE`.
        time_limit: Seconds that opening a model and running it once may take; above 0.
    """

    def __init__(self, name: str, time_limit: float) -> None:
        """Start nothing yet."""
        self._name, self._limit = name, time_limit
        self._process = ChildProcess("other_runtimes_server")

    def run(self, model: str | os.PathLike[str], feeds: Arrays) -> Answer:
        """Run a model once; what goes wrong is in the answer.

        Args:
            model: The `.onnx` file.
            feeds: Its inputs by name.
        """
        request = self._name, os.path.abspath(model), feeds, self._limit
        try:
            outputs, said = self._process.call(request, self._limit)
        except CrashError as error:
            return Answer(death=error.how)
        return Answer(error=said) if said is not None else Answer(outputs)
