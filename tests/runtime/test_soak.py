"""Twenty thousand steps: nothing grows, and nothing drifts. `benchmarks/soak.py` runs a million."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session

STEPS, STRETCH = 20_000, 2_000
MOST = 32 * 1024
"""Bytes of a stretch: one object of 32 bytes that is left at each step would be twice as much."""
STATM = Path("/proc/self/statm")

needs_statm = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")


def resident() -> int:
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(step: Callable[[int], object]) -> float:
    """Return the bytes by which the process grows in a stretch, the median after the first.

    What leaks does so in each; that an allocator asks for more once is nothing to the median.
    """
    sizes = []
    for t in range(STEPS):
        step(t)
        if (t + 1) % STRETCH == 0:
            sizes.append(resident())
    return float(np.median(np.diff(sizes)))


@needs_statm
@pytest.mark.parametrize("copy", [True, False], ids=["copy", "view"])
def test_a_stream_does_not_grow(copy):
    tiny = Tiny("lstm", hidden_size=16)
    stream = Session(tiny.content, threads=1).stream()
    frames = list(tiny.input(100, 1))
    assert grown(lambda t: stream.step(frames[t % 100], copy=copy)) < MOST


@needs_statm
def test_a_stream_of_ragged_chunks_does_not_grow():
    tiny = Tiny("gru")
    stream = Session(tiny.content, threads=1).stream()
    chunks = [tiny.input(1 + size, 1) for size in range(9)]
    turns = np.random.default_rng(0).integers(0, 9, STEPS).repeat(3)
    assert grown(lambda t: stream.step(chunks[turns[t]])) < MOST


@needs_statm
def test_a_pool_whose_streams_come_and_go_does_not_grow():
    session, random = Session(Tiny("gru").content, threads=1), np.random.default_rng(0)
    pool, rows = session.pool(capacity=32), random.standard_normal((32, 2)).astype(np.float32)
    streams = [pool.open() for _ in range(32)]

    def tick(t):
        if t % 7 == 0:
            pool.close(streams.pop(int(random.integers(len(streams)))))
            streams.append(pool.open())
        some = streams[t % 32 :]
        pool.step(dict(zip(some, rows, strict=False)))

    assert grown(tick) < MOST
    assert len(pool) == 32


@needs_statm
def test_a_queue_does_not_grow():
    with Session(Tiny("gru").content, threads=1).pool(max_delay_ms=0) as pool:
        streams, frame = [pool.open() for _ in range(4)], np.ones(2, np.float32)

        def tick(t):
            if t % 4 == 0:
                for future in [pool.submit(stream, frame) for stream in streams]:
                    future.result(30)

        assert grown(tick) < MOST


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_last_of_many_steps_are_still_right(cell):
    tiny = Tiny(cell)
    stream, x = Session(tiny.content, threads=1).stream(), tiny.input(STEPS, 1)
    given = np.stack([stream.step(frame) for frame in x])
    np.testing.assert_allclose(given[-1000:], tiny.expected(x)[0][-1000:], rtol=1e-5, atol=2e-6)
