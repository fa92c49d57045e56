"""A seeded random walk over a pool, next to separate streams that get the same."""

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StreamError

CELLS = {
    "lstm": Tiny("lstm"),
    "gru": Tiny("gru"),
    "gru-batch-first": Tiny("gru", batch_first=True),
    "lstm-lengths": Tiny("lstm", lengths=True),
}
CAPACITY, ACTIONS = 6, 400


class Walk:
    """A pool and, by the number of each stream, a `Stream` that must be as it is to the bit."""

    def __init__(self, tiny, seed):
        self.random, self.session = np.random.default_rng(seed), Session(tiny.content, threads=1)
        self.batch_first, self.hidden = tiny.batch_first, tiny.hidden_size
        self.pool, self.twins, self.closed = self.session.pool(capacity=CAPACITY), {}, []

    def act(self):
        actions = [self.open, self.close, self.reset, self.set_state, self.refused]
        picked = self.random.choice(len(actions) + 1, p=[0.15, 0.1, 0.05, 0.05, 0.15, 0.5])
        [*actions, self.step][picked]()

    def some(self):
        """Return any of the open streams, in any order."""
        streams = list(self.random.permutation(list(self.twins)))
        return [int(stream) for stream in streams if self.random.random() < 0.7]

    def one(self):
        return int(self.random.choice(list(self.twins))) if self.twins else None

    def frame(self):
        size = int(self.random.integers(0, 4))  # 0: without a time axis
        return self.random.standard_normal((size, 2) if size else 2).astype(np.float32)

    def state(self):
        return [
            self.random.standard_normal(array.shape).astype(np.float32)
            for array in self.session.zero_state(1)
        ]

    def open(self):
        state = self.state() if self.random.random() < 0.5 else None
        if len(self.twins) == CAPACITY:
            with pytest.raises(StreamError, match=r"^the pool is full with 6"):
                self.pool.open(state)
            return
        stream = self.pool.open(state)
        assert stream not in self.twins
        assert stream not in self.closed
        self.twins[stream] = self.session.stream()
        if state is not None:
            self.twins[stream].state = state

    def close(self):
        if (stream := self.one()) is not None:
            self.pool.close(stream)
            del self.twins[stream]
            self.closed.append(stream)

    def reset(self):
        if (stream := self.one()) is not None:
            self.pool.reset(stream)
            self.twins[stream].reset()

    def set_state(self):
        if (stream := self.one()) is not None:
            state = self.state()
            self.pool.set_state(stream, state)
            self.twins[stream].state = state

    def refused(self):
        """Step with a frame that is bad, or of a stream that is closed: nothing may change."""
        frames = {stream: self.frame() for stream in self.some()}
        if self.closed and self.random.random() < 0.5:
            frames[self.closed[-1]] = self.frame()
            with pytest.raises(StreamError, match="is not open in this pool"):
                self.pool.step(frames)
        elif frames:
            bad = next(iter(frames))
            frames[bad] = frames[bad] * np.float32(np.nan)
            with pytest.raises(InputError, match=f"^stream {bad}: input: expected finite"):
                self.pool.step(frames)

    def step(self):
        frames = {stream: self.frame() for stream in self.some()}
        for stream, answer in self.pool.step(frames).items():
            frame, axis = frames[stream], 0 if self.batch_first or frames[stream].ndim == 1 else 1
            expected = self.twins[stream].step(np.expand_dims(frame, axis))
            np.testing.assert_array_equal(answer, expected.squeeze(axis))

    def check(self):
        assert len(self.pool) == len(self.twins)
        for stream, twin in self.twins.items():
            for given, expected in zip(self.pool.state(stream), twin.state, strict=True):
                np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("tiny", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_a_pool_is_many_streams_of_their_own(tiny, seed):
    walk = Walk(tiny, seed)
    for _ in range(ACTIONS):
        walk.act()
        walk.check()
    assert len(walk.closed) > 10
