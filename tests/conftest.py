"""What all tests share when they run together."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import ONNX Runtime themselves

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `tests/exporters/modules/test_random_modules.py`."""
    parser.addoption(
        "--random-modules",
        type=int,
        metavar="N",
        help="examine the random modules 0 to N - 1 instead of the few that CI does",
    )


def pytest_collection_finish() -> None:
    """Leave what is there now, 14,000 tests among it, out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a loss of power; to wait takes up to 15 ms a file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield
