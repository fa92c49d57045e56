"""Small arithmetic on one thread, and the threads that were set before."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from rnnedge_exporters.threads import SMALL, largest_weight, one_thread, threads_for


def _threads_of_blas() -> set[int]:
    np.zeros((2, 2)) @ np.zeros((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Two threads everywhere, as a caller may have set."""
    before = torch.get_num_threads()
    with threadpool_limits(2):
        torch.set_num_threads(2)
        yield
    torch.set_num_threads(before)


def test_pytorch_and_blas_run_on_one_thread_inside() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        assert _threads_of_blas() <= {1}


def test_both_are_as_before_afterwards() -> None:
    with one_thread():
        with one_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    assert _threads_of_blas() <= {2}


def test_both_are_as_before_after_an_error() -> None:
    with pytest.raises(ValueError, match="of the caller"), one_thread():
        raise ValueError("of the caller")
    assert torch.get_num_threads() == 2


def test_threads_that_overlap_leave_the_limit_to_the_last() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_thread():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with one_thread():
        thread.start()
        assert inside.wait(10)
    assert torch.get_num_threads() == 2
    leave.set()
    thread.join()
    assert torch.get_num_threads() == 2
    assert _threads_of_blas() <= {2}


def test_large_matrices_keep_the_threads() -> None:
    with threads_for(SMALL):
        assert torch.get_num_threads() == 2
    with threads_for(SMALL - 1):
        assert torch.get_num_threads() == 1


def test_the_largest_weight_decides() -> None:
    assert largest_weight(nn.Linear(3, 5)) == 15
    assert largest_weight(nn.Tanh()) == 0
