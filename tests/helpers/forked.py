"""Python processes that start in milliseconds: forks of one that has imported what they need.

A new interpreter takes 0.15 s to import numpy and ONNX Runtime and 5 s to import what an export
needs, and the tests start hundreds. A fork has all of it, and nothing else of its parent: the
server only imports and forks. `fork` is not on Windows.
"""

from __future__ import annotations

import atexit
import importlib
import io
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any, NoReturn

_NUMBER = struct.Struct("<q")
_LONGEST_REQUEST = 1 << 20


@dataclass(frozen=True)
class _Request:
    """What a fork is to run.

    Attributes:
        arguments: `-c CODE` or `SCRIPT`, and what follows it: the arguments of the interpreter.
        folder: The folder to run in.
        environment: Its environment variables.
        path: Its `sys.path`, but for the folder of a script.
    """

    arguments: list[str]
    folder: str
    environment: dict[str, str]
    path: list[str]


class ForkedProcess:
    """What `subprocess.Popen` is, as far as the callers here use it.

    Attributes:
        pid: The process id.
        returncode: The exit status, negative for a signal; None while it runs.
        stdin: What writes to it.
        stdout: What it writes.
    """

    def __init__(self, status: int, stdin: FileIO, stdout: FileIO) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.returncode: int | None = None
        self._status = FileIO(status, "rb")
        self.pid = _read_number(self._status)

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when it has ended."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            assert timeout is not None
            raise subprocess.TimeoutExpired("a forked process", timeout)
        if self.returncode is None:
            self._ended()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self) -> None:
        self.returncode = _read_number(self._status)
        self._status.close()


class ForkServer:
    """A process that imports modules once, and forks.

    Args:
        preload: The modules to import.
        warm_up: Code to run after them, for what is imported only when it is used.
        environment: Environment variables of the server; a fork has those of its request.
    """

    def __init__(self, preload: Sequence[str], warm_up: str = "", **environment: str) -> None:
        self._preload, self._warm_up, self._environment = preload, warm_up, environment
        self._channel: socket.socket | None = None

    def start(
        self,
        arguments: Sequence[str],
        *,
        stderr: IO[bytes] | int,
        environment: Mapping[str, str] = os.environ,
        folder: str | os.PathLike[str] = ".",
    ) -> ForkedProcess:
        """Fork a process that runs `python ARGUMENTS`, with pipes as its stdin and stdout."""
        channel = self._running()
        stdin_read, stdin_write = os.pipe()
        stdout_read, stdout_write = os.pipe()
        status_read, status_write = os.pipe()
        request = _Request(list(arguments), os.path.abspath(folder), dict(environment), sys.path)
        error = stderr if isinstance(stderr, int) else stderr.fileno()
        theirs = [stdin_read, stdout_write, error, status_write]
        socket.send_fds(channel, [pickle.dumps(request)], theirs)
        for handle in (stdin_read, stdout_write, status_write):
            os.close(handle)
        stdin, stdout = FileIO(stdin_write, "wb"), FileIO(stdout_read, "rb")
        return ForkedProcess(status_read, stdin, stdout)

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] = os.environ,
        folder: str | os.PathLike[str] = ".",
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` to its end, as `subprocess.run` does with `capture_output`."""
        error_read, error_write = os.pipe()
        process = self.start(arguments, stderr=error_write, environment=environment, folder=folder)
        os.close(error_write)
        process.stdin.close()
        stopped = threading.Timer(timeout, process.kill)
        stopped.start()
        said: list[bytes] = []
        with FileIO(error_read, "rb") as errors, process.stdout as output:
            reader = threading.Thread(target=lambda: said.append(errors.readall()))
            reader.start()
            written = output.readall()
            reader.join()
        code = process.wait()
        stopped.cancel()
        out, err = (data.decode() for data in (written, said[0]))
        return subprocess.CompletedProcess(list(arguments), code, out, err)

    def close(self) -> None:
        """End the server; what was forked goes on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self._server.wait(60)

    def _running(self) -> socket.socket:
        if self._channel is None:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            modules, handle = ",".join(self._preload), str(theirs.fileno())
            path = os.pathsep.join(path for path in sys.path if path)
            self._server = subprocess.Popen(
                [sys.executable, str(Path(__file__)), handle, modules, self._warm_up],
                pass_fds=[theirs.fileno()],
                env=os.environ | self._environment | {"PYTHONPATH": path},
            )
            theirs.close()
        return self._channel


def _serve(channel: socket.socket) -> None:
    """Fork for each request, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who keep the forks
    while True:
        data, handles, _, _ = socket.recv_fds(channel, _LONGEST_REQUEST, 4)
        if not data:
            return
        if os.fork() == 0:
            channel.close()
            _keep(pickle.loads(data), handles)
        for handle in handles:
            os.close(handle)


def _keep(request: _Request, handles: Sequence[int]) -> NoReturn:
    """Fork the process that runs the request, and report its id and its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, status = handles
    pid = os.fork()
    if pid == 0:
        os.close(status)
        for number, handle in enumerate(streams):
            os.dup2(handle, number)
            os.close(handle)
        _become(request)
    for handle in (*streams, 0, 1, 2):
        os.close(handle)
    os.write(status, _NUMBER.pack(pid))
    _, ended = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):  # nobody asks any more
        os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(ended)))
    os._exit(0)


def _become(request: _Request) -> NoReturn:
    """Run what the interpreter would run with these arguments, and end as it would."""
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    encoding = request.environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = io.TextIOWrapper(os.fdopen(0, "rb", closefd=False), encoding=encoding)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding=encoding)
    sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", closefd=False),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )
    sys.path[:] = request.path
    try:
        _run(request.arguments)
        code: Any = 0
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter waits at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


def _run(arguments: Sequence[str]) -> None:
    import runpy

    first, *rest = arguments
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
        runpy.run_path(first, run_name="__main__")


def _read_number(pipe: FileIO) -> int:
    data = pipe.read(_NUMBER.size)
    assert data, "the server of forks has ended: what it imports or warms up with has failed"
    (number,) = _NUMBER.unpack(data)
    return int(number)


if __name__ == "__main__":
    for _module in filter(None, sys.argv[2].split(",")):
        importlib.import_module(_module)
    exec(sys.argv[3], {"__name__": "warm_up"})
    _serve(socket.socket(fileno=int(sys.argv[1])))
