"""Every error that rnnedge raises on purpose has one parent, `RnnEdgeError`.

    RnnEdgeError
    ├── ModelError (ValueError)            the file is not a model that can be opened
    │   └── ContractError                  its contract is damaged, or of a newer format
    ├── InputError (ValueError)            an input of the wrong name, shape, dtype or value
    ├── StateError (ValueError)            a state that does not belong, or a model without one
    ├── GoldenError (ValueError)           golden vectors that cannot be read or written
    ├── OptionError (ValueError)           an option with an unknown name or a wrong value
    ├── DeviceError (RuntimeError)         the device that was asked for cannot be had
    ├── StreamError (RuntimeError)         a stream or pool that is closed, full or in use
    ├── EngineError (RuntimeError)         ONNX Runtime failed while it ran the model
    └── MissingPackageError (ImportError)  an optional package is needed and not installed

The exporter and the toolkit add their own leaves (`rnnedge.errors` draws the whole tree). Each
leaf is also the built-in exception that a caller would expect to catch.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class RnnEdgeError(Exception):
    """Parent of every error that rnnedge raises on purpose.

    Attributes:
        exit_code: What the command line exits with when it ends on this error.
    """

    exit_code = 1


class ModelError(RnnEdgeError, ValueError):
    """The file is missing, damaged, not ONNX, or not loadable by ONNX Runtime."""


class ContractError(ModelError):
    """The contract in the model's metadata cannot be read, or is of a newer format."""


class InputError(RnnEdgeError, ValueError):
    """An input has the wrong name, shape, dtype or value.

    Attributes:
        streams: The streams of a pool whose frames were refused; empty elsewhere.
    """

    def __init__(self, *message: object, streams: tuple[int, ...] = ()) -> None:
        """Take the message, and the streams that it is about."""
        super().__init__(*message)
        self.streams = streams


class StateError(RnnEdgeError, ValueError):
    """A state does not fit the model, or the model has no state that can be kept."""


class GoldenError(RnnEdgeError, ValueError):
    """Golden vectors are missing, damaged or of a newer format, or cannot be written."""


class OptionError(RnnEdgeError, ValueError):
    """An option has a name that is unknown, as to ONNX Runtime, or a value out of its range."""


class DeviceError(RnnEdgeError, RuntimeError):
    """The device that was asked for cannot be had on this machine."""


class StreamError(RnnEdgeError, RuntimeError):
    """A stream or a pool is closed, has no room, or is in use by another thread."""


class EngineError(RnnEdgeError, RuntimeError):
    """ONNX Runtime failed while it ran the model."""


class MissingPackageError(RnnEdgeError, ImportError):
    """An optional package is needed for this call and is not installed.

    Args:
        user: What needs the package, as the caller would name it.
        package: The import name of the missing package.
        command: The command that installs it.
    """

    def __init__(self, user: str, package: str, command: str) -> None:
        """Build the one-line message."""
        super().__init__(f"{user} needs {package}, which is not installed: {command}")


def one_line(error: BaseException) -> str:
    """Return the message of a foreign exception on one line, without what ONNX Runtime adds to it.

    Where a kernel fails, its operator and node and what it minds are kept; the numbers of the
    error, the file and line of its source and the condition that was false are not.
    """
    message = " ".join(str(error).split()) or type(error).__name__
    failed = re.search(r"running (\w+) node\. Name:'(.*?)' Status Message: (.*)", message)
    if failed is None:
        return message
    minded = re.sub(r"^\S+:\d+ .*? was false\. ", "", failed[3])
    return f"{failed[1]} node {failed[2]!r}: {minded}"


@contextmanager
def engine_errors(doing: str, error: type[RnnEdgeError] = EngineError) -> Iterator[None]:
    """Turn what ONNX Runtime raises into `error`, with what was being done in front.

    ONNX Runtime's exceptions (`Fail`, `InvalidArgument`, `NoSuchFile`, …) share no parent but
    `Exception`, and its Python layer raises `ValueError` and `RuntimeError` too.

    Args:
        doing: What was being done, ready to be followed by a colon.
        error: The class to raise.

    Raises:
        RnnEdgeError: Of class `error`, for any exception that is not one already.
    """
    try:
        yield
    except RnnEdgeError:
        raise
    except Exception as raised:
        raise error(f"{doing}: {one_line(raised)}") from raised
