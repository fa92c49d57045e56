"""A child process: its deaths, its time limits, its end, and copies of the process that started it.

What it serves here are calls of functions of this file, by their names.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnedge_exporters.errors import CrashError, TimeLimitError
from rnnedge_exporters.sandbox import child_process
from rnnedge_exporters.sandbox.child_process import ChildProcess
from rnnedge_runtime.errors import EngineError, InputError

pytestmark = pytest.mark.usefixtures("new_interpreters")

SERVER = """
import os, signal, time
from rnnedge_exporters.sandbox.serve import serve
from rnnedge_runtime.errors import InputError

def refuse():
    raise InputError("expected something else")

def fail():
    raise KeyError("a fault of ours")

def main(idle=None):
    os.write(1, b"printed before it is ready")
    {before}
    serve(lambda request: eval(request), idle)
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
Start = Callable[..., ChildProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A function that makes a child which evaluates what it is sent."""
    made: list[ChildProcess] = []

    def run(before: str = "pass", idle: float | None = None) -> ChildProcess:
        folder = tmp_path / "stand_in" / "evaluating_server"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(SERVER.format(before=before), encoding="utf-8")
        monkeypatch.syspath_prepend(folder.parent)
        code = child_process._CODE.replace("rnnedge_exporters.sandbox.", "")
        monkeypatch.setattr(child_process, "_CODE", code)
        made.append(ChildProcess("evaluating_server", idle=idle))
        return made[-1]

    yield run
    for process in made:
        process.close()


def _gone(pid: int) -> bool:
    """Whether a process ends within a few seconds."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


# --- answers, errors and deaths -------------------------------------------------------------------


def test_one_child_answers_all_requests(start: Start) -> None:
    process = start()
    assert process.pid is None
    assert [process.call(f"{n} + 1", 60) for n in range(3)] == [1, 2, 3]
    assert process.call("os.getpid()", 60) == process.pid


def test_large_requests_and_answers(start: Start) -> None:
    text = "x" * 3_000_000  # above what a pipe holds
    assert start().call(f"{text!r} + 'y'", 60) == text + "y"


def test_errors_of_ours_come_back_as_they_are(start: Start) -> None:
    with pytest.raises(InputError, match=r"^expected something else$"):
        start().call("refuse()", 60)


def test_errors_of_others_come_back_in_words(start: Start) -> None:
    with pytest.raises(EngineError, match=r"^KeyError: 'a fault of ours'$"):
        start().call("fail()", 60)


@pytest.mark.parametrize(
    ("request_", "how"),
    [
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os._exit(7)", "exit code 7"),
        ("os._exit(0)", "exit code 0"),
    ],
)
def test_a_death_says_how(request_: str, how: str, start: Start) -> None:
    process = start()
    with pytest.raises(CrashError) as raised:
        process.call(request_, 60)
    assert raised.value.how == how
    assert str(raised.value) == f"it ended the process: {how}"
    assert process.call("1 + 1", 60) == 2


def test_last_words_are_told(start: Start) -> None:
    with pytest.raises(CrashError, match=r"^it ended the process: exit code 3 \(last words\)$"):
        start().call("os.write(2, b'first\\nlast words\\n') and os._exit(3)", 60)


def test_a_child_that_cannot_start_says_why(start: Start) -> None:
    with pytest.raises(CrashError, match=r"exit code 1 \(RuntimeError: no\)$"):
        start(before="raise RuntimeError('no')").call("1", 60)


def test_what_the_system_does_not_start_is_an_error_of_ours(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EngineError, match=r"^no process to run the model in can be started: "):
        start().call("1", 60)


# --- time limits ----------------------------------------------------------------------------------


def test_time_limit(start: Start) -> None:
    process = start()
    with pytest.raises(TimeLimitError) as raised:
        process.call("time.sleep(60)", 0.2)
    assert str(raised.value) == "it did not end within 0.2 s"
    assert raised.value.how == "did not end within 0.2 s"
    assert process.call("1 + 1", 60) == 2


def test_time_limit_where_pipes_cannot_be_polled(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "_POLLS", False)
    process = start()
    with pytest.raises(TimeLimitError, match=r"^it did not end within 0\.2 s$"):
        process.call("time.sleep(60)", 0.2)
    assert process.call(f"{'x' * 300_000!r}", 60) == "x" * 300_000


def test_time_limit_of_a_child_that_does_not_read(start: Start) -> None:
    """The request is more than a pipe holds, and nobody takes it."""
    process = start()
    process.call("os.close(0) or os.dup2(os.pipe()[0], 0)", 60)
    with pytest.raises(TimeLimitError):
        process.call("x" * 1_000_000, 0.2)


@pytest.mark.parametrize("limit", [1e-9, 1e12, float("inf")])
def test_any_time_limit_is_taken(limit: float, start: Start) -> None:
    process = start()
    if limit > 1:
        assert process.call("1 + 1", limit) == 2
    else:
        with pytest.raises(TimeLimitError):
            process.call("time.sleep(60)", limit)


def test_start_does_not_count(start: Start) -> None:
    assert start(before="time.sleep(1.5)").call("1 + 1", 1) == 2


def test_start_in_the_background(start: Start) -> None:
    process = start(before="time.sleep(1)")
    before = time.monotonic()
    process.start()
    assert time.monotonic() - before < 0.9
    pid = process.pid
    assert process.call("os.getpid()", 60) == pid


# --- the end of a child ---------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="looks for the process")
class TestEnd:
    def test_close(self, start: Start) -> None:
        process = start()
        pid = process.call("os.getpid()", 60)
        process.close()
        assert process.pid is None
        assert _gone(pid)

    def test_a_closed_child_starts_again(self, start: Start) -> None:
        process = start()
        process.call("1", 60)
        process.close()
        assert process.call("1 + 1", 60) == 2

    def test_without_requests(self, start: Start) -> None:
        process = start(idle=0.2)
        first = process.call("os.getpid()", 60)
        assert process._child is not None
        assert process._child.wait(10) == 0
        assert process.call("os.getpid()", 60) != first

    def test_a_long_request_is_not_idleness(self, start: Start) -> None:
        assert start(idle=0.1).call("time.sleep(1) or 7", 60) == 7

    def test_just_before_a_request(self, start: Start) -> None:
        """The child had ended by itself when the request came: another answers it."""
        process = start()
        request = (
            "os.path.exists(__import__('evaluating_server').__file__ + '.seen') or "
            "(open(__import__('evaluating_server').__file__ + '.seen', 'w'), os._exit(0))"
        )
        assert process.call(request, 60) is True

    def test_interrupt_ends_the_child(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """Or the next request would get the answer to the one that was given up."""
        process = start()
        first = process.call("os.getpid()", 60)
        read = child_process._read

        def interrupted(*arguments: Any) -> Any:
            monkeypatch.setattr(child_process, "_read", read)
            raise KeyboardInterrupt

        monkeypatch.setattr(child_process, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            process.call("'of the request that was given up'", 60)
        assert process.call("os.getpid()", 60) != first

    def test_ctrl_c_in_the_terminal_is_for_the_parent(self, start: Start) -> None:
        assert start().call("os.kill(os.getpid(), signal.SIGINT) or 'goes on'", 60) == "goes on"

    def test_of_the_parent(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        """A child that is busy for ever when its parent is killed ends too."""
        start()
        code = (
            "import sys\n"
            "from rnnedge_exporters.sandbox import child_process\n"
            f"child_process._CODE = {child_process._CODE!r}\n"
            "process = child_process.ChildProcess('evaluating_server')\n"
            "print(process.call('os.getpid()', 60), flush=True)\n"
            "process.call('time.sleep(600)', 600)\n"
        )
        path = os.pathsep.join(path for path in sys.path if path)
        with subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        ) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            parent.kill()
        assert _gone(pid)


# --- copies of this process, and threads ----------------------------------------------------------


def _in_a_fork(work: Callable[[], Any]) -> int:
    """Return the exit code of a forked copy of this process that does `work`: 0 when it is true."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_fork
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
class TestFork:
    def test_a_copy_has_a_child_of_its_own(self, start: Start) -> None:
        process = start()
        first = process.call("os.getpid()", 60)

        def work() -> bool:
            mine = process.call("os.getpid()", 60)
            process.close()
            return bool(mine != first)

        assert _in_a_fork(work) == 0
        assert process.call("os.getpid()", 60) == first

    def test_a_copy_does_not_end_the_child(self, start: Start) -> None:
        process = start()
        first = process.call("os.getpid()", 60)
        assert _in_a_fork(lambda: process.close() or process.pid is None) == 0
        assert process.call("os.getpid()", 60) == first

    def test_a_copy_does_not_wait_for_a_thread_that_it_does_not_have(self, start: Start) -> None:
        """The lock was held by a thread of the original when it was copied."""
        process = start()
        process.call("1", 60)
        thread = threading.Thread(target=process.call, args=("time.sleep(1)", 60))
        thread.start()
        while not process._lock.locked():
            time.sleep(0.01)

        def work() -> bool:
            signal.alarm(30)
            answer = process.call("1 + 1", 60)
            process.close()
            return bool(answer == 2)

        assert _in_a_fork(work) == 0
        thread.join()


def test_threads_share_a_child(start: Start) -> None:
    process = start()
    answers: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        answers[number] = [process.call(f"{number} * {n}", 60) for n in range(20)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [number * n for n in range(20)] for number in range(4)}
