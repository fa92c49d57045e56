"""A pool whose engine counts what it is given, and stops or fails where a test wants it to."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
from tiny_models import Tiny

from rnnedge_runtime import Session

GRU = Tiny("gru")
LIMIT = 30
"""Seconds after which a test that waits has failed; no test takes anything like it."""
LONG = 1e6
"""Milliseconds of delay: a batch of which a stream is missing never runs while a test looks."""


class GatedEngine:
    """Stands before the engine of a session.

    Attributes:
        batches: Rows of each call that was answered.
        gate: Cleared by a test that wants calls to stay inside.
        inside: Set while a call is.
        failure: Raised instead of an answer, where a test has set it.
    """

    def __init__(self, session):
        self.answer, self.batches = session._run, []
        self.gate, self.inside, self.failure = threading.Event(), threading.Event(), None
        self.gate.set()
        session._run = self.run

    def run(self, names, feeds):
        self.inside.set()
        try:
            assert self.gate.wait(LIMIT), "the test never opened the gate"
        finally:
            self.inside.clear()
        if self.failure is not None:
            raise self.failure
        self.batches.append(next(iter(feeds.values())).shape[1])
        return self.answer(names, feeds)


@contextmanager
def pools() -> Iterator[Callable]:
    """Give what makes pools and their engines, and shut them down at the end."""
    made = []

    def make(content=GRU.content, **limits):
        session = Session(content, threads=1, engine="onnxruntime")
        made.append((session.pool(**limits), GatedEngine(session)))
        return made[-1]

    yield make
    for pool, engine in made:
        engine.gate.set()
        pool.shutdown()
    assert not workers()


def frames(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return float32 [features] for each step."""
    random = np.random.default_rng(seed)
    return list(random.standard_normal((count, 2)).astype(np.float32))


def alone(inputs: Iterable[np.ndarray]) -> np.ndarray:
    """Return float32 [time, hidden]: what its own stream answers."""
    stream = Session(GRU.content, threads=1, engine="onnxruntime").stream()
    return np.stack([stream.step(frame[None])[0] for frame in inputs])


def results(futures: Iterable[Future]) -> list[np.ndarray]:
    return [future.result(LIMIT) for future in futures]


def workers() -> list[threading.Thread]:
    """Return the threads of queues."""
    return [thread for thread in threading.enumerate() if thread.name == "rnnedge pool"]


def wait_until(true: Callable[[], object]) -> None:
    """Look again and again until something is true."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.001)
