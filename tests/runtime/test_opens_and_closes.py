"""Sessions, streams and pools that open and close leave memory, threads and descriptors alone.

Some hundreds by default; with `--full`, a hundred thousand in all.
"""

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session

STATM, DESCRIPTORS = Path("/proc/self/statm"), Path("/proc/self/fd")
MOST = 512
"""Bytes for each open and close: what leaks keeps a buffer at least, or a thread."""
SLACK = 2 << 20
"""Bytes by which an allocator may grow once."""
FRAME = np.ones((1, 2), np.float32)

pytestmark = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")


def usage() -> tuple[int, int, int]:
    """Return resident bytes, threads and descriptors."""
    gc.collect()
    for thread in threading.enumerate():  # those of dropped pools end by themselves, soon
        if thread.name == "rnnedge pool":
            thread.join(30)
    pages = int(STATM.read_text().split()[1])
    return (
        pages * os.sysconf("SC_PAGE_SIZE"),
        threading.active_count(),
        len(os.listdir(DESCRIPTORS)),
    )


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(Tiny("gru").content, threads=1)


def open_session(_: Session) -> None:
    Session(Tiny("gru").content, threads=1, engine="onnxruntime").run(FRAME[None])


def open_stream(session: Session) -> None:
    with session.stream() as stream:
        stream.step(FRAME)


def open_pool(session: Session) -> None:
    with session.pool(capacity=4, max_delay_ms=0) as pool:
        pool.submit(pool.open(), FRAME[0]).result(30)


def drop_pool(session: Session) -> None:
    pool = session.pool(capacity=4, max_delay_ms=0)
    pool.submit(pool.open(), FRAME[0]).result(30)


CASES = {
    "session": (open_session, 60, 10_000),
    "stream": (open_stream, 300, 50_000),
    "pool": (open_pool, 150, 30_000),
    "dropped-pool": (drop_pool, 150, 10_000),
}


@pytest.mark.parametrize(("turn", "few", "many"), CASES.values(), ids=CASES)
def test_what_is_opened_and_closed_leaves_nothing(
    turn: Callable[[Session], None],
    few: int,
    many: int,
    session: Session,
    request: pytest.FixtureRequest,
) -> None:
    turns = many if request.config.getoption("--full", default=False) else few
    for _ in range(20):
        turn(session)
    memory, threads, descriptors = usage()
    for _ in range(turns):
        turn(session)
    after = usage()
    assert after[1:] == (threads, descriptors)
    assert after[0] - memory < turns * MOST + SLACK
