"""`StreamPool.submit`: frames wait a little for others, and run as one batch, in order."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from queued_pool import LIMIT, LONG, alone, frames, pools, results, wait_until

from rnnedge_runtime import StreamError


@pytest.fixture
def make():
    with pools() as made:
        yield made


def test_frames_of_a_stream_run_in_the_order_in_which_they_were_given(make):
    pool, _ = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(200)
    np.testing.assert_array_equal(
        results([pool.submit(stream, frame) for frame in inputs]), alone(inputs)
    )


def test_order_is_kept_under_load_from_many_threads(make):
    pool, _ = make(max_delay_ms=0.2, max_waiting=16)
    inputs = {pool.open(): frames(50, seed) for seed in range(32)}
    start = threading.Barrier(8)

    def send(mine):
        start.wait(LIMIT)
        given = {stream: [] for stream in mine}
        for t in range(50):
            for stream in mine:
                given[stream].append(pool.submit(stream, inputs[stream][t]))
        return {stream: results(futures) for stream, futures in given.items()}

    parts = [list(inputs)[i::8] for i in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for given in threads.map(send, parts):
            for stream, answers in given.items():
                np.testing.assert_array_equal(answers, alone(inputs[stream]))


def test_a_batch_runs_when_each_open_stream_has_a_frame_in_it(make):
    pool, engine = make(max_delay_ms=LONG)
    streams = [pool.open() for _ in range(10)]
    results([pool.submit(stream, frame) for stream, frame in zip(streams, frames(10), strict=True)])
    assert engine.batches == [10]


def test_a_stream_has_one_frame_in_a_batch(make):
    pool, engine = make(max_delay_ms=LONG)
    streams = [pool.open() for _ in range(3)]
    results([pool.submit(stream, frame) for stream in streams for frame in frames(4)])
    assert engine.batches == [3, 3, 3, 3]


def test_what_came_while_a_batch_ran_is_the_next_batch(make):
    pool, engine = make(max_delay_ms=0)
    streams = [pool.open() for _ in range(20)]
    engine.gate.clear()
    given = [pool.submit(streams[0], frames(1)[0])]
    assert engine.inside.wait(LIMIT)
    given += [pool.submit(stream, frames(1)[0]) for stream in streams[1:]]
    engine.gate.set()
    results(given)
    assert engine.batches == [1, 19]


def test_a_frame_waits_for_others_no_less_than_the_delay(make):
    pool, engine = make(max_delay_ms=80)
    streams = [pool.open() for _ in range(3)]
    start = time.monotonic()
    pool.submit(streams[0], frames(1)[0]).result(LIMIT)
    assert time.monotonic() - start >= 0.08
    assert engine.batches == [1]


def test_a_frame_is_copied_when_it_is_given(make):
    pool, engine = make()
    stream, inputs, buffer = pool.open(), frames(5), np.empty(2, np.float32)
    engine.gate.clear()
    given = []
    for frame in inputs:
        buffer[:] = frame
        given.append(pool.submit(stream, buffer))
    buffer[:] = np.nan
    engine.gate.set()
    np.testing.assert_array_equal(results(given), alone(inputs))


def full(make):
    """Return a pool whose queue of two is full behind a batch that stays in the engine."""
    pool, engine = make(max_delay_ms=0, max_waiting=2)
    stream, inputs = pool.open(), frames(4)
    engine.gate.clear()
    given = [pool.submit(stream, inputs[0])]
    assert engine.inside.wait(LIMIT)
    given += [pool.submit(stream, frame, timeout=0) for frame in inputs[1:3]]
    return pool, engine, stream, inputs, given


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_full_queue_refuses_a_frame_after_the_timeout(make, timeout):
    pool, _, stream, inputs, _ = full(make)
    start = time.monotonic()
    message = (
        rf"^stream {stream}: 2 frame\(s\) are waiting, and none finished in {timeout} s: "
        "submit them slower, or raise max_waiting$"
    )
    with pytest.raises(StreamError, match=message):
        pool.submit(stream, inputs[3], timeout=timeout)
    assert time.monotonic() - start >= timeout


def test_a_full_queue_does_not_wait_for_streams_that_could_not_get_in(make):
    pool, engine = make(max_delay_ms=LONG, max_waiting=4)
    stream, _silent, inputs = pool.open(), pool.open(), frames(4)
    given = [pool.submit(stream, frame) for frame in inputs]
    given[0].result(LIMIT)
    assert engine.batches == [1]
    pool.shutdown()
    np.testing.assert_array_equal(results(given), alone(inputs))


def test_a_frame_that_was_refused_does_not_move_the_state(make):
    pool, engine, stream, inputs, given = full(make)
    with pytest.raises(StreamError, match="are waiting"):
        pool.submit(stream, inputs[0], timeout=0)
    engine.gate.set()
    given.append(pool.submit(stream, inputs[3]))
    np.testing.assert_array_equal(results(given), alone(inputs))


def test_a_frame_waits_outside_until_there_is_room(make):
    pool, engine, stream, inputs, given = full(make)
    with ThreadPoolExecutor(1) as threads:
        last = threads.submit(pool.submit, stream, inputs[3])
        wait_until(lambda: pool._queue._outside)
        assert not last.done()
        engine.gate.set()
        given.append(last.result(LIMIT))
    np.testing.assert_array_equal(results(given), alone(inputs))


def test_who_asks_for_no_wait_does_not_wait_for_the_batch_that_runs(make):
    pool, engine = make(max_delay_ms=0)
    a, b = pool.open(), pool.open()
    engine.gate.clear()
    pool.submit(a, frames(1)[0])
    assert engine.inside.wait(LIMIT)
    waiting = pool.submit(b, frames(1)[0], timeout=0)
    assert engine.inside.is_set()
    engine.gate.set()
    waiting.result(LIMIT)


def test_a_frame_that_was_cancelled_does_not_move_the_state(make):
    pool, engine = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(3)
    engine.gate.clear()
    first = pool.submit(stream, inputs[0])
    assert engine.inside.wait(LIMIT)
    second, third = pool.submit(stream, inputs[1]), pool.submit(stream, inputs[2])
    assert second.cancel()
    engine.gate.set()
    np.testing.assert_array_equal(results([first, third]), alone([inputs[0], inputs[2]]))
    with pytest.raises(CancelledError):
        second.result(LIMIT)


def test_a_frame_that_runs_cannot_be_cancelled(make):
    pool, engine = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(2)
    engine.gate.clear()
    first = pool.submit(stream, inputs[0])
    assert engine.inside.wait(LIMIT)
    assert not first.cancel()
    engine.gate.set()
    np.testing.assert_array_equal(results([first, pool.submit(stream, inputs[1])]), alone(inputs))
