"""The ONNX forms that a recurrent layer can take, and which one is chosen when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.lowerings.base import Lengths as Lengths
from rnnedge_exporters.lowerings.base import Lowering
from rnnedge_exporters.lowerings.operator import lower_to_operator
from rnnedge_exporters.lowerings.scan import lower_to_scan
from rnnedge_exporters.lowerings.switch import lower_to_switch
from rnnedge_exporters.weights import RecurrentLayer

Target: TypeAlias = Literal["cpu", "cuda", "portable"]
Choice: TypeAlias = Callable[[RecurrentLayer], tuple[str, str]]
"""Returns the lowering of a layer, and why it is that one."""

LOWERINGS: dict[str, Lowering] = {
    "operator": lower_to_operator,
    "scan": lower_to_scan,
    "switch": lower_to_switch,
}
SWITCHED_BELOW = 384
"""Hidden size from which a plain RNN is a `Scan` alone: at 512 one is as fast for a single step,
and at 256 a single step takes 1.1 times as long as with the operator."""


def choose(layer: RecurrentLayer, target: Target, forced: str | None = None) -> tuple[str, str]:
    """Return the name of the lowering for a layer, and why it is the one.

    What is faster on a CPU is measured by `python -m benchmarks.speed`, on one thread.

    Args:
        layer: The layer.
        target: What it is chosen for.
        forced: The lowering that the caller asked for; None chooses.

    Raises:
        ExportError: When the layer cannot take the form that was asked for.
    """
    if forced is not None:
        if layer.proj_size and forced != "scan":
            raise ExportError(
                f"lowering {forced!r}: {layer.name or 'the layer'} is an LSTM with a projection, "
                "which the operator has not: expected 'scan'"
            )
        return forced, "it was asked for"
    if layer.proj_size:
        return "scan", "the operator has no projection"
    if target == "portable":
        return "operator", "the form that the most runtimes know"
    if target == "cuda":
        if layer.nonlinearity == "relu":
            return "scan", "the CUDA provider hands an RNN with relu to the CPU"
        return "operator", "cuDNN runs it"
    if layer.cell != "rnn":
        return "operator", f"a {layer.cell} as a Scan is slower nearly everywhere"
    if layer.hidden_size < SWITCHED_BELOW:
        return "switch", "a narrow RNN: the operator is faster for a few short rows, a Scan else"
    return "scan", "a wide RNN: 2 to 3 times as fast as the operator on batches"
