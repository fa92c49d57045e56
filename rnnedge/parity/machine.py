"""What validates: the machine, and the versions on it."""

from __future__ import annotations

from functools import cache

from rnnedge_runtime.machine import cpu_name, describe, package_versions, usable_cores

_ENGINES = ("onnxruntime", "onnxruntime-gpu")
"""The names that ONNX Runtime is installed by."""


def engine_version() -> str:
    """Return the version of ONNX Runtime without importing it: a child runs it."""
    return next(iter(package_versions(_ENGINES).values()), "")


@cache
def machine() -> dict[str, str]:
    """Return what validates here; to look versions up takes as long as a short sweep."""
    versions = package_versions(("torch", "onnx", "numpy", "rnnedge"))
    hardware = {"processor": cpu_name(), "cores": str(usable_cores())}
    return {**describe(), **hardware, **versions, "onnxruntime": engine_version()}
