"""What the exporter raises beside the errors of the runtime.

    RnnEdgeError
    └── ExportError (ValueError)           the module or the options cannot be exported
        ├── TrialError                     an input that the module or its file does not take
        └── WeightsError                   a weight cannot be read

    UserWarning
    └── WeightsWarning                     weights hold NaN or infinity

`RnnEdgeError` is the runtime's.
"""

from rnnedge_runtime.errors import RnnEdgeError


class ExportError(RnnEdgeError, ValueError):
    """The module, or an option of the export, is not one that can be exported."""


class TrialError(ExportError):
    """The module, or the file made of it, does not take an input that the export tries."""


class WeightsError(ExportError):
    """A weight cannot be read from the layer."""


class WeightsWarning(UserWarning):
    """The weights hold NaN or infinity: answers hold them too, or numbers that hide them."""
