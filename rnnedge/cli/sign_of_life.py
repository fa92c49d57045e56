"""A line on stderr before a slow import, so that nobody waits in front of an empty screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import click

_SLOW = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "onnx": "ONNX"}
"""Packages that take long to import, each with its name."""


class _Announcer(MetaPathFinder):
    """Finds nothing; it sees what is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Print a line before the first import of a slow package, and look at no further one."""
        if fullname in _SLOW and self in sys.meta_path:
            sys.meta_path.remove(self)
            click.echo(f"rnnedge: loading {_SLOW[fullname]}", err=True)
        return None


@contextmanager
def sign_of_life() -> Iterator[None]:
    """Announce the first slow import inside the block, where stderr is a terminal.

    A pipe or a log gets nothing: what reads one sees errors and warnings alone.
    """
    if not sys.stderr.isatty():
        yield
        return
    announcer = _Announcer()
    sys.meta_path.insert(0, announcer)
    try:
        yield
    finally:
        if announcer in sys.meta_path:
            sys.meta_path.remove(announcer)
