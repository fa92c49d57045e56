"""A line that describes the machine that a benchmark ran on."""

import os
import platform
from pathlib import Path

import onnxruntime
import torch


def describe() -> str:
    """Return processor, cores and the versions that matter."""
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    processor = models[0] if models else platform.processor() or platform.machine()
    return (
        f"{processor}, {os.cpu_count()} cores, one thread; Python {platform.python_version()}, "
        f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}"
    )
