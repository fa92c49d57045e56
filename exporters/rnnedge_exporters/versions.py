"""The operator sets that files are written in, and the packages that decide what they look like."""

from __future__ import annotations

from importlib.metadata import version

LOWEST_OPSET, HIGHEST_OPSET = 17, 23
"""The operator sets that the tests export and run."""


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what an exported file looks like."""
    return {name: version(name) for name in ("rnnedge", "torch", "onnx", "onnx-ir")}
