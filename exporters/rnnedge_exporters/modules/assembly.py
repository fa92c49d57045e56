"""From an exported program to an ONNX graph: the opaque nodes become lowerings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.axis_text import tidy
from rnnedge_exporters.modules.causal import CausalConv, keep_context
from rnnedge_exporters.modules.expansion import ExpandedCall, expand, replace_node
from rnnedge_exporters.modules.graph_states import (
    check_pairs,
    input_behind_lengths,
    origin,
)
from rnnedge_exporters.modules.packed_graph import PACKED_FORMS
from rnnedge_exporters.modules.packing import DOMAIN
from rnnedge_exporters.modules.streaming import tensor_nodes
from rnnedge_exporters.modules.tracing import Traced
from rnnedge_exporters.onnx_model.graph_builder import (
    MICROSOFT,
    GraphBuilder,
    uses_microsoft,
)
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.layer_plan import Choice, Written
from rnnedge_runtime.contract import BATCH, Axis, Interface, LayerInfo, StatePair, TensorSpec


@dataclass(slots=True)
class Assembled:
    """The ONNX graph of a module.

    Attributes:
        graph: The graph.
        interface: What it takes and gives.
        layers: Its recurrent layers, a call each.
        recurrent: How they are written; None for a cell of the user's own.
        hindrances: What was found here that keeps chunks from equalling the whole.
    """

    graph: ir.Graph
    interface: Interface
    layers: tuple[LayerInfo, ...]
    recurrent: tuple[Written | None, ...]
    hindrances: tuple[str, ...]


def assemble(
    traced: Traced,
    translated: ir.Model,
    *,
    chosen: Choice,
    lift: bool,
    told: Mapping[str, str] | None,
    causal: tuple[CausalConv, ...] = (),
    storage: Callable[[str], Storage] = lambda layer: "float32",
) -> Assembled:
    """Build the ONNX graph of a traced module.

    Args:
        traced: The module as `torch.export` saw it.
        translated: What `translate` made of it; it is left as it is, since torch translates a
            program with sizes that depend on values only once.
        chosen: Returns how a recurrent layer is written.
        lift: Whether states that start from zeros become inputs and outputs.
        told: Which of the module's outputs feeds which input, or None to see it in the graph.
        causal: Convolutions whose context becomes an input and an output where states are lifted.
        storage: Returns how the weights of a cell of the user's own are written.

    Raises:
        ExportError: When `told` names no input or output.
    """
    model = translated.clone()
    graph = model.graph
    for made, name in zip(graph.inputs, traced.input_axes, strict=True):
        made.name = name  # as it is written: torch makes it lower-case, and an identifier
    _rename_axes(graph, traced.names)
    names = {node.name: 1 for node in graph if node.name}
    calls: list[ExpandedCall] = []
    lengths: str | None = None
    for node in [node for node in graph if node.domain == DOMAIN]:
        if node.op_type in PACKED_FORMS:
            builder = GraphBuilder(node.name or node.op_type, names)
            replace_node(graph, node, builder, [PACKED_FORMS[node.op_type](builder, node)])
            continue
        lengths = lengths or input_behind_lengths(node, graph)
        calls.append(
            expand(graph, node, traced, calls, chosen, lift=lift, names=names, storage=storage)
        )
    model.opset_imports.pop(DOMAIN, None)
    if uses_microsoft(graph):
        model.opset_imports[MICROSOFT] = 1
    found = _hindered(graph, calls, traced)
    _name_outputs(graph, traced)
    pairs = _pairs(graph, calls, told)
    if lift:
        pairs += _lift_states(graph, calls)
    if lift and causal:
        kept = keep_context(graph, causal, traced.program, names)
        if kept is None:
            found += [f"{conv.path} looks across the seam of two chunks" for conv in causal]
        pairs += kept or []
    _check_unique(graph)
    _clean(model)
    graph.name = "module"
    inputs = tuple(_spec(v, traced.input_axes.get(v.name or "")) for v in graph.inputs)
    interface = Interface(
        inputs=inputs,
        outputs=tuple(_spec(v, None) for v in graph.outputs),
        states=tuple(pairs),
        lengths=lengths,
    )
    check_pairs(interface)
    for made, spec in zip(graph.inputs, interface.inputs, strict=True):
        made.shape = ir.Shape(spec.axes)
    return Assembled(
        graph,
        interface,
        tuple(call.info for call in calls),
        tuple(call.written for call in calls),
        tuple(found),
    )


def _hindered(graph: ir.Graph, calls: Sequence[ExpandedCall], traced: Traced) -> list[str]:
    """Return what keeps the states of layers from being lifted."""
    found = [
        f"{call.name or 'it'} starts from a state that the module computes"
        for call in calls
        if not call.may_be_lifted
        and not all(origin(state) in graph.inputs for state in call.initial)
    ]
    rows = {axis for axes in traced.input_axes.values() for axis in axes if isinstance(axis, str)}
    rows = {BATCH} if BATCH in rows else rows  # a stream has rows of one batch only
    found += [
        f"{call.name or 'it'} runs {call.rows} rows, which are not those of the input"
        for call in calls
        if call.may_be_lifted and isinstance(call.rows, str) and call.rows not in rows
    ]
    found += [
        f"{call.name or 'it'} sees {call.steps} step(s), however long the input is"
        for call in calls
        if call.may_be_lifted
        and isinstance(call.steps, int)
        and not (call.steps == 1 and not traced.fixed)  # each call of the module is a step
    ]
    return found


def _name_outputs(graph: ir.Graph, traced: Traced) -> None:
    for made, name, axes in zip(graph.outputs, traced.outputs, _output_axes(traced), strict=True):
        made.name = name
        if made.shape is not None:
            made.shape = ir.Shape(
                named if isinstance(named, str) else size
                for size, named in zip(made.shape, axes, strict=True)
            )


def _lift_states(graph: ir.Graph, calls: Sequence[ExpandedCall]) -> list[StatePair]:
    """Make inputs and outputs of the states that start from zeros."""
    pairs = []
    lifted = [call for call in calls if call.may_be_lifted]
    for before, final in (
        (b, f) for c in lifted for b, f in zip(c.initial, c.finals, strict=False)
    ):
        graph.inputs.append(before)
        if final in graph.outputs:  # the module returns this state itself
            pairs.append(StatePair(before.name or "", final.name or ""))
            continue
        name = f"{(before.name or '').removesuffix('_0')}_n"
        node = ir.node("Identity", [final], name=name)
        out = node.outputs[0]
        out.name, out.type, out.shape = name, final.type, before.shape
        graph.append(node)
        graph.outputs.append(out)
        pairs.append(StatePair(before.name or "", name))
    return pairs


def _clean(model: ir.Model) -> None:
    for clean in (
        passes.NameFixPass(),  # what is inside makes way for the names of inputs and outputs
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.ClearMetadataAndDocStringPass(),
        passes.TopologicalSortPass(),
    ):
        clean(model)


def with_own_names(made: Assembled, axes: Collection[tuple[str, int]]) -> Assembled:
    """Give axes of outputs separate names, whose size is not what torch says.

    Args:
        made: The graph; its outputs are changed.
        axes: Output and number of each axis.
    """
    if not axes:
        return made
    results = set(made.graph.outputs)
    for node in made.graph.all_nodes():  # what lies before them has sizes of the same origin
        for inner in node.outputs:
            inner.shape = inner.shape if inner in results else None
    outputs = []
    for value_, spec in zip(made.graph.outputs, made.interface.outputs, strict=True):
        named = tuple(
            f"{spec.name}_axis_{number}" if (spec.name, number) in axes else axis
            for number, axis in enumerate(spec.axes)
        )
        if named != spec.axes:
            value_.shape = ir.Shape(named)
        outputs.append(replace(spec, axes=named))
    return replace(made, interface=replace(made.interface, outputs=tuple(outputs)))


def _pairs(
    graph: ir.Graph, calls: list[ExpandedCall], told: Mapping[str, str] | None
) -> list[StatePair]:
    """Pair the states that the module itself takes and gives."""
    inputs = {made.name or "" for made in graph.inputs}
    outputs = {made.name or "" for made in graph.outputs}
    if told is not None:
        for kind, given, known in (
            ("output", told.keys(), outputs),
            ("input", told.values(), inputs),
        ):
            wrong = [name for name in given if name not in known]
            if wrong:
                raise ExportError(
                    f"states: the module has no {kind} {wrong[0]!r}; it has "
                    f"{', '.join(sorted(known))}"
                )
        return [StatePair(into, out) for out, into in told.items()]
    pairs = []
    for call in calls:
        for before, after in zip(call.initial, call.finals, strict=False):
            if before in graph.inputs and after in graph.outputs:
                pairs.append(StatePair(before.name or "", after.name or ""))
    return pairs


def _check_unique(graph: ir.Graph) -> None:
    """Refuse a lifted state with the name of an argument or a result."""
    names = Counter(made.name for made in (*graph.inputs, *graph.outputs))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ExportError(
            f"{twice[0]!r} is the name of an argument or a result, and of a state lifted out of a "
            "layer: rename it, or export with states=False"
        )


def _rename_axes(graph: ir.Graph, names: Mapping[str, str]) -> None:
    """Call torch's symbols (`s77`) by the names of the axes, everywhere in the graph."""

    def name(size: int | ir.SymbolicDim) -> int | str | None:
        text = str(size) if isinstance(size, int) else size.value
        if text is None or re.fullmatch(r"\d+", text):  # what torch fixed may still be a symbol
            return None if text is None else int(text)
        return re.sub(r"\b[su]\d+\b", lambda match: names.get(match[0], match[0]), text)

    def rename(made: ir.Value) -> None:
        if made.shape is not None:
            made.shape = ir.Shape([name(size) for size in made.shape])

    for made in graph.inputs:
        rename(made)
    for node in graph.all_nodes():
        for made in node.outputs:
            rename(made)


def _output_axes(traced: Traced) -> list[list[str | None]]:
    """Return the axes of the outputs that are named; torch may give such a symbol a new number."""
    (returned,) = next(node.args for node in traced.program.graph.nodes if node.op == "output")
    values = [node.meta["val"] for node in tensor_nodes(returned) if "val" in node.meta]
    return [
        [traced.names.get(str(size)) for size in value.shape]
        for value in values
        if isinstance(value, torch.Tensor)
    ]


def _spec(made: ir.Value, axes: tuple[Axis, ...] | None) -> TensorSpec:
    if made.dtype is None or made.shape is None:
        raise ExportError(f"{made.name}: torch.export gave it no type")
    if axes is None:
        axes = tuple(
            size if isinstance(size, int) else tidy(str(size.value)) for size in made.shape
        )
    return TensorSpec(made.name or "", str(made.dtype.numpy()), axes)
