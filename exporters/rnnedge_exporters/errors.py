"""What the exporter raises beside the errors of the runtime.

    RnnEdgeError
    └── ExportError (ValueError)           the module or the options cannot be exported
        └── WeightsError                   a weight cannot be read

    UserWarning
    └── WeightsWarning                     weights hold NaN or infinity

`RnnEdgeError` is the runtime's.
"""

from rnnedge_runtime.errors import RnnEdgeError


class ExportError(RnnEdgeError, ValueError):
    """The module, or an option of the export, is not one that can be exported."""


class WeightsError(ExportError):
    """A weight cannot be read from the layer."""


class WeightsWarning(UserWarning):
    """The weights hold NaN or infinity: answers hold them too, or numbers that hide them."""
