"""One session serves many threads, each with its own stream."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session, StreamError

THREADS, STEPS, ALL_STEPS = 8, 2_500, 10_000


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_eight_threads_answer_what_one_alone_does(cell, request):
    steps = ALL_STEPS if request.config.getoption("--full", default=False) else STEPS
    tiny = Tiny(cell, input_size=8, hidden_size=16)
    session = Session(tiny.content, threads=1)
    inputs = [tiny.input(steps, 1, seed) for seed in range(THREADS)]
    start = Barrier(THREADS)

    def streamed(x):
        stream = session.stream()
        return np.stack([stream.step(frame) for frame in x])

    def together(x):
        start.wait()
        return streamed(x)

    alone = [streamed(x) for x in inputs]
    with ThreadPoolExecutor(THREADS) as pool:
        crowd = list(pool.map(together, inputs))
    np.testing.assert_array_equal(crowd, alone)


def test_threads_that_fight_for_a_stream_are_answered_whole_or_refused():
    session = Session(Tiny("lstm").content, threads=1)
    stream, frame, start = session.stream(), np.ones((1, 2), np.float32), Barrier(4)

    def fight(_):
        start.wait()
        answered = refused = 0
        for _ in range(3000):
            try:
                stream.step(frame)
                answered += 1
            except StreamError:
                refused += 1
        return answered, refused

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            answered, refused = np.sum(list(pool.map(fight, range(4))), 0)
    finally:
        sys.setswitchinterval(interval)
    assert answered + refused == 12_000
    alone = session.stream()
    for _ in range(answered):
        alone.step(frame)
    np.testing.assert_array_equal(stream.state, alone.state)
