"""The `switch` lowering: the operator where little is to be done at once, else a `Scan`.

ONNX Runtime's RNN kernel does not gain from a batch, and costs less than a `Scan` for a short
sequence of a narrow layer. An `If` on the shape of the input takes the one that is faster. Each
branch has its own weights, which ONNX Runtime packs when the session opens; outside they would
be shared and unpacked, which was measured to be slower. Only narrow layers are switched, so that
the second copy is small.
"""

from __future__ import annotations

import onnx_ir as ir

from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.lowerings.base import LayerCall, Lowered
from rnnedge_exporters.lowerings.operator import lower_to_operator
from rnnedge_exporters.lowerings.scan import lower_to_scan
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder

FEW_ROWS = 3
"""Below this batch the operator may win; measured at 1, 2, 4, 8 and 32."""
LONG = {48: None, 80: 300, 112: 100, 10**9: 3}
"""Hidden sizes, below the key, to the steps from which a `Scan` wins for a few rows too; None is
never. Measured by `benchmarks.speed`: at hidden 32 the operator wins at 1,000 steps, at 64 it loses
there by 1.1 to 1.3 and wins at 100, at 96 it is even at 100, and at 128 it loses there."""
_OPSET = 17


def lower_to_switch(graph: GraphBuilder, call: LayerCall) -> Lowered:
    """Add an `If` around both forms."""
    layer, lengths = call.layer, call.lengths
    if lengths is not None:  # what the branches need of it is made outside of them
        _ = lengths.int32, lengths.empty, lengths.mask
    branches = []
    for name, lower in (("few", lower_to_operator), ("many", lower_to_scan)):
        branch = graph.body(name)
        output, finals = lower(branch, call)
        width = layer.directions * layer.state_sizes[0]
        shapes: list[list[int | str]] = [[graph.time, graph.batch, width]]
        shapes += [[layer.directions, graph.batch, size] for size in layer.state_sizes]
        for made, shape in zip([output, *finals], shapes, strict=True):
            made.type, made.shape = ir.TensorType(graph.dtype), ir.Shape(shape)
        branches.append(branch.graph(name, [], [output, *finals], _OPSET))
    joined, *last = graph.ops(
        "If",
        _is_little(graph, layer, call.x),
        outputs=1 + len(layer.state_sizes),
        then_branch=branches[0],
        else_branch=branches[1],
    )
    return joined, tuple(last)


def _is_little(graph: GraphBuilder, layer: RecurrentLayer, x: ir.Value) -> ir.Value:
    """Return a bool [1]: whether the operator is the faster one at the shape of `x`."""
    longest = next(steps for hidden, steps in LONG.items() if layer.hidden_size < hidden)
    if longest is None:
        batch = graph.op("Shape", x, start=1, end=2)
        return graph.op("Less", batch, graph.integers(FEW_ROWS))
    shape = graph.op("Shape", x, start=0, end=2)
    over = graph.op("Div", shape, graph.integers(longest, FEW_ROWS))  # [time, batch], 0 when below
    return graph.op("Equal", graph.op("ReduceMax", over, keepdims=1), graph.integers(0))
