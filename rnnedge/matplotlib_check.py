"""Whether pictures can be drawn, asked before anything is measured or imported."""

from __future__ import annotations

from importlib.util import find_spec

from rnnedge_runtime.errors import MissingPackageError


def check_matplotlib(user: str) -> None:
    """Check that pictures can be drawn.

    Args:
        user: What needs them, as the caller would name it.

    Raises:
        MissingPackageError: When matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingPackageError(user, "matplotlib", 'pip install "rnnedge[report]"')
