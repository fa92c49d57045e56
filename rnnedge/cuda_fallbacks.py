"""What ONNX Runtime's CUDA provider hands to the CPU, read in a graph without a GPU.

Its kernels for recurrent operators are those of cuDNN. A node that asks for what cuDNN does not
support runs on the CPU, with copies before and after, and a line in the log only. The rules are
those of
`RNNNeedFallbackToCPU` in ONNX Runtime's `cuda_execution_provider.cc`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle

import onnx

from rnnedge_exporters.onnx_model.nodes import attributes
from rnnedge_exporters.onnx_model.recurrent_nodes import is_recurrent, peculiarities

_ACTIVATIONS = {
    "RNN": ("tanh",),
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
}
"""Of one direction, in the order of the attribute; case does not matter there."""
_NOT_CUDNN = ("P", "input_forget", "linear_before_reset")
"""Peculiarities of a node that cuDNN does not have; it has rules of its own on the others."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """A node that would run on the CPU under the CUDA provider.

    Attributes:
        node: Its name.
        operator: Such as `RNN`.
        reason: What it has that cuDNN does not support.
    """

    node: str
    operator: str
    reason: str


def cuda_fallbacks(nodes: Iterable[onnx.NodeProto]) -> tuple[Fallback, ...]:
    """Return the recurrent operators among `nodes` that CUDA would leave to the CPU, and why."""
    return tuple(
        Fallback(node.name, node.op_type, reason)
        for node in nodes
        if is_recurrent(node)
        for reason in [", ".join(_reasons(node))]
        if reason
    )


def _reasons(node: onnx.NodeProto) -> Iterator[str]:
    given = attributes(node)
    pairs = zip(given.get("activations", ()), cycle(_ACTIVATIONS[node.op_type]), strict=False)
    for name in dict.fromkeys(name for name, expected in pairs if name.lower() != expected):
        yield f"its activation is {name}"
    for name in ("activation_alpha", "activation_beta", "clip"):
        if name in given:
            yield f"it has {name}"
    yield from (one.text for one in peculiarities(node) if one.attribute in _NOT_CUDNN)
