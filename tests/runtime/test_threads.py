"""One session serves many threads, each with a stream of its own."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session

THREADS, STEPS = 8, 200


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_eight_threads_answer_what_one_alone_does(cell):
    tiny = Tiny(cell, input_size=8, hidden_size=16)
    session = Session(tiny.content, threads=1)
    inputs = [tiny.input(STEPS, 1, seed) for seed in range(THREADS)]
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
