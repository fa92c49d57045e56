"""The logarithm of a sigmoid, without the sigmoid."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram


def avoid_sigmoids(program: ExportedProgram) -> None:
    """Rewrite `logsigmoid(x)` as `-softplus(-x)`, which is the same number.

    torch's translation takes the logarithm of a sigmoid (onnxscript 0.7.2). That of ONNX Runtime is
    right to 6e-8 of 1, and not of itself: below -17 the logarithm is off, and -infinity in the end.

    Args:
        program: The exported program; its graph is changed.
    """
    aten = torch.ops.aten
    graph = program.graph
    for node in [node for node in graph.nodes if node.target is aten.log_sigmoid.default]:
        (x,) = node.args
        value = node.meta["val"]
        with graph.inserting_before(node):
            flipped = graph.call_function(aten.neg.default, (x,))
            softplus = graph.call_function(aten.softplus.default, (flipped,))
        for made in (flipped, softplus):
            made.meta = {**node.meta, "val": value}
        node.target, node.args = aten.neg.default, (softplus,)
