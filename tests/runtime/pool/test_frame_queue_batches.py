"""What a batch of the queue does to an event loop, and to a stream that is closed meanwhile."""

import asyncio
from threading import Thread

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session, StreamError, StreamPool

GRU = Tiny("gru")
FRAMES = GRU.input(6, 1)[:, 0]


@pytest.fixture
def session():
    return Session(GRU.content, threads=1)


def expected(steps):
    return GRU.expected(FRAMES[:steps, None])[0][:, 0]


def test_a_batch_wakes_its_event_loop_once(session):
    async def main():
        loop, woken = asyncio.get_running_loop(), []
        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *call: (woken.append(call), wake(*call))[1]
        with session.pool(max_delay_ms=1e4) as pool:  # one batch, as all 50 have a frame in it
            streams = [pool.open() for _ in range(50)]
            answers = await asyncio.gather(*[pool.step_async(s, FRAMES[0]) for s in streams])
        return answers, len(woken)

    answers, woken = asyncio.run(main())
    assert woken == 1
    np.testing.assert_allclose(answers, np.tile(expected(1), (50, 1)), rtol=1e-5, atol=2e-6)


def test_a_stream_that_is_closed_meanwhile_does_not_harm_the_others(session):
    class Crowded(StreamPool):
        """Closes a stream in another thread, just after the queue saw that it is open."""

        closing = None

        def __contains__(self, stream):
            was_there = super().__contains__(stream)
            if self.closing is None:
                self.closing = Thread(target=self.close, args=[stream])
                self.closing.start()
                self.closing.join(0.1)
            return was_there

    with Crowded(session, max_delay_ms=1e4) as pool:
        streams = [pool.open() for _ in range(3)]
        closed, *others = [pool.submit(stream, FRAMES[0]) for stream in streams]
        answers = [other.result(5) for other in others]
        with pytest.raises(StreamError, match=r"^stream 0: was closed while its frame waited$"):
            closed.result(5)
        pool.closing.join(5)
        assert len(pool) == 2
    np.testing.assert_allclose(answers, np.tile(expected(1), (2, 1)), rtol=1e-5, atol=2e-6)
