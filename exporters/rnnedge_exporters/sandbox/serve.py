"""The child's side of `child_process`: requests come on stdin, replies go where stdout was."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rnnedge_runtime.errors import EngineError, RnnEdgeError, one_line, pass_on_interruption

READY = b"\nrnnedge sandbox is ready\n"
HEADER = struct.Struct("<Q")
"""What comes before each request and reply: the bytes that it has."""
_LOOK = 2.0
"""Seconds between two looks at whether the child is still needed."""


class _Requests:
    """What comes on stdin, and how long nothing has come."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.since: float | None = None
        """When the wait for the next request began; None while one is answered."""

    def next(self) -> Any:
        """Return the next request.

        Raises:
            EOFError: When there are no more.
        """
        with self.lock:
            self.since = time.monotonic()
        header = sys.stdin.buffer.read(HEADER.size)
        with self.lock:
            self.since = None
        if len(header) < HEADER.size:
            raise EOFError
        return pickle.loads(sys.stdin.buffer.read(*HEADER.unpack(header)))


def serve(answer: Callable[[Any], Any], idle: float | None = None) -> None:
    """Answer requests until stdin ends.

    A reply is the pickled (answer, None), or (None, (class of the error, its text)).

    Args:
        answer: Answers one request.
        idle: Seconds without a request after which the process ends; None for never. It ends too
            when its parent has gone, whatever it is at.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what ONNX Runtime prints must not get between the replies
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal: the parent ends this one
    with suppress(ImportError):  # the first request says what is missing
        from rnnedge_runtime.engine import library  # noqa: F401
    requests = _Requests()
    threading.Thread(target=_watch, args=(requests, idle, os.getppid()), daemon=True).start()
    replies.write(READY)
    replies.flush()
    while True:
        try:
            request = requests.next()
        except EOFError:
            return
        try:
            reply: tuple[Any, Any] = (answer(request), None)
        except RnnEdgeError as error:
            reply = (None, (type(error), str(error)))
        except Exception as error:  # nobody reads a traceback here; the parent says it
            pass_on_interruption(error)
            said = f"{type(error).__name__}: {one_line(error)}"
            reply = (None, (EngineError, said))
        data = pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)
        replies.write(HEADER.pack(len(data)))
        replies.write(data)
        replies.flush()


def _watch(requests: _Requests, idle: float | None, parent: int) -> None:
    """End the process when nobody needs it any more."""
    while True:
        time.sleep(_LOOK if idle is None else min(_LOOK, idle))
        with requests.lock:
            waits = 0.0 if requests.since is None else time.monotonic() - requests.since
            if os.getppid() != parent or (idle is not None and waits > idle):
                os._exit(0)
