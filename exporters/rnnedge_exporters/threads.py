"""Small arithmetic on one thread.

A step of a small layer is a product of a few hundred numbers. Shared among threads it takes longer
than alone, and many times longer where other programs keep the cores busy: each product then waits
for the thread that was not scheduled.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from threadpoolctl import threadpool_limits
from torch import nn

SMALL = 2**20
"""Elements of a matrix below which a product with one row is faster on one thread."""


class _Limit:
    """What the first of the present users found.

    Some settings are of a thread and some of the process, by library and version. Each user takes
    its own back, and the last one what the first had found.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.torch = 0
        self.blas: threadpool_limits | None = None


class _Inside(threading.local):
    """Whether this thread is a user already: what runs inside it changes nothing."""

    here = False


_LIMIT = _Limit()
_INSIDE = _Inside()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch and the BLAS of numpy on one thread; what the caller had set comes back."""
    if _INSIDE.here:
        yield
        return
    with _LIMIT.lock:
        threads = torch.get_num_threads()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of libraries that others loaded
            blas = threadpool_limits(1, user_api="blas")
        if not _LIMIT.users:
            _LIMIT.torch, _LIMIT.blas = threads, blas
        _LIMIT.users += 1
        torch.set_num_threads(1)
    _INSIDE.here = True
    try:
        yield
    finally:
        _INSIDE.here = False
        with _LIMIT.lock:
            torch.set_num_threads(_LIMIT.torch)
            blas.restore_original_limits()
            _LIMIT.users -= 1
            if not _LIMIT.users and _LIMIT.blas is not None:
                _LIMIT.blas.restore_original_limits()


def threads_for(elements: int) -> AbstractContextManager[None]:
    """Run on one thread where the largest matrix has fewer than `SMALL` elements."""
    return one_thread() if elements < SMALL else nullcontext()


def largest_weight(module: nn.Module) -> int:
    """Return the elements of the largest parameter of a module; 0 for none."""
    return max((parameter.numel() for parameter in module.parameters()), default=0)
