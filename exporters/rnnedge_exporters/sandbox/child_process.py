"""A child process that answers requests, one at a time and within a time limit each."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from io import FileIO
from typing import IO, Any, NoReturn, TypeVar

from typing_extensions import Self

from rnnedge_exporters.errors import CrashError, TimeLimitError
from rnnedge_exporters.sandbox.serve import HEADER, READY
from rnnedge_runtime.errors import EngineError, RnnEdgeError

TIME_LIMIT = 60.0
"""Seconds that one request may take, and that the child may take to start."""
_CODE = (
    "import sys; sys.path[:] = filter(None, sys.path); "  # no queue.py of the user's own folder
    "from rnnedge_exporters.sandbox.{server} import main; main({idle!r})"
)
_LAST_WORDS = 4096
"""Bytes at the end of stderr that are looked at when the child has died."""
_LONGEST_WAIT = 1e6
"""Seconds: what `poll` takes ends at 24 days."""
_POLLS = hasattr(select, "poll")
"""Whether pipes can be waited for; Windows has a timer for each request, at ten times the cost."""
_READABLE, _WRITABLE = (select.POLLIN, select.POLLOUT) if _POLLS else (0, 0)
_T = TypeVar("_T")


class ChildProcess:
    """A child that starts at the first request, and again after each death.

    Threads may share it: requests wait for each other. A forked copy of this process never talks
    to the child, nor ends it, since it is the original's: its first request starts another.

    Args:
        server: The module of this package that answers: its `main` is called.
        idle: Seconds without a request after which the child ends by itself; None for never. The
            next request then starts another.
    """

    def __init__(self, server: str, *, idle: float | None = None) -> None:
        """Start nothing yet."""
        self._code = _CODE.format(server=server, idle=idle)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The process id of the child; None while there is none."""
        self._leave_to_the_original()
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start the child unless it runs; it gets ready while the caller goes on.

        Raises:
            EngineError: When the system does not start it.
        """
        self._leave_to_the_original()
        with self._lock:
            self._running()

    def call(self, request: Any, time_limit: float) -> Any:
        """Return what the child answers; its start does not count as time of the request.

        Args:
            request: Anything that can be pickled.
            time_limit: Seconds that the answer may take, above 0.

        Raises:
            CrashError: When the child died.
            TimeLimitError: When it took longer than the limit.
            RnnEdgeError: What the child itself raised.
        """
        data = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        self._leave_to_the_original()
        with self._lock:
            reply = self._exchange(data, time_limit)
            if reply is None:  # it ended by itself just before
                reply = self._exchange(data, time_limit)
        if reply is None:
            raise _crash("exit code 0")
        answer, error = pickle.loads(reply)
        if error is not None:
            raise make_error(*error)
        return answer

    def close(self) -> None:
        """End the child."""
        self._leave_to_the_original()
        child, stderr = self._child, self._stderr
        self._child = self._stderr = None
        if child is not None:
            child.kill()
            child.wait()
            _close(child, stderr)

    def _leave_to_the_original(self) -> None:
        """In a forked copy of the process that started the child, have none."""
        if self._owner == os.getpid():
            return
        child, stderr = self._child, self._stderr
        self._owner, self._lock = os.getpid(), threading.Lock()  # another thread may have held it
        self._child = self._stderr = None
        if child is not None:
            child.returncode = 0  # as far as this process goes: else `Popen` warns that it runs
            _close(child, stderr)

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the child, which is started where there is none."""
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        self._ready = False
        # Nothing is buffered: a forked copy of this process must not write what is left to write.
        self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed in close()
        try:
            self._child = start_python(self._code, self._stderr)
        except OSError as error:
            self._stderr.close()
            raise EngineError(f"no process to run the model in can be started: {error}") from error
        if _POLLS:
            assert self._child.stdin is not None
            os.set_blocking(self._child.stdin.fileno(), False)
        return self._child

    def _exchange(self, data: bytes, time_limit: float) -> bytearray | None:
        """Send a request and receive the reply; None when the child had ended by itself."""
        child = self._running()
        if not self._ready:  # the imports of the child are not the request's time
            self._within(child, max(time_limit, TIME_LIMIT), _wait)
            self._ready = True

        def talk(requests: FileIO, replies: FileIO, deadline: _Deadline) -> bytearray:
            _write(requests, HEADER.pack(len(data)), deadline)
            _write(requests, data, deadline)
            (size,) = HEADER.unpack(_read(replies, HEADER.size, deadline))
            return _read(replies, size, deadline)

        return self._within(child, time_limit, talk)

    def _within(
        self,
        child: subprocess.Popen[bytes],
        limit: float,
        talk: Callable[[FileIO, FileIO, _Deadline], _T],
    ) -> _T | None:
        """Talk with the child over its stdin and stdout, and end it when that takes too long."""
        assert isinstance(child.stdin, FileIO)
        assert isinstance(child.stdout, FileIO)
        deadline = _Deadline(child, limit)
        try:
            with deadline:
                return talk(child.stdin, child.stdout, deadline)
        except (EOFError, OSError, ValueError):  # ValueError: another thread has closed the pipes
            if deadline.wait_for_the_end() == 0 and self._ready and not deadline.passed:
                return None
            self._raise_death(child, limit if deadline.passed else None)
        except BaseException:  # such as Ctrl-C: the next request must not get the answer to this
            self.close()
            raise

    def _raise_death(self, child: subprocess.Popen[bytes], limit: float | None) -> NoReturn:
        """Say how the child ended; at the time limit unless `limit` is None."""
        code, words = child.wait(), _last_words(self._stderr)
        self.close()
        if limit is not None:
            how = f"did not end within {limit:g} s"
            raise TimeLimitError(f"it {how}", how=how)
        raise _crash(_signal(-code) if code < 0 else f"exit code {code}", words)


