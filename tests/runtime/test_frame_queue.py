"""Frames that wait for others: what an event loop pays, and who gets which answer."""

import asyncio
from threading import Event, Thread

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StreamError, StreamPool

GRU = Tiny("gru")
FRAMES = GRU.input(6, 1)[:, 0]


@pytest.fixture
def session():
    return Session(GRU.content, threads=1)


def expected(steps):
    return GRU.expected(FRAMES[:steps, None])[0][:, 0]


@pytest.fixture
def gate(session, monkeypatch):
    """Two events: a batch has begun, and it may end."""
    begun, may_end, run = Event(), Event(), session.run

    def gated(*arguments, **options):
        begun.set()
        assert may_end.wait(5), "the event loop was blocked while a batch ran"
        return run(*arguments, **options)

    monkeypatch.setattr(session, "run", gated)
    return begun, may_end


def test_an_event_loop_takes_frames_while_a_batch_runs(session, gate):
    begun, may_end = gate

    async def main():
        with session.pool() as pool:
            first, second = pool.open(), pool.open()
            running = asyncio.create_task(pool.step_async(first, FRAMES[0]))
            await asyncio.to_thread(begun.wait)
            waiting = asyncio.create_task(pool.step_async(second, FRAMES[0]))
            await asyncio.sleep(0.01)
            may_end.set()
            return await asyncio.gather(running, waiting)

    for answer in asyncio.run(main()):
        np.testing.assert_allclose(answer, expected(1)[0], rtol=1e-5, atol=2e-6)


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


def test_an_abandoned_frame_does_not_move_its_stream(session):
    async def main():
        with session.pool(max_delay_ms=50) as pool:
            stream, _ = pool.open(), pool.open()  # the other one keeps the batch waiting
            abandoned = asyncio.create_task(pool.step_async(stream, FRAMES[5]))
            await asyncio.sleep(0)
            abandoned.cancel()
            return [await pool.step_async(stream, frame) for frame in FRAMES[:2]]

    np.testing.assert_allclose(asyncio.run(main()), expected(2), rtol=1e-5, atol=2e-6)


def test_an_event_loop_that_is_gone_does_not_stop_the_others(session, gate):
    begun, may_end = gate

    async def leave(pool, stream):
        frame = asyncio.create_task(pool.step_async(stream, FRAMES[0]))
        await asyncio.to_thread(begun.wait)
        frame.cancel()

    with session.pool() as pool:
        asyncio.run(leave(pool, pool.open()))
        may_end.set()
        answer = pool.submit(pool.open(), FRAMES[0]).result(5)
    np.testing.assert_allclose(answer, expected(1)[0], rtol=1e-5, atol=2e-6)


def test_a_bad_frame_is_refused_for_its_giver_alone(session):
    async def main():
        with session.pool() as pool:
            good, bad = pool.open(), pool.open()
            wrong = np.full_like(FRAMES[0], np.nan)
            return await asyncio.gather(
                pool.step_async(good, FRAMES[0]),
                pool.step_async(bad, wrong),
                return_exceptions=True,
            )

    answer, error = asyncio.run(main())
    assert isinstance(error, InputError)
    assert error.streams == (1,)
    assert str(error).startswith("stream 1: input: expected finite numbers, got nan")
    np.testing.assert_allclose(answer, expected(1)[0], rtol=1e-5, atol=2e-6)


def test_a_full_queue_refuses_after_the_timeout(session, gate):
    begun, may_end = gate
    with session.pool(max_waiting=1) as pool:
        stream = pool.open()
        first = pool.submit(stream, FRAMES[0])
        assert begun.wait(5)
        second = pool.submit(stream, FRAMES[1])
        with pytest.raises(StreamError, match=r"1 frame\(s\) wait already, and none was done"):
            pool.submit(stream, FRAMES[5], timeout=0)
        may_end.set()
        third = pool.submit(stream, FRAMES[2], timeout=5)
        answers = [each.result(5) for each in (first, second, third)]
    np.testing.assert_allclose(answers, expected(3), rtol=1e-5, atol=2e-6)


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
        answers = [pool.submit(stream, FRAMES[0]).result for stream in streams]
        answers = [answer(5) for answer in answers]
        pool.closing.join(5)
        assert len(pool) == 2
    np.testing.assert_allclose(answers, np.tile(expected(1), (3, 1)), rtol=1e-5, atol=2e-6)
