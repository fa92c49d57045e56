"""What validates: the machine, and the versions on it."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def engine_version() -> str:
    """Return the version of ONNX Runtime without importing it: a child runs it."""
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return version("onnxruntime-gpu")


@cache
def machine() -> dict[str, str]:
    """Say what validates here; to look versions up takes as long as a short sweep."""
    packages = ("torch", "onnx", "numpy", "rnnedge")
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "onnxruntime": engine_version(),
    }
