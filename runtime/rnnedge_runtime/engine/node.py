"""`ExecutedNode`: where one node of an opened model runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutedNode:
    """One node of the graph as the engine runs it, after its optimizer.

    Attributes:
        name: The name in the file, if the optimizer has kept it.
        operator: The operator, such as `LSTM`.
        provider: Where it runs, such as `CPUExecutionProvider`.
    """

    name: str
    operator: str
    provider: str
