"""Each opaque node of a recurrent layer or loop becomes its lowering, in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.recurrent import Recurrent
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_exporters.lowerings.stacked_layers import add_layer
from rnnedge_exporters.modules.axis_text import tidy
from rnnedge_exporters.modules.capture import LAYER, LENGTHS_GIVEN
from rnnedge_exporters.modules.constant_starts import Starts
from rnnedge_exporters.modules.graph_states import (
    letters,
    name_state,
)
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_exporters.modules.loops.scan import add_rolled_loop, loop_info
from rnnedge_exporters.modules.own_cell import add_own_cell, own_cell_info
from rnnedge_exporters.modules.tracing import Traced
from rnnedge_exporters.modules.translation import translate
from rnnedge_exporters.onnx_model.graph_builder import (
    FLOAT,
    GraphBuilder,
    is_layer_output,
    value,
)
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.layer_plan import Choice, Written
from rnnedge_runtime.contract import Axis, LayerInfo


@dataclass(slots=True)
class ExpandedCall:
    """One call of a recurrent layer in the graph.

    Attributes:
        path: The path of the layer in the module.
        name: What the call is called: the path, and a number from the second call on.
        info: What the contract says of the layer.
        written: How the layer is written; None for a loop, and for a cell of the user's own.
        may_be_lifted: Whether its states may become inputs and outputs.
        steps: The name or size of its time axis.
        rows: The name or size of its batch axis.
        initial: Its initial states.
        finals: Its final states.
    """

    path: str
    name: str
    info: LayerInfo
    written: Written | None
    may_be_lifted: bool
    steps: Axis
    rows: Axis
    initial: list[ir.Value]
    finals: list[ir.Value]


def expand(
    graph: ir.Graph,
    node: ir.Node,
    traced: Traced,
    calls: list[ExpandedCall],
    chosen: Choice,
    *,
    lift: bool,
    names: dict[str, int],
    storage: Callable[[str], Storage],
) -> ExpandedCall:
    """Put the lowering of one recurrent layer in place of its opaque node.

    Args:
        graph: The graph, which is changed.
        node: The opaque node.
        traced: The module as `torch.export` saw it.
        calls: The calls that were expanded before.
        chosen: Returns how a recurrent layer is written.
        lift: Whether states that start from zeros become inputs and outputs.
        names: The names of nodes that are taken.
        storage: Returns how the weights of a cell of the user's own are written.

    Raises:
        ExportError: When a state has no fixed sizes.
    """
    number = node.attributes[LAYER].as_int()
    path, layer = list(traced.capture.layers.items())[number]
    if isinstance(layer, RolledLoop):
        return _expand_loop(graph, node, path, layer, lift=lift, names=names)
    inputs = list(node.inputs)
    x = _given(inputs.pop(0))
    lengths = _given(inputs.pop(0)) if node.attributes[LENGTHS_GIVEN].as_int() else None
    states = [_given(state) for state in inputs]
    earlier = sum(call.path == path for call in calls)
    name = f"{path}.call{earlier}" if earlier else path
    starts = Starts(states)
    if starts.may_be_lifted:
        sizes = [_fixed_sizes(made) for made in node.outputs[1:]]
        states = [
            value(name_state(name, letter), FLOAT, [rows, batch, size])
            for letter, (rows, batch, size) in zip(letters(len(sizes)), sizes, strict=True)
        ]
    batch_first = bool(node.attributes["batch_first"].as_int())
    builder = GraphBuilder(
        name, names, storage(path), _outer_axes(x, batch_first=batch_first, name=name)
    )
    initial: tuple[ir.Value, ...] | None = tuple(starts.given) or None
    flags: list[ir.Value] = []
    if starts.may_be_lifted:
        initial = None if starts.zeros else initial
        if lift:
            axes = [1] * len(states)
            initial, flags = starts.lifted(builder, name, states, axes, sizes[0][1])
    written = None
    if isinstance(layer, Recurrent):
        features = node.attributes["features"].as_int()
        info = own_cell_info(layer, name, features)
        output, finals = add_own_cell(
            builder, layer, features, translate, x, lengths=lengths, initial=initial
        )
    else:
        read = replace(
            read_layer(layer, path, traced.capture.weights.get(path)),
            batch_first=batch_first,
            follows=is_layer_output(x),
        )
        written = chosen(read, lengths=lengths is not None)
        info = replace(read.info(written.lowering, written.reason), name=name)
        builder.storage = written.storage
        output, finals = add_layer(
            builder, written.layer, written.lowering, x, lengths=lengths, initial=initial
        )
    replace_node(graph, node, builder, [output, *finals])
    lifted = starts.may_be_lifted
    states, last = [*states, *flags[:1]], [*finals, *flags[1:]]
    return ExpandedCall(path, name, info, written, lifted, *_tidied(builder), states, last)


def _expand_loop(
    graph: ir.Graph,
    node: ir.Node,
    path: str,
    loop: RolledLoop,
    *,
    lift: bool,
    names: dict[str, int],
) -> ExpandedCall:
    """Put a `Scan` in place of the opaque node of a loop."""
    given = [_given(made) for made in node.inputs]
    count = loop.shape.states
    name = path if loop.shape.label is None else loop.shape.label
    rows = [axis for axis in loop.shape.batch[:count] if axis is not None]
    starts = Starts(given[:count], have_rows=len(rows) == count)
    initial = given[:count]
    flags: list[ir.Value] = []
    if starts.may_be_lifted:
        called = loop.shape.names or letters(count)
        initial = [
            value(name_state(name, letter), _dtype(state), _tidied_axes(state))
            for letter, state in zip(called, given[:count], strict=True)
        ]
    builder = GraphBuilder(path, names, axes=_axes_of_loop(loop, given))
    begun: Sequence[ir.Value] = given[:count]
    if lift and starts.may_be_lifted:
        batch = _tidied_axes(given[0])[rows[0]] if rows else 1
        begun, flags = starts.lifted(builder, name, initial, rows, batch)
    made = add_rolled_loop(builder, loop, translate, [*begun, *given[count:]])
    info = loop_info(loop, name, given)
    replace_node(graph, node, builder, [*made])
    lifted = starts.may_be_lifted
    before, after = [*initial, *flags[:1]], [*made[:count], *flags[1:]]
    return ExpandedCall(path, name, info, None, lifted, *_tidied(builder), before, after)


def _axes_of_loop(loop: RolledLoop, given: list[ir.Value]) -> tuple[Axis, Axis]:
    """Return time and batch of what a loop is called with."""
    time = _tidied_axes(given[loop.shape.states])[0]
    for number, (made, axis) in enumerate(zip(given, loop.shape.batch, strict=True)):
        if axis is not None:
            return time, _tidied_axes(made)[axis + loop.is_scanned(number)]
    return time, 1  # no axis of rows is open


def _dtype(made: ir.Value) -> ir.DataType:
    if made.dtype is None:
        raise ExportError(f"{made.name}: torch.export gave it no type")
    return made.dtype


def _tidied_axes(made: ir.Value) -> list[Axis]:
    sizes = made.shape or ()
    return [size if isinstance(size, int) else tidy(str(size.value)) for size in sizes]


def _outer_axes(x: ir.Value, *, batch_first: bool, name: str) -> tuple[Axis, Axis]:
    """Return time and batch of a layer's input [time, batch, features], or batch first."""
    sizes: list[Axis] = []
    for size, kind in zip(x.shape or (None, None), ("time", "batch"), strict=False):
        plain = size if isinstance(size, int) else None if size is None else size.value
        sizes.append(f"{name}/{kind}" if plain is None else plain)
    return (sizes[1], sizes[0]) if batch_first else (sizes[0], sizes[1])


