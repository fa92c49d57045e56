"""The errors that rnnedge raises on purpose. All derive from `RnnEdgeError`.

    RnnEdgeError
    ├── ModelError (ValueError)            the file is not a model that can be opened
    │   ├── ContractError                  its contract is damaged, or of a newer format
    │   └── PlanError                      a part of it is not supported by the native engine
    │       └── NoMatchError               a body is not a step of a known cell
    ├── InputError (ValueError)            an input of the wrong name, shape, dtype or value
    ├── StateError (ValueError)            a state that does not fit, or a model without one
    ├── GoldenError (ValueError)           golden vectors that cannot be read, or do not fit
    ├── OptionError (ValueError)           an option with an unknown name or a wrong value
    ├── DeviceError (RuntimeError)         the requested device is not available
    ├── StreamError (RuntimeError)         a stream or pool that is closed, full or in use
    ├── EngineError (RuntimeError)         the engine failed while it ran the model
    │   └── DiedError                      a process that scores rows ended while it worked
    ├── WriteError (OSError)               a file that cannot or must not be written
    └── MissingPackageError (ImportError)  a required package is not installed

The exporter and the toolkit add their own leaves (`rnnedge.errors` draws the whole tree). Each
leaf is also the built-in exception that a caller would expect to catch.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from rnnedge_runtime.printable import printable_line


class RnnEdgeError(Exception):
    """Parent of every error that rnnedge raises on purpose.

    Attributes:
        exit_code: What the command line exits with when it ends on this error.
    """

    exit_code = 1

    def __str__(self) -> str:
        """Return the message as one printable line, whatever the names in it hold."""
        return printable_line(super().__str__())


class ModelError(RnnEdgeError, ValueError):
    """The file is missing, damaged, not ONNX, or not loadable by ONNX Runtime."""


class ContractError(ModelError):
    """The contract in the model's metadata cannot be read, or is of a newer format."""


class PlanError(ModelError):
    """The native engine does not know a part of the model, which ONNX Runtime may run.

    Attributes:
        node: The name or operator of the node, or None where it is not about one.
    """

    def __init__(self, message: str, node: str | None = None) -> None:
        """Take the message, and the node that it is about."""
        super().__init__(message)
        self.node = node


class NoMatchError(PlanError):
    """A body is not a step of a known cell: it may be something else that is known."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("a body is not a step of a known cell")


class InputError(RnnEdgeError, ValueError):
    """An input has the wrong name, shape, dtype or value.

    Attributes:
        streams: The streams of a pool whose frames were refused; empty elsewhere.
    """

    def __init__(self, *message: object, streams: tuple[int, ...] = ()) -> None:
        """Store the message, and the streams that it is about."""
        super().__init__(*message)
        self.streams = streams


class StateError(RnnEdgeError, ValueError):
    """A state does not fit the model, or the model has no state to keep."""


class GoldenError(RnnEdgeError, ValueError):
    """Golden vectors are missing, damaged or of a newer format, or do not fit the model."""


class OptionError(RnnEdgeError, ValueError):
    """An option has an unknown name, or a value of the wrong type or range."""


class DeviceError(RnnEdgeError, RuntimeError):
    """The requested device is not available on this machine."""


class StreamError(RnnEdgeError, RuntimeError):
    """A stream or a pool is closed, has no room, or is in use by another thread."""


class EngineError(RnnEdgeError, RuntimeError):
    """The engine failed while it ran the model."""


class DiedError(EngineError):
    """A process that scores rows of a corpus ended while it worked."""


class WriteError(RnnEdgeError, OSError):
    """A file or folder must not be written where it was named, or cannot be."""


class MissingPackageError(RnnEdgeError, ImportError):
    """A package that this call needs is not installed.

    Args:
        user: What needs the package, by the name that the caller knows.
        package: The import name of the missing package.
        command: The command that installs it.
    """

    def __init__(self, user: str, package: str, command: str) -> None:
        """Build the one-line message."""
        super().__init__(f"{user} needs {package}, which is not installed: {command}")


def one_line(error: BaseException) -> str:
    """Return the message of another library's exception on one line.

    If a kernel of ONNX Runtime failed, the message is shortened to its operator, its node and the
    reason: the error number, the source file and line, and the failed condition are left out.
    """
    message = " ".join(str(error).split()) or type(error).__name__
    failed = re.search(r"running (\w+) node\. Name:'(.*?)' Status Message: (.*)", message)
    if failed is None:
        return message
    reason = re.sub(r"^\S+:\d+ .*? was false\. ", "", failed[3])
    return f"{failed[1]} node {failed[2]!r}: {reason}"


@contextmanager
def engine_errors(doing: str, error: type[RnnEdgeError] = EngineError) -> Iterator[None]:
    """Turn the exceptions of ONNX Runtime into `error`, prefixed with what was being done.

    ONNX Runtime's exceptions (`Fail`, `InvalidArgument`, `NoSuchFile`, …) share no parent but
    `Exception`, and its Python layer raises `ValueError` and `RuntimeError` too.

    Args:
        doing: What was being done; a colon is added.
        error: The class to raise.

    Raises:
        RnnEdgeError: Of class `error`, for any exception that is not an `RnnEdgeError` already.
    """
    try:
        yield
    except RnnEdgeError:
        raise
    except Exception as raised:  # exceptions of the library have no common base
        pass_on_interruption(raised)
        raise error(f"{doing}: {one_line(raised)}") from raised


def pass_on_interruption(raised: BaseException) -> None:
    """Raise an exception again if a signal handler of the application raised it.

    Python runs a handler between any two calls of the main thread, such as one that a timer set to
    end what takes too long. Its exception is not one of the call that it came after.

    Args:
        raised: The exception that was caught.

    Raises:
        BaseException: `raised` itself, if it comes from a handler.
    """
    import threading  # errors alone need it

    if threading.current_thread() is not threading.main_thread():
        return  # Python runs handlers in the main thread only
    frame = raised.__traceback__
    codes = set()
    while frame is not None:
        codes.add(frame.tb_frame.f_code)
        frame = frame.tb_next
    if codes & _handlers():
        raise raised


def _handlers() -> set[CodeType]:
    """Return the code of every signal handler that was written in Python."""
    import signal

    found = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        if not callable(handler):  # such as SIG_DFL
            continue
        while hasattr(handler, "func"):  # functools.partial
            handler = handler.func
        handler = getattr(handler, "__func__", handler)  # a method
        if not hasattr(handler, "__code__"):  # an object that can be called
            handler = type(handler).__call__
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            found.add(code)
    return found
