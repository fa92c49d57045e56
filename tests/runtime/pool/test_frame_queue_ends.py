"""What ends a frame that waits: its stream is closed, the pool is shut down, the engine fails."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from queued_pool import GRU, LIMIT, LONG, alone, frames, pools, results, wait_until, workers

from rnnedge_runtime import EngineError, StreamError
from rnnedge_runtime.contract import TensorSpec


@pytest.fixture
def make():
    with pools() as made:
        yield made


def test_closing_a_stream_refuses_its_frames_that_wait(make):
    pool, engine = make(max_delay_ms=0)
    stream = pool.open()
    with pool._slots.lock:  # a batch may have been taken, but it cannot run
        waiting = [pool.submit(stream, frame) for frame in frames(3)]
        pool.close(stream)
    for future in waiting:
        with pytest.raises(StreamError, match=f"^stream {stream}: was closed while its frame wait"):
            future.result(LIMIT)
    assert engine.batches == []


def test_closing_a_stream_does_not_harm_others_of_its_batch(make):
    pool, engine = make(max_delay_ms=LONG)
    a, b, c = pool.open(), pool.open(), pool.open()
    inputs = frames(1)
    with pool._slots.lock:
        given = [pool.submit(stream, inputs[0]) for stream in (a, b, c)]
        wait_until(lambda: not pool._queue._frames)  # the batch is taken, and about to run
        pool.close(b)
    np.testing.assert_array_equal(results([given[0], given[2]]), [alone(inputs)[0]] * 2)
    with pytest.raises(StreamError, match="was closed while its frame waited"):
        given[1].result(LIMIT)
    assert engine.batches == [2]


def test_closing_the_one_that_the_others_wait_for_lets_them_run(make):
    pool, engine = make(max_delay_ms=LONG)
    a, b, silent = pool.open(), pool.open(), pool.open()
    given = [pool.submit(a, frames(1)[0]), pool.submit(b, frames(1)[0])]
    pool.close(silent)
    results(given)
    assert engine.batches == [2]


def test_who_has_the_place_of_a_closed_stream_is_not_given_its_frames(make):
    pool, _ = make(max_delay_ms=0, capacity=1)
    old = pool.open()
    with pool._slots.lock:
        waiting = pool.submit(old, frames(1)[0])
        pool.close(old)
        new = pool.open()
    with pytest.raises(StreamError, match=f"^stream {old}: was closed"):
        waiting.result(LIMIT)
    assert not np.any(pool.state(new))


def test_shutdown_answers_what_waits(make):
    pool, _ = make(max_delay_ms=LONG)
    stream, _silent, inputs = pool.open(), pool.open(), frames(20)
    given = [pool.submit(stream, frame) for frame in inputs]
    pool.shutdown()
    assert all(future.done() for future in given)
    np.testing.assert_array_equal(results(given), alone(inputs))


def test_shutdown_answers_what_waits_outside(make):
    pool, engine = make(max_delay_ms=LONG, max_waiting=1)
    stream, inputs = pool.open(), frames(5)
    engine.gate.clear()
    given = [pool.submit(stream, inputs[0])]
    assert engine.inside.wait(LIMIT)
    given.append(pool.submit(stream, inputs[1]))
    with ThreadPoolExecutor(4) as threads:
        for count, frame in enumerate(inputs[2:], 1):
            given.append(threads.submit(lambda f=frame: pool.submit(stream, f).result(LIMIT)))
            wait_until(lambda n=count: len(pool._queue._outside) == n)
        ending = threads.submit(pool.shutdown)
        engine.gate.set()
        ending.result(LIMIT)
    np.testing.assert_array_equal(results(given), alone(inputs))


def test_no_thread_is_left_after_shutdown(make):
    pool, _ = make()
    pool.submit(pool.open(), frames(1)[0]).result(LIMIT)
    assert len(workers()) == 1
    pool.shutdown()
    assert workers() == []


def test_a_pool_that_was_never_given_a_frame_to_wait_has_no_thread(make):
    pool, _ = make()
    pool.step({pool.open(): frames(1)[0]})
    assert workers() == []


def test_frames_that_race_with_shutdown_are_answered_or_refused(make):
    pool, _ = make(max_delay_ms=0.1, max_waiting=2)
    stream, start, refused = pool.open(), threading.Barrier(5), []

    def send(seed):
        start.wait(LIMIT)
        given = []
        try:
            for frame in frames(5000, seed):
                given.append(pool.submit(stream, frame))
        except StreamError as error:
            refused.append(str(error))
        return given

    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(send, seed) for seed in range(4)]
        start.wait(LIMIT)
        sent_before = pool.submit(stream, frames(1)[0])
        pool.shutdown()
        given = [future for each in sent for future in each.result(LIMIT)]
    assert np.isfinite(results([sent_before, *given])).all()
    assert len(refused) == 4
    assert all("shut down" in text or "not open" in text for text in refused)


def test_an_engine_that_fails_reaches_the_frames_of_that_batch_alone(make):
    pool, engine = make(max_delay_ms=LONG)
    a, b = pool.open(), pool.open()
    inputs = frames(3)
    before = results([pool.submit(a, inputs[0]), pool.submit(b, inputs[0])])
    states = pool.state(a)
    engine.failure = RuntimeError("the accelerator is gone")
    failed = [pool.submit(a, inputs[1]), pool.submit(b, inputs[1])]
    for future in failed:
        with pytest.raises(EngineError, match=r"^ONNX Runtime failed: the accelerator is gone$"):
            future.result(LIMIT)
    np.testing.assert_array_equal(pool.state(a), states)
    engine.failure = None
    after = results([pool.submit(a, inputs[2]), pool.submit(b, inputs[2])])
    expected = alone([inputs[0], inputs[2]])
    np.testing.assert_array_equal([before[0], after[0]], expected)
    np.testing.assert_array_equal([before[1], after[1]], expected)


def tokens():
    """Return a GRU over rows of a table of four, which fails for a token of 4 or more."""
    graph = GRU.graph()
    graph.inputs[0] = TensorSpec("tokens", "int64", ("time", "batch"))
    graph.constants["table"] = np.stack(frames(4))
    graph.nodes.insert(0, ("Gather", ["table", "tokens"], ["input"], {"axis": 0}))
    interface = replace(GRU.interface, inputs=tuple(graph.inputs))
    return graph.content(replace(GRU.contract, interface=interface))


def test_a_frame_that_only_the_model_refuses_does_not_harm_others_of_its_batch(make):
    pool, _ = make(tokens(), max_delay_ms=LONG)
    a, b, c = pool.open(), pool.open(), pool.open()
    expected = alone([frames(4)[3], frames(4)[1]])
    for token, answer in zip((3, 1), expected, strict=True):
        given = [pool.submit(a, token), pool.submit(b, 1000), pool.submit(c, np.int64(token))]
        np.testing.assert_array_equal(results([given[0], given[2]]), [answer] * 2)
        with pytest.raises(EngineError, match=r"Gather.*indices element out of data bounds"):
            given[1].result(LIMIT)
    assert not np.any(pool.state(b))


def test_an_answer_may_give_the_next_frame_though_the_queue_is_full(make):
    pool, engine = make(max_delay_ms=0, max_waiting=1)
    stream, inputs, chained = pool.open(), frames(3), []
    engine.gate.clear()
    first = pool.submit(stream, inputs[0])
    assert engine.inside.wait(LIMIT)
    first.add_done_callback(lambda _: chained.append(pool.submit(stream, inputs[2])))
    second = pool.submit(stream, inputs[1])
    engine.gate.set()
    second.result(LIMIT)
    wait_until(lambda: chained)
    np.testing.assert_array_equal(results([first, second, *chained]), alone(inputs))


def test_an_answer_may_shut_the_pool_down(make):
    pool, engine = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(3)
    engine.gate.clear()
    given = [pool.submit(stream, inputs[0])]
    assert engine.inside.wait(LIMIT)
    given[0].add_done_callback(lambda _: pool.shutdown())
    given += [pool.submit(stream, frame) for frame in inputs[1:]]
    engine.gate.set()
    np.testing.assert_array_equal(results(given), alone(inputs))
    wait_until(lambda: not workers())


def test_a_callback_that_raises_does_not_end_the_thread(make, caplog):
    pool, _ = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(2)
    first = pool.submit(stream, inputs[0])
    first.add_done_callback(lambda _: 1 / 0)
    np.testing.assert_array_equal(results([first, pool.submit(stream, inputs[1])]), alone(inputs))
