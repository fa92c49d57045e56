"""Take a PyTorch recurrent network to a device: build, export, prove, run.

The names are in `rnnedge/_api.py`. They load on first use, so that `import rnnedge`, and a command
that needs no PyTorch, do not wait the seconds that importing PyTorch takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rnnedge._api import *  # noqa: F403  # the one list of names, for type checkers


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return __dir__()
    if name.startswith("_"):
        raise AttributeError(f"module 'rnnedge' has no attribute {name!r}")
    try:
        return getattr(import_module("rnnedge._api"), name)
    except AttributeError:
        raise AttributeError(f"module 'rnnedge' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    api = vars(import_module("rnnedge._api"))
    return ["__version__", *(name for name in api if not name.startswith("_"))]
