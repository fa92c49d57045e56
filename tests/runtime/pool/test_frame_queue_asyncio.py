"""`StreamPool.step_async`: hundreds of coroutines on one session."""

import asyncio

import numpy as np
import pytest
from queued_pool import LIMIT, LONG, alone, frames, pools, results, workers

from rnnedge_runtime import EngineError, InputError, StreamError


@pytest.fixture
def make():
    with pools() as made:
        yield made


def run(main):
    """Run a coroutine; it has failed when it is not done within the limit."""
    return asyncio.run(asyncio.wait_for(main, LIMIT))


async def inside(engine):
    """Wait in a separate thread until a call is inside the engine."""
    assert await asyncio.to_thread(engine.inside.wait, LIMIT)


async def client(pool, inputs):
    stream = pool.open()
    given = [await pool.step_async(stream, frame) for frame in inputs]
    pool.close(stream)
    return given


@pytest.mark.parametrize("max_waiting", [1, 3, 1024])
def test_hundreds_of_clients_are_answered_as_alone(make, max_waiting):
    pool, _ = make(max_delay_ms=0.2, max_waiting=max_waiting)
    inputs = [frames(8, seed) for seed in range(300)]

    async def main():
        return await asyncio.gather(*(client(pool, mine) for mine in inputs))

    for answers, mine in zip(run(main()), inputs, strict=True):
        np.testing.assert_array_equal(answers, alone(mine))


def test_clients_share_batches(make):
    pool, engine = make(max_delay_ms=LONG)
    streams = [pool.open() for _ in range(50)]

    async def main():
        for t in range(3):
            steps = (
                pool.step_async(s, frame) for s, frame in zip(streams, frames(50, t), strict=1)
            )
            await asyncio.gather(*steps)

    run(main())
    assert engine.batches == [50, 50, 50]


@pytest.mark.parametrize("max_waiting", [2, 1024])
def test_frames_of_a_stream_run_in_the_order_in_which_its_tasks_were_made(make, max_waiting):
    pool, _ = make(max_delay_ms=0.1, max_waiting=max_waiting)
    inputs = {pool.open(): frames(12, seed) for seed in range(25)}

    async def main():
        steps = [pool.step_async(s, mine[t]) for t in range(12) for s, mine in inputs.items()]
        return await asyncio.gather(*steps)

    answers = run(main())
    for i, mine in enumerate(inputs.values()):
        np.testing.assert_array_equal(answers[i :: len(inputs)], alone(mine))


def test_the_loop_goes_on_while_a_batch_runs(make):
    pool, engine = make(max_delay_ms=0)
    a, b = pool.open(), pool.open()

    async def main():
        engine.gate.clear()
        first = asyncio.ensure_future(pool.step_async(a, frames(1)[0]))
        await inside(engine)
        second = asyncio.ensure_future(pool.step_async(b, frames(1)[0]))
        for _ in range(3):
            await asyncio.sleep(0)
        assert engine.inside.is_set()
        engine.gate.set()
        return await asyncio.gather(first, second)

    np.testing.assert_array_equal(*run(main()))


def test_a_task_that_was_cancelled_while_it_waited_does_not_move_the_state(make):
    pool, engine = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(3)

    async def main():
        engine.gate.clear()
        tasks = [asyncio.ensure_future(pool.step_async(stream, inputs[0]))]
        await inside(engine)
        tasks += [asyncio.ensure_future(pool.step_async(stream, frame)) for frame in inputs[1:]]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, cancelled, third = run(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    np.testing.assert_array_equal([first, third], alone([inputs[0], inputs[2]]))


def test_a_step_that_times_out_does_not_move_the_state(make):
    pool, _ = make(max_delay_ms=LONG)
    stream, silent = pool.open(), pool.open()

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.step_async(stream, frames(1)[0]), 0.02)
        pool.close(silent)

    run(main())
    assert not np.any(pool.state(stream))


def test_tasks_that_wait_outside_are_cancelled_without_harm(make):
    pool, engine = make(max_delay_ms=0, max_waiting=1)
    stream, inputs = pool.open(), frames(41)

    async def main():
        engine.gate.clear()
        tasks = [asyncio.ensure_future(pool.step_async(stream, inputs[0]))]
        await inside(engine)
        tasks += [asyncio.ensure_future(pool.step_async(stream, frame)) for frame in inputs[1:]]
        await asyncio.sleep(0)
        for task in tasks[1::2]:
            task.cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        return await asyncio.gather(*tasks[::2])

    np.testing.assert_array_equal(run(main()), alone(inputs[::2]))


def test_a_bad_frame_reaches_its_client_alone(make):
    pool, _ = make(max_delay_ms=1)
    a, b = pool.open(), pool.open()
    frame = frames(1)[0]

    async def main():
        steps = pool.step_async(a, frame), pool.step_async(b, frame * np.float32(np.nan))
        return await asyncio.gather(*steps, return_exceptions=True)

    good, bad = run(main())
    np.testing.assert_array_equal(good, alone([frame])[0])
    assert isinstance(bad, InputError)
    assert str(bad).startswith(f"stream {b}: input: expected finite values, got nan")


def test_a_stream_that_is_closed_while_its_client_waits(make):
    pool, _ = make(max_delay_ms=LONG)
    stream, _silent = pool.open(), pool.open()

    async def main():
        task = asyncio.ensure_future(pool.step_async(stream, frames(1)[0]))
        await asyncio.sleep(0)
        pool.close(stream)
        await asyncio.to_thread(pool.shutdown)
        await task

    with pytest.raises(StreamError, match=f"^stream {stream}: was closed while its frame waited$"):
        run(main())


def test_an_engine_that_fails_is_awaited_and_the_next_step_is_answered(make):
    pool, engine = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(1)

    async def main():
        engine.failure = RuntimeError("no memory")
        with pytest.raises(EngineError, match=r"^ONNX Runtime failed: no memory$"):
            await pool.step_async(stream, inputs[0])
        engine.failure = None
        return await pool.step_async(stream, inputs[0])

    np.testing.assert_array_equal(run(main()), alone(inputs)[0])


def test_a_loop_that_ends_before_the_answer_does_not_harm_the_next(make):
    pool, engine = make(max_delay_ms=0)
    stream, inputs = pool.open(), frames(2)

    async def leave():
        engine.gate.clear()
        task = asyncio.ensure_future(pool.step_async(stream, inputs[0]))
        await inside(engine)
        task.cancel()

    run(leave())
    engine.gate.set()
    answer = run(pool.step_async(stream, inputs[1]))
    np.testing.assert_array_equal(answer, alone(inputs)[1])


def test_threads_and_coroutines_share_a_pool(make):
    pool, _ = make(max_delay_ms=0.2)
    inputs = [frames(10, seed) for seed in range(20)]
    stream = pool.open()

    async def main():
        tasks = [client(pool, mine) for mine in inputs[1:]]
        given = [pool.submit(stream, frame) for frame in inputs[0]]
        rest = await asyncio.gather(*tasks)
        return [await asyncio.to_thread(results, given), *rest]

    for answers, mine in zip(run(main()), inputs, strict=True):
        np.testing.assert_array_equal(answers, alone(mine))


def test_no_thread_is_left_after_shutdown(make):
    pool, _ = make()

    async def main():
        with pool:
            await client(pool, frames(3))

    run(main())
    assert workers() == []
