"""`StreamPool.step`: each stream is answered as if it were alone."""

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru": Tiny("gru"),
    "gru-batch-first": Tiny("gru", batch_first=True),
    "lstm-lengths": Tiny("lstm", lengths=True),
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


def test_streams_in_random_order_are_answered_as_alone(tiny):
    rng, session = np.random.default_rng(0), Session(tiny.content, threads=1)
    pool = session.pool()
    streams = [pool.open() for _ in range(7)]
    inputs = rng.standard_normal((7, 30, 2)).astype(np.float32)
    given = [[] for _ in streams]
    while any(len(answers) < 30 for answers in given):
        picked = [s for s in rng.permutation(7) if rng.random() < 0.6 and len(given[s]) < 30]
        answers = pool.step({streams[s]: inputs[s, len(given[s])] for s in picked})
        for s in picked:
            given[s].append(answers[streams[s]])
    for s in range(7):
        x = inputs[s][None] if tiny.batch_first else inputs[s][:, None]
        expected = tiny.expected(x)[0]
        np.testing.assert_allclose(np.stack(given[s]), np.squeeze(expected), rtol=1e-5, atol=2e-6)
