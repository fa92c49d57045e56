"""A seeded random walk over a stream, against `Session.run` with the state handed on here."""

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StateError, StreamError

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru-batch-first": Tiny("gru", batch_first=True),
    "lstm-lengths": Tiny("lstm", lengths=True),
}
BATCH, ACTIONS = 3, 400


class Walk:
    """A stream, and the state that it must have."""

    def __init__(self, tiny, seed, folder):
        self.tiny, self.random, self.file = tiny, np.random.default_rng(seed), folder / "state.npz"
        self.session = Session(tiny.content, threads=1)
        self.stream, self.state = self.session.stream(BATCH), self.session.zero_state(BATCH)
        self.out, self.saved, self.answered = np.empty((BATCH, 3), np.float32), None, 0

    def act(self):
        actions = [self.reset, self.reset_rows, self.set_state, self.save, self.load, self.replace]
        actions += [self.refused, self.step]
        chances = [0.03, 0.05, 0.05, 0.05, 0.05, 0.07, 0.1, 0.6]
        actions[self.random.choice(len(actions), p=chances)]()

    def check(self):
        for given, expected in zip(self.stream.state, self.state, strict=True):
            np.testing.assert_array_equal(given, expected)

    def chunk(self):
        """Return a chunk of 1 to 4 steps; often of one, as streams are used."""
        steps = max(1, int(self.random.integers(-4, 5)))
        return self.tiny.input(steps, BATCH, int(self.random.integers(1 << 30)))

    def step(self):
        chunk, axis = self.chunk(), 1 if self.tiny.batch_first else 0
        result = self.session.run(chunk, state=self.state)
        self.state, expected, keywords = result.state, result.output, {}
        if chunk.shape[axis] == 1 and self.random.random() < 0.8:
            chunk, expected = chunk.squeeze(axis), expected.squeeze(axis)
            keywords = {"out": self.out} if self.random.random() < 0.3 else {}
        if self.random.random() < 0.3:
            keywords["copy"] = False
        np.testing.assert_array_equal(self.stream.step(chunk, **keywords), expected)
        self.answered += 1

    def refused(self):
        chunk = self.chunk()
        if self.random.random() < 0.5:
            chunk.flat[self.random.integers(chunk.size)] = self.random.choice([np.nan, np.inf])
        else:
            chunk = chunk[:, :, :1]
        with pytest.raises(InputError, match=r"^input: expected (finite|float32\[)"):
            self.stream.step(chunk)

    def reset(self):
        self.stream.reset()
        self.state = self.session.zero_state(BATCH)

    def reset_rows(self):
        rows = np.flatnonzero(self.random.random(BATCH) < 0.5)
        self.stream.reset(rows=rows)
        self.state = tuple(array.copy() for array in self.state)
        for array in self.state:
            array[:, rows] = 0

    def set_state(self):
        self.state = self.tiny.state(BATCH, int(self.random.integers(1 << 30)))
        self.stream.state = self.state

    def save(self):
        self.stream.save(self.file)
        self.saved = self.state

    def load(self):
        if self.saved is None:
            with pytest.raises(StateError, match="the state cannot be read: No such file"):
                self.stream.load(self.file)
        else:
            self.stream.load(self.file)
            self.state = self.saved

    def replace(self):
        """Go on with a clone; the original is stepped to show that they are two, and closed."""
        original, self.stream = self.stream, self.stream.clone()
        original.step(self.chunk())
        original.close()
        with pytest.raises(StreamError, match="the stream is closed"):
            original.step(self.chunk())


@pytest.mark.parametrize("tiny", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_is_a_session_whose_state_is_handed_on(tiny, seed, tmp_path):
    walk = Walk(tiny, seed, tmp_path)
    for _ in range(ACTIONS):
        walk.act()
        walk.check()
    assert walk.answered > 100