class ChildOwner:
    """What runs models in one child, which ends with its `with` block."""

    _process: ChildProcess

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End the child."""
        self.close()

    def close(self) -> None:
        """End the child; a later request starts another."""
        self._process.close()


def start_python(code: str, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start an interpreter that runs `code`, with unbuffered pipes to it and from it."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


class _Deadline:
    """Ends a child that has not answered in time."""

    def __init__(self, child: subprocess.Popen[bytes], limit: float) -> None:
        self.passed = False
        self._child, self._until = child, time.monotonic() + limit
        self._timer = None if _POLLS else threading.Timer(limit, self._end)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.start()

    def __exit__(self, *raised: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def wait(self, pipe: FileIO, event: int) -> None:
        """Wait until a pipe can be read or written.

        Raises:
            EOFError: At the time limit, when the child has been ended.
        """
        if self._timer is None:
            poll = select.poll()
            poll.register(pipe, event)
            seconds = min(max(0.0, self._until - time.monotonic()), _LONGEST_WAIT)
            if not poll.poll(seconds * 1000):
                self._end()
                raise EOFError

    def wait_for_the_end(self) -> int:
        """Return the exit code; a child that has closed its pipes may still run."""
        try:
            return self._child.wait(min(max(0.0, self._until - time.monotonic()), _LONGEST_WAIT))
        except subprocess.TimeoutExpired:
            self._end()
            return self._child.wait()

    def _end(self) -> None:
        self.passed = True
        self._child.kill()


def _crash(how: str, words: str = "") -> CrashError:
    return CrashError(f"it ended the process: {how}{f' ({words})' if words else ''}", how=how)


def make_error(kind: type[RnnEdgeError], text: str) -> RnnEdgeError:
    """Make an error that says `text`, whatever its class is made from."""
    return kind.__new__(kind, text)


def _write(pipe: FileIO, data: bytes, deadline: _Deadline) -> None:
    rest = memoryview(data)
    while rest:
        deadline.wait(pipe, _WRITABLE)
        rest = rest[pipe.write(rest) or 0 :]


def _read(pipe: FileIO, size: int, deadline: _Deadline) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        deadline.wait(pipe, _READABLE)
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


def _wait(_: FileIO, replies: FileIO, deadline: _Deadline) -> None:
    """Read up to the sign that the child is ready, past what else was printed before it."""
    said = b""
    while not said.endswith(READY):  # nothing follows it until something is asked
        deadline.wait(replies, _READABLE)
        part = replies.read(4096)
        if not part:
            raise EOFError
        said = (said + part)[-4096:]


def _last_words(stderr: IO[bytes] | None) -> str:
    """Return the last line on stderr, or nothing."""
    if stderr is None:
        return ""
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - _LAST_WORDS))
    lines = stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals, which have no names
        return f"signal {number}"


def _close(child: subprocess.Popen[bytes], stderr: IO[bytes] | None) -> None:
    for pipe in (child.stdin, child.stdout, stderr):
        if pipe is not None:
            pipe.close()
