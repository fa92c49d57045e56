"""Convolutions that look back only: streamed exactly with a kept context of input.

Two ways to write one are recognised: zeros padded in front (`F.pad(x, (n, 0))` before an
`nn.Conv1d` without padding), and padding on both sides with the end cut off
(`conv(x)[..., :-n]`). Either way the first `n` steps that the convolution sees are zeros in a whole
run, and the last `n` steps of the chunk before in a stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rnnedge_exporters.onnx_model.graph_builder import FLOAT, GraphBuilder, value
from rnnedge_runtime.contract import StatePair

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")
_TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class CausalConv:
    """A convolution over time that looks back only.

    Attributes:
        path: Path of the `nn.Conv1d`.
        number: Its place among all convolutions of the program.
        channels: Channels of its input.
        context: Steps that it looks back, 1 or more.
        cut: Whether the end of its output is cut off by a slice.
        nodes: Names of the nodes that make it up.
    """

    path: str
    number: int
    channels: int
    context: int
    cut: bool
    nodes: frozenset[str]


def find_causal(
    program: ExportedProgram, module: nn.Module, times: set[str]
) -> tuple[CausalConv, ...]:
    """Find the causal convolutions over time.

    Args:
        program: The exported program.
        module: The module that it was made of.
        times: Symbols of torch that stand for the time axis.
    """
    named = dict(module.named_modules())
    convolutions = _convolutions(program)
    found = []
    for number, node in enumerate(convolutions):
        path = _path(node)
        layer = named.get(path)
        x: Any = node.args[0]
        if (
            _name(node) != "conv1d"
            or not isinstance(layer, nn.Conv1d)
            or layer.stride != (1,)
            or layer.padding_mode != "zeros"
            or not isinstance(layer.padding, tuple)
            or not _over_time(x, times)
            or [_path(other) for other in convolutions].count(path) > 1
        ):
            continue
        context = (layer.kernel_size[0] - 1) * layer.dilation[0]
        if context and layer.padding == (0,) and _pads_in_front(x, context):
            nodes, cut = {node.name, x.name}, False
        elif context and layer.padding == (context,) and (cuts := _cut_off(node, context)):
            nodes, cut = {node.name, *cuts}, True
        else:
            continue
        found.append(CausalConv(path, number, layer.in_channels, context, cut, frozenset(nodes)))
    return tuple(found)


def keep_context(
    graph: ir.Graph,
    causal: tuple[CausalConv, ...],
    program: ExportedProgram,
    names: dict[str, int],
) -> list[StatePair] | None:
    """Feed each causal convolution a kept context, as an input and an output of the graph.

    Args:
        graph: The graph; it is changed.
        causal: The convolutions.
        program: What the graph was translated from.
        names: The names that are taken in the graph.

    Returns:
        The pairs of context, or None, and an unchanged graph, when torch's optimizer rearranged
        the convolutions so that they cannot be distinguished.
    """
    nodes = [node for node in graph if node.op_type == "Conv"]
    if len(nodes) != len(_convolutions(program)):
        return None
    found = [_place(nodes[conv.number], conv) for conv in causal]
    places = [place for place in found if place is not None]
    if len(places) < len(causal):
        return None
    pairs = []
    for conv, (node, x, end) in zip(causal, places, strict=True):
        batch = x.shape[0] if x.shape is not None else None
        shape = [batch if isinstance(batch, int) else str(getattr(batch, "value", "batch"))]
        before = value(f"{conv.path}.context_0", FLOAT, [*shape, conv.channels, conv.context])
        builder = GraphBuilder(f"{conv.path}.context", names)
        joined = builder.op("Concat", before, x, axis=2)  # [batch, channels, context + time]
        last = builder.op(
            "Slice",
            joined,
            builder.integers(-conv.context),
            builder.integers(_TO_THE_END),
            builder.integers(2),
        )
        last.name, last.type, last.shape = f"{conv.path}.context_n", x.type, before.shape
        graph.insert_before(node, builder.nodes)
        for constant in builder.initializers.values():
            graph.register_initializer(constant)
        node.replace_input_with(0, joined)
        node.attributes["pads"] = ir.AttrInt64s("pads", [0, 0])
        if end is not None:  # nothing is left over that would have to be cut off
            made, kept = node.outputs[0], end.outputs[0]
            made.shape = kept.shape
            ir.convenience.replace_all_uses_with(kept, made, replace_graph_outputs=True)
            graph.remove(end, safe=True)
        graph.inputs.append(before)
        graph.outputs.append(last)
        pairs.append(StatePair(before.name or "", last.name))
    return pairs


def _convolutions(program: ExportedProgram) -> list[fx.Node]:
    return [node for node in program.graph.nodes if _name(node) in _CONVOLUTIONS]


def _place(node: ir.Node, conv: CausalConv) -> tuple[ir.Node, ir.Value, ir.Node | None] | None:
    """Return the node, its input before padding, and the slice behind it; None if not as meant."""
    pads = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else [0, 0]
    x = node.inputs[0]
    if x is None:
        return None
    if conv.cut:
        users = list(node.outputs[0].consumers())
        if pads != [conv.context] * 2 or len(users) != 1 or users[0].op_type != "Slice":
            return None
        return node, x, users[0]
    producer = x.producer()
    if pads == [conv.context, 0]:
        return node, x, None
    if pads == [0, 0] and producer is not None and producer.op_type == "Pad":
        inner = producer.inputs[0]
        return None if inner is None else (node, inner, None)
    return None


def _pads_in_front(node: Any, context: int) -> bool:
    if not isinstance(node, fx.Node) or _name(node) not in ("pad", "constant_pad_nd"):
        return False
    rest = [value for value in node.args[2:] if value not in ("constant", None, 0, 0.0)]
    return list(node.args[1]) == [context, 0] and not rest and len(node.users) == 1  # type: ignore[arg-type]


def _cut_off(node: fx.Node, context: int) -> set[str]:
    """Return the names of the slices that cut `context` steps off the end; empty when none do."""
    names: set[str] = set()
    users = list(node.users)
    while len(users) == 1 and _name(users[0]) == "slice":
        names.add(users[0].name)
        _, axis, start, end, *step = users[0].args
        if axis in (2, -1):
            return names if start in (0, None) and end == -context and not step else set()
        users = list(users[0].users)
    return set()


def _over_time(node: Any, times: set[str]) -> bool:
    made = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(made, Tensor) or made.dim() != 3:
        return False
    size: Any = made.shape[2]
    return (
        bool(times & set(map(str, size.node.expr.free_symbols))) if hasattr(size, "node") else False
    )


def _path(node: fx.Node) -> str:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _name(node: fx.Node) -> str:
    return str(node.target).split(".")[1] if str(node.target).startswith("aten.") else ""
