"""What the exporter raises in addition to the errors of the runtime.

    RnnEdgeError
    ├── ExportError (ValueError)           the module or the options cannot be exported
    │   ├── LoopError                      a Python loop would be unrolled at the example's length
    │   │   └── MismatchError              its turns are not alike
    │   ├── MixingError                    a module moves or mixes the rows of the batch
    │   │   └── UnknownError               whether it does is not known
    │   ├── TrialError                     an input that the module or its file does not take
    │   └── WeightsError                   a weight cannot be read
    └── EngineError (RuntimeError)
        └── CrashError                     the model ended the process that ran it
            └── TimeLimitError             the model was ended at the time limit

    UserWarning
    └── WeightsWarning                     weights hold NaN or infinity

`RnnEdgeError` and `EngineError` are the runtime's.
"""

from rnnedge_runtime.errors import EngineError, RnnEdgeError


class ExportError(RnnEdgeError, ValueError):
    """The module, or an option of the export, is not one that can be exported."""


class LoopError(ExportError):
    """A Python loop over an axis of the inputs would be unrolled at the example's length."""


class MismatchError(LoopError):
    """The turns of a loop are not alike.

    Attributes:
        line: The line of the user's code at which they differ, or empty.
        site: File and line of the loop, once they are known.
    """

    site: tuple[str, int] | None = None

    def __init__(self, what: str, line: str = "") -> None:
        """Take what differs, and the line at which it does."""
        super().__init__(what)
        self.line = line


class MixingError(ExportError):
    """Rows of the batch are moved or mixed."""


class UnknownError(MixingError):
    """Whether they are is not known: an operator has no rule."""


class TrialError(ExportError):
    """The module, or the file made of it, does not take an input that the export tries.

    Attributes:
        ended: Whether the file ended the process that ran it, or had to be ended.
    """

    ended = False

    def __init__(self, *message: object, ended: bool = False) -> None:
        """Take the message, and whether a process ended."""
        super().__init__(*message)
        self.ended = ended


class WeightsError(ExportError):
    """A weight cannot be read from the layer."""


class CrashError(EngineError):
    """The model ended the process that ran it.

    Attributes:
        how: How the process ended: `SIGABRT`, `exit code 3`, `did not end within 60 s`.
    """

    how = ""

    def __init__(self, *message: object, how: str = "") -> None:
        """Take the message, and how the process ended."""
        super().__init__(*message)
        self.how = how


class TimeLimitError(CrashError):
    """The model was ended at the time limit."""


class WeightsWarning(UserWarning):
    """The weights hold NaN or infinity: answers hold them too, or numbers that hide them."""
