"""What the runtime's tests share. They need numpy, onnxruntime and pytest, and nothing else."""

import errno
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rnnedge_runtime
from rnnedge_runtime.engine.library import onnxruntime

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import tiny_models`.
HELPERS = Path(__file__).parent / "helpers"
sys.path.append(str(HELPERS))

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def pytest_report_header() -> str:
    providers = ", ".join(onnxruntime.get_available_providers())
    return (
        f"rnnedge-runtime {rnnedge_runtime.__version__} in {rnnedge_runtime.__path__[0]}, "
        f"numpy {np.__version__}, onnxruntime {onnxruntime.__version__} ({providers}), "
        f"{platform.machine()}"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if HAS_CUDA:
        return
    here = Path(__file__).parent
    skip = pytest.mark.skip(reason="this onnxruntime has no CUDAExecutionProvider")
    for item in items:
        if item.get_closest_marker("cuda") and here in item.path.parents:
            item.add_marker(skip)


@pytest.fixture
def no_cuda() -> None:
    if HAS_CUDA:
        pytest.skip("this onnxruntime has a CUDAExecutionProvider")


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run this interpreter with the given arguments, in a folder of the test's own."""

    given = [path for path in [os.environ.get("PYTHONPATH")] if path]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HELPERS), *given])},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            pytest.skip("this machine is emulated, and starts no second Python")

    return run
