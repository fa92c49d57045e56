"""What the native engine raises beside the errors of the runtime."""

from __future__ import annotations

from rnnedge_runtime.errors import ModelError


class PlanError(ModelError):
    """The native engine does not know a part of the model, which ONNX Runtime may run.

    Attributes:
        node: The name or operator of the node, or None where it is not about one.
    """

    def __init__(self, message: str, node: str | None = None) -> None:
        """Take the message, and the node that it is about."""
        super().__init__(message)
        self.node = node
