"""A line that describes the machine that a benchmark ran on."""

import os
import platform

import torch

from rnnedge_runtime.engine.library import onnxruntime
from rnnedge_runtime.machine import cpu_name


def describe() -> str:
    """Return processor, cores and the versions that matter."""
    return (
        f"{cpu_name()}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, "
        f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}"
    )
