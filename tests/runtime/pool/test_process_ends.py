"""Pools whose process ends, is forked, or has dropped them."""

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from queued_pool import GRU, LIMIT, wait_until, workers
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StateError, StreamError

FRAME = np.ones(2, np.float32)
EXITS, ALL_EXITS = 4, 50

AT_EXIT = """
import numpy as np
from tiny_models import Tiny
from rnnedge_runtime import Session

model = Tiny("lstm", hidden_size=128)
pool = Session(model.content, threads=1, engine="onnxruntime").pool(max_delay_ms=0)
streams = [pool.open() for _ in range(8)]
done = []
for _ in range(40):
    for stream in streams:
        pool.submit(stream, np.ones(2, np.float32)).add_done_callback(done.append)
"""

STEPPING_AT_EXIT = """
import threading
import numpy as np
from tiny_models import Tiny
from rnnedge_runtime import Session

pool = Session(Tiny("lstm", hidden_size=128).content, threads=1, engine="onnxruntime").pool()
stream, started = pool.open(), threading.Event()

def step_for_ever():
    while True:
        pool.step({stream: np.ones(2, np.float32)})
        started.set()

threading.Thread(target=step_for_ever, daemon=True).start()
started.wait()
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def exits(request) -> int:
    return ALL_EXITS if request.config.getoption("--full", default=False) else EXITS


def test_an_interpreter_that_ends_with_a_busy_pool_does_not_abort(python, request):
    for _ in range(exits(request)):
        run = python("-c", AT_EXIT)
        assert (run.returncode, run.stderr, run.stdout) == (0, "", "")


def test_all_frames_that_wait_at_the_end_are_run(python):
    code = f"import atexit\natexit.register(lambda: print(len(done)))\n{AT_EXIT}"
    assert python("-c", code).stdout == "320\n"


def test_a_thread_that_steps_a_pool_while_the_interpreter_ends_does_not_abort(python, request):
    for _ in range(exits(request)):
        run = python("-c", STEPPING_AT_EXIT)
        assert (run.returncode, run.stderr) == (0, "")


def in_child(call) -> str:
    """Return what a call in a forked child returns, as text, or how the child ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(call()).encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


@pytest.fixture
def pool():
    with Session(GRU.content, threads=1, engine="onnxruntime").pool(max_delay_ms=0) as made:
        yield made


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_queue_of_its_own(pool):
    stream = pool.open()
    first = pool.submit(stream, FRAME).result(LIMIT)  # the thread of the queue is not forked
    expected = Session(GRU.content, threads=1).stream()
    for _ in range(2):
        second = expected.step(FRAME[None])[0]
    said = in_child(lambda: np.abs(pool.submit(stream, FRAME).result(LIMIT) - second).max() < 1e-6)
    assert said == "True"
    assert not np.array_equal(first, second)
    assert in_child(lambda: pool.shutdown() or len(pool)) == "0"


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_that_was_forked_during_a_step_refuses_the_pool(pool):
    stream, inside, leave = pool.open(), threading.Event(), threading.Event()
    answer = pool._model._run

    def run(names, feeds):
        inside.set()
        assert leave.wait(LIMIT)
        return answer(names, feeds)

    pool._model._run = run
    stepping = threading.Thread(target=pool.step, args=({stream: FRAME},))
    stepping.start()
    try:
        assert inside.wait(LIMIT)
        said = in_child(pool.open)
        stepped = in_child(lambda: pool.step({stream: FRAME}))
    finally:
        leave.set()
        stepping.join()
    assert said.startswith("StreamError: the process was forked during a step of this pool")
    assert stepped == f"StreamError: stream {stream}: is not open in this pool"
    assert stream in pool


def test_a_spawned_child_opens_its_own(python, tmp_path):
    (tmp_path / "spawning.py").write_text(
        "import multiprocessing, sys\n"
        "import numpy as np\n"
        "from tiny_models import Tiny\n"
        "from rnnedge_runtime import Session\n"
        "def child(content):\n"
        "    pool = Session(content, threads=1).pool(max_delay_ms=0)\n"
        "    print(pool.submit(pool.open(), np.ones(2, np.float32)).result(30).shape, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(\n"
        "        target=child, args=(Tiny('gru').content,))\n"
        "    process.start(); process.join(); sys.exit(process.exitcode)\n"
    )
    run = python("spawning.py")
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "(3,)\n")


def test_pools_that_are_dropped_end_their_threads():
    session = Session(GRU.content, threads=1, engine="onnxruntime")
    for _ in range(20):
        pool = session.pool(max_delay_ms=0)
        pool.submit(pool.open(), FRAME).result(LIMIT)
        del pool
    wait_until(lambda: not workers())


def test_a_dropped_pool_still_runs_the_frames_that_wait():
    pool = Session(GRU.content, threads=1, engine="onnxruntime").pool(max_delay_ms=50)
    pool.open()
    given = pool.submit(pool.open(), FRAME)
    del pool
    assert given.result(LIMIT).shape == (3,)
    wait_until(lambda: not workers())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("mine")])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_a_callback_raises_does_not_end_the_queue(pool, error, monkeypatch):
    seen = []
    monkeypatch.setattr("rnnedge_runtime.pool.frame_queue.excepthook", lambda a: seen.append(a[1]))

    def raise_it(_):
        raise error

    a, b = pool.open(), pool.open()
    for _ in range(3):
        given = [pool.submit(a, FRAME), pool.submit(b, FRAME)]
        given[0].add_done_callback(raise_it)
        assert [future.result(LIMIT).shape for future in given] == [(3,)] * 2
    assert pool.submit(a, FRAME).result(LIMIT).shape == (3,)
    if not isinstance(error, Exception):  # `Future` logs those itself
        wait_until(lambda: seen)
        assert set(seen) == {error}


@pytest.mark.parametrize("delay", [1e300, np.float32(1e30), 10**300], ids=["1e300", "numpy", "int"])
def test_a_delay_that_no_clock_can_wait_is_waited(delay):
    with Session(GRU.content, threads=1).pool(max_delay_ms=delay) as pool:
        a, b = pool.open(), pool.open()
        first = pool.submit(a, FRAME)
        with pytest.raises(TimeoutError):
            first.result(0.05)
        second = pool.submit(b, FRAME)
        assert first.result(LIMIT).shape == second.result(LIMIT).shape == (3,)


@pytest.mark.parametrize("timeout", [np.nan, -1, "1", True], ids=str)
def test_a_wrong_timeout_is_refused(pool, timeout):
    with pytest.raises(InputError, match=r"^timeout: expected 0 or more, got"):
        pool.submit(pool.open(), FRAME, timeout=timeout)


@pytest.mark.parametrize("timeout", [1e300, np.inf, np.int64(5), 0.5], ids=str)
def test_a_long_timeout_is_taken(pool, timeout):
    assert pool.submit(pool.open(), FRAME, timeout=timeout).result(LIMIT).shape == (3,)


def test_a_pool_of_a_billion_streams_takes_no_memory_before_they_are_open():
    pool = Session(Tiny("gru", hidden_size=1).content, threads=1).pool(capacity=10**9)
    assert pool.step({pool.open(): FRAME})[0].shape == (1,)


def test_a_pool_that_does_not_fit_in_memory_is_refused():
    with pytest.raises(StateError, match=r"^h_0: zeros of float32\[1, 2199023255552, 3\] do not f"):
        Session(GRU.content, threads=1).pool(capacity=2**41)


def test_a_pool_is_neither_copied_nor_pickled(pool):
    for refuse in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(StreamError, match=r"^a pool cannot be copied or pickled: make another"):
            refuse(pool)