def _tidied(builder: GraphBuilder) -> tuple[Axis, Axis]:
    time, batch = (a if isinstance(a, int) else tidy(a) for a in (builder.time, builder.batch))
    return time, batch


def replace_node(
    graph: ir.Graph, node: ir.Node, builder: GraphBuilder, made: list[ir.Value]
) -> None:
    """Put what a builder holds in place of a node.

    Args:
        graph: The graph, which is changed.
        node: The node that is removed.
        builder: The nodes and constants.
        made: Which value replaces each output of the node.
    """
    graph.insert_before(node, builder.nodes)
    for constant in builder.initializers.values():
        graph.register_initializer(constant)
    for old, new in zip(node.outputs, made, strict=True):
        new.type, new.shape = old.type, old.shape
    ir.convenience.replace_all_uses_with(node.outputs, made, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _fixed_sizes(state: ir.Value) -> tuple[int, int | str, int]:
    """Return the axes of a state [rows, batch, size]; a module without batches has a batch of 1."""
    rows, batch, size = state.shape or (None, None, None)
    if not isinstance(rows, int) or not isinstance(size, int):
        raise ExportError(f"{state.name}: expected a state of fixed sizes, got {state.shape}")
    return rows, batch if isinstance(batch, int) else tidy(str(batch)), size


def _given(inner: ir.Value | None) -> ir.Value:
    if inner is None:
        raise ExportError("torch.export lost an input of a recurrent layer")
    return inner
