"""What happens to pools when their process ends, or is forked."""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class Ending(Protocol):
    """A pool, as far as the end of its process is concerned."""

    def end(self) -> None:
        """Shut down for ever."""

    def start_in_child(self) -> None:
        """Make this copy usable in a forked process."""


_pools: WeakSet[Ending] = WeakSet()
_registered: list[bool] = []


def end_with_the_process(pool: Ending) -> None:
    """Have a pool shut down before the interpreter ends, and made usable in forked processes.

    Args:
        pool: The pool, which this does not keep alive.
    """
    if not _registered:
        _registered.append(True)
        atexit.register(_end_all)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=_start_all_in_child)
    _pools.add(pool)


def _end_all() -> None:
    for pool in list(_pools):
        pool.end()


def _start_all_in_child() -> None:
    for pool in list(_pools):
        pool.start_in_child()
