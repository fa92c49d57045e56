"""A `Recurrent` with the user's own cell as a `Scan` whose body is that cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from torch import nn
from torch.export import Dim, ExportedProgram

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.recurrent import Recurrent
from rnnedge_exporters.lowerings import Lengths
from rnnedge_exporters.lowerings.scan import add_scan, join_directions
from rnnedge_exporters.onnx_model.graph_builder import FLOAT, GraphBuilder, value
from rnnedge_runtime.contract import LayerInfo
from rnnedge_runtime.errors import pass_on_interruption

Translate = Callable[[ExportedProgram], ir.Model]
_EXAMPLE_BATCH = 3


def add_own_cell(
    graph: GraphBuilder,
    layer: Recurrent,
    features: int,
    translate: Translate,
    x: ir.Value,
    *,
    lengths: ir.Value | None,
    initial: tuple[ir.Value, ...] | None,
) -> tuple[ir.Value, tuple[ir.Value, ...]]:
    """Add a `Scan` for each direction; takes and gives what `stacked_layers.add_layer` does.

    Args:
        graph: What to add to.
        layer: The user's layer, a private copy.
        features: Features of the input.
        translate: Turns an exported program into ONNX.
        x: float32 [time, batch, features], or [batch, time, features] when `layer.batch_first`.
        lengths: int64 [batch], or None when every row is full.
        initial: The initial states, each [directions, batch, size]; None for zeros.
    """
    if layer.batch_first:
        x = graph.op("Transpose", x, perm=[1, 0, 2])  # -> [time, batch, features]
    rows = Lengths(graph, lengths, x) if lengths is not None else None

    count = len(layer.cells)
    outputs, finals = [], []
    for direction, cell in enumerate(layer.cells):
        with graph.scope("backward" if direction else "forward"):
            body = _body(graph, layer, cell, features, translate, masked=rows is not None)
            (y,), (last,) = add_scan(
                graph, layer.state_sizes, [direction], count, x, rows, initial, [x], body
            )
        outputs.append(y)
        finals.append(last)
    output, joined = join_directions(graph, outputs, finals)
    if layer.batch_first:
        output = graph.op("Transpose", output, perm=[1, 0, 2])
    return output, joined


def own_cell_info(layer: Recurrent, name: str, features: int) -> LayerInfo:
    """Describe the layer for the contract."""
    return LayerInfo(
        name=name,
        cell="custom",
        input_size=features,
        hidden_size=layer.state_sizes[0],
        num_layers=1,
        nonlinearity="tanh",
        bias=False,
        batch_first=layer.batch_first,
        bidirectional=layer.bidirectional,
        proj_size=0,
        lowering="scan",
        reason="a cell of the user's own",
        weights=sum(p.numel() for p in layer.parameters()),
    )


def _body(
    outer: GraphBuilder,
    layer: Recurrent,
    cell: nn.Module,
    features: int,
    translate: Translate,
    *,
    masked: bool,
) -> ir.Graph:
    """Build (states, x_t, mask_t) -> (states, y_t) from the cell's own forward."""
    examples = [torch.zeros(_EXAMPLE_BATCH, size) for size in (features, *layer.state_sizes)]
    name = type(cell).__name__
    try:
        program = torch.export.export(
            cell,
            tuple(examples),
            dynamic_shapes=_batch_axes(cell, len(examples)),
            strict=False,
        )
    except Exception as error:  # torch.export has an exception for each reason
        pass_on_interruption(error)
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise ExportError(f"Recurrent({name}): the cell cannot be traced: {reason}") from error
    model = translate(program)
    body = model.graph
    if len(body.outputs) != 1 + len(layer.state_sizes):
        raise ExportError(
            f"Recurrent({name}): expected y_t and {len(layer.state_sizes)} state(s) from the cell, "
            f"got {len(body.outputs)} tensors"
        )
    passes.ClearMetadataAndDocStringPass()(model)
    put_in_scope(body, f"{outer.scope_name}/step")

    x, *before = list(body.inputs)
    y, *after = list(body.outputs)
    step = outer.body("step")
    inputs = [*before, x]
    if masked:
        mask = value(f"{step.scope_name}/mask_t", ir.DataType.BOOL, [outer.batch, 1])
        inputs.append(mask)
        zero = step.constant("padding", np.zeros(1, np.float32))
        sizes = [y.shape, *(state.shape for state in before)]
        y = step.op("Where", mask, y, zero)
        after = [step.op("Where", mask, new, old) for new, old in zip(after, before, strict=True)]
        for made, shape in zip([y, *after], sizes, strict=True):
            made.type, made.shape = ir.TensorType(FLOAT), shape
    outputs = leave_once(step, body, inputs, [*after, y], inputs)
    for made in (*inputs, *outputs):  # the batch axis has one name everywhere
        made.shape = ir.Shape([outer.batch, *list(made.shape or [])[1:]])
    body.name = "step"
    return body


def leave_once(
    step: GraphBuilder,
    body: ir.Graph,
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    given: Sequence[ir.Value],
) -> list[ir.Value]:
    """Close a body: a value may leave it once only, and one that it is given not at all.

    Args:
        step: Holds what is still to be added to the body.
        body: The body.
        inputs: Its inputs.
        outputs: What it gives.
        given: Values that it does not make itself.

    Returns:
        Its outputs, some of which are copies.
    """
    leaving: list[ir.Value] = []
    for made in outputs:
        if made in leaving or made in given or made.producer() is None:
            type_, shape = made.type, made.shape
            made = step.op("Identity", made)
            made.type, made.shape = type_, shape
        leaving.append(made)
    body.extend(step.nodes)
    for constant in step.initializers.values():
        body.register_initializer(constant)
    body.inputs[:] = inputs
    body.outputs[:] = leaving
    return leaving


def _batch_axes(cell: nn.Module, count: int) -> tuple[dict[int, object], ...]:
    return tuple({0: Dim.AUTO} for _ in range(count))


def put_in_scope(graph: ir.Graph, scope: str) -> None:
    """Prefix every name, so that none is also a name of the outer graph."""
    for old in list(graph.initializers):
        made = graph.initializers.pop(old)
        made.name = f"{scope}/{old}"
        graph.initializers[made.name] = made
    for made in graph.inputs:
        made.name = f"{scope}/{made.name}"
    for node in graph.all_nodes():
        node.name = f"{scope}/{node.name}"
        for made in node.outputs:
            made.name = f"{scope}/{made.name}"
            made.shape = None if made not in graph.outputs else made.shape
