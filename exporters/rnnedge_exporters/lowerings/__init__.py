"""The ONNX forms that a recurrent layer can take, and which one is chosen when."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rnnedge_exporters.lowerings.base import Lengths as Lengths
from rnnedge_exporters.lowerings.base import Lowering
from rnnedge_exporters.lowerings.operator import lower_to_operator
from rnnedge_exporters.lowerings.scan import lower_to_scan
from rnnedge_exporters.weights import RecurrentLayer

Target: TypeAlias = Literal["cpu", "cuda", "portable"]

LOWERINGS: dict[str, Lowering] = {
    "operator": lower_to_operator,
    "scan": lower_to_scan,
}


def choose(layer: RecurrentLayer, target: Target) -> str:
    """Return the name of the lowering for `layer`.

    - An LSTM with a projection is a `scan` everywhere: the operator has no projection.
    - `cuda`: a relu RNN is a `scan`, since that provider hands an `RNN` with any activation but
      tanh to the CPU with only a line in the log.
    - Everything else is an `operator`.
    """
    if layer.proj_size or (target == "cuda" and layer.nonlinearity == "relu"):
        return "scan"
    return "operator"
