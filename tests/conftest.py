"""What all tests share when they run together."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import ONNX Runtime themselves

import pytest

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import pairwise`.
sys.path.append(str(Path(__file__).parent / "helpers"))

from forked import ForkServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--full`, and the option of `tests/exporters/modules/test_random_modules.py`."""
    parser.addoption(
        "--full",
        action="store_true",
        help="run the full matrices too (the tests marked `full`), as `make test-all` does",
    )
    parser.addoption(
        "--random-modules",
        type=int,
        metavar="N",
        help="examine the random modules 0 to N - 1 instead of the few that CI does",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests marked `full` unless they are asked for."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("full")]


def pytest_collection_finish() -> None:
    """Leave what is there now, thousands of tests among it, out of every later garbage collection.

    And collect more rarely: torch makes and keeps so many objects for each program it traces that
    a fifth of the time of an export went into looking through them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not survive a loss of power; to wait takes up to 15 ms a file."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _models_run_in_forks() -> Iterator[Callable[..., Any]]:
    """Have the children that run models start in milliseconds; what else starts them is yielded."""
    from rnnedge_exporters.sandbox import child_process

    servers = ("session_server", "onnx_runtime_server")
    forks = ForkServer([f"rnnedge_exporters.sandbox.{name}" for name in servers])
    start = child_process.start_python
    with pytest.MonkeyPatch.context() as patched:
        if hasattr(os, "fork"):
            patched.setattr(
                child_process,
                "start_python",
                lambda code, stderr: forks.start(["-c", code], stderr=stderr),
            )
        yield start
    forks.close()


@pytest.fixture(scope="module")
def new_interpreters(_models_run_in_forks: Callable[..., Any]) -> Iterator[None]:
    """Have them started as the product does."""
    from rnnedge_exporters.sandbox import child_process

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(child_process, "start_python", _models_run_in_forks)
        yield
