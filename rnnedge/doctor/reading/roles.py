"""Which axes of which inputs are batch and time: what the recurrent parts see of them.

What the runtime reads in a graph comes first. Then each axis of each input gets its own symbol,
shapes are inferred with these, and the symbols that arrive where a recurrent operator, or an
unrolled recurrence, has its time and batch axes are those. Where no recurrent part tells, running
the model does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx

from rnnedge.doctor.reading.recurrence import Chain, RecurrentNode
from rnnedge_exporters.onnx_model.axis_names import interface_of
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.nodes import attributes
from rnnedge_runtime.contract import BATCH, TIME, Axis, TensorSpec
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.foreign.axis_roles import BATCHED_SCAN, Role, find_axis_roles
from rnnedge_runtime.foreign.probe_axes import Run, interfaces_to_try, probe_axes
from rnnedge_runtime.onnx_file import read_graph

Shapes = dict[str, tuple[Axis | None, ...]]


@dataclass(frozen=True, slots=True)
class Roles:
    """The inputs with `batch` and `time` where they have them.

    Attributes:
        inputs: One entry for each graph input; other axes keep their size, or their name.
        lengths: Names of the inputs that are the lengths of rows.
        indices: For each integer input that looks up rows of a table, the rows of that table.
    """

    inputs: tuple[TensorSpec, ...]
    lengths: tuple[str, ...]
    indices: dict[str, int]

    def has(self, axis: str) -> bool:
        """Whether an input has this axis."""
        return any(axis in spec.axes for spec in self.inputs)

    def declared(self, file: OnnxFile, axis: str) -> Iterator[tuple[str, int, Axis]]:
        """Yield input, position and declared size or name of every axis with this role."""
        for spec, told in zip(self.inputs, file.inputs, strict=True):
            for position, role in enumerate(spec.axes):
                if role == axis:
                    yield spec.name, position, told.axes[position]


def find_roles(
    file: OnnxFile,
    cells: Sequence[RecurrentNode],
    chains: Sequence[Chain],
    shapes: Shapes,
    run: Run = lambda feeds: None,
) -> Roles:
    """Find batch and time.

    Args:
        file: The model.
        cells: Its recurrent operators.
        chains: Its unrolled recurrences.
        shapes: What `OnnxFile.symbolic_shapes` gave.
        run: Runs the model, where nothing in it tells; returns None where it cannot.
    """
    seen = find_axis_roles(read_graph(os.fspath(file.path)))
    found: dict[str, Axis] = {f"{name}.{place}": role.name for (name, place), role in seen.items()}
    for name, axes in _labelled(file, cells, chains, shapes):
        for symbol, role in zip(shapes.get(name, ()), axes, strict=False):
            if isinstance(symbol, str) and role is not None:
                found.setdefault(symbol, role)
    inputs = [_with_roles(spec, found) for spec in file.inputs]
    inputs = _same_sizes(file.inputs, _same_names(file.inputs, inputs))
    dynamic = {axis for spec in inputs for axis in spec.axes if isinstance(axis, str)}
    if dynamic - {BATCH, TIME}:
        inputs = list(_by_running(file, inputs, run))
    return Roles(
        tuple(inputs),
        tuple(_lengths(file, cells)),
        {spec.name: rows for spec in file.inputs if (rows := _table_rows(file, spec.name))},
    )


def _by_running(file: OnnxFile, inputs: Sequence[TensorSpec], run: Run) -> tuple[TensorSpec, ...]:
    """Name the axes that a graph says nothing of, and keep those that are named."""
    face = replace(interface_of(file.proto), inputs=tuple(inputs))
    roles = {
        (spec.name, place): Role(str(axis), frozenset({0}))
        for spec in inputs
        for place, axis in enumerate(spec.axes)
        if axis in (BATCH, TIME)
    }
    try:
        probed = probe_axes(face, roles, run)
    except InputError:  # an input of no numbers
        probed = None
    return (interfaces_to_try(face, roles)[0] if probed is None else probed.interface).inputs


def unrolled_steps(chains: Sequence[Chain], roles: Roles, shapes: Shapes) -> int:
    """Return the steps of the longest recurrence that was unrolled over time; 0 for none."""
    times = {
        f"{spec.name}.{position}"
        for spec in roles.inputs
        for position, role in enumerate(spec.axes)
        if role == TIME
    }
    return max(
        (
            chain.steps
            for chain in chains
            if (axes := shapes.get(chain.source)) and axes[chain.axis % len(axes)] in times
        ),
        default=0,
    )


def _labelled(
    file: OnnxFile, cells: Sequence[RecurrentNode], chains: Sequence[Chain], shapes: Shapes
) -> Iterator[tuple[str, tuple[Axis | None, ...]]]:
    """Yield tensors with what their axes are."""
    for cell in cells:
        weights = shapes.get(cell.tensor(1), ())
        features = weights[2] if len(weights) == 3 and isinstance(weights[2], int) else None
        first = (BATCH, TIME) if cell.options.get("layout") else (TIME, BATCH)
        yield cell.tensor(0), (*first, features)
        yield cell.lengths, (BATCH,)
        for name in cell.initial:
            yield name, (BATCH, None, None) if cell.options.get("layout") else (None, BATCH, None)
    for chain in chains:
        rank = len(shapes.get(chain.source, ()))
        axis = chain.axis % rank if rank else 0
        roles: list[Axis | None] = [None] * rank
        for position in range(rank - 1):
            roles[position] = TIME if position == axis else BATCH
        yield chain.source, tuple(roles)
    for node in file.proto.graph.node:
        if node.op_type == "Scan":
            yield from _scanned(node, shapes, by_row=file.opset == BATCHED_SCAN)


def _scanned(
    node: onnx.NodeProto, shapes: Shapes, *, by_row: bool
) -> Iterator[tuple[str, tuple[Axis | None, ...]]]:
    options = attributes(node)
    if by_row:
        first_scanned = len(node.input) - int(options["num_scan_inputs"])
        for place, name in enumerate(node.input):
            yield name, (BATCH, TIME) if place >= first_scanned else (BATCH,)
        return
    scanned = list(node.input)[-int(options["num_scan_inputs"]) :]
    axes = options.get("scan_input_axes", [0] * len(scanned))
    for name, axis in zip(scanned, axes, strict=True):
        rank = len(shapes.get(name, ()))
        roles: list[Axis | None] = [None] * rank
        if rank:
            roles[axis] = TIME
        if rank == 3 and axis != 2:
            roles[1 - axis] = BATCH
        yield name, tuple(roles)


def _lengths(file: OnnxFile, cells: Sequence[RecurrentNode]) -> Iterator[str]:
    """Yield the integer inputs that end rows: by their name, or since an operator takes them so."""
    by_name = interface_of(file.proto).lengths
    for spec in file.inputs:
        taken = any(c.lengths and spec.name in file.ancestors(c.lengths) for c in cells)
        if spec.dtype in ("int32", "int64") and (taken or spec.name == by_name):
            yield spec.name


def _with_roles(spec: TensorSpec, found: dict[str, Axis]) -> TensorSpec:
    """Give the axes of an input their roles; a role goes to the first axis that has it."""
    axes: list[Axis] = []
    for position, declared in enumerate(spec.axes):
        symbol = f"{spec.name}.{position}"
        wanted = (found.get(symbol, declared), declared, symbol)
        axes.append(next(a for a in wanted if isinstance(a, int) or a not in axes))
    return replace(spec, axes=tuple(axes))


def _same_names(declared: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Give a role to the axes that are declared with the name of one that has it."""
    known = {
        name: role
        for told, spec in zip(declared, inputs, strict=True)
        for name, role in zip(told.axes, spec.axes, strict=True)
        if isinstance(name, str) and name != role and role in (BATCH, TIME)
    }
    return [
        replace(
            spec,
            axes=tuple(
                known.get(str(axis), axis) if axis == name else axis
                for name, axis in zip(told.axes, spec.axes, strict=True)
            ),
        )
        for told, spec in zip(declared, inputs, strict=True)
    ]


def _same_sizes(declared: Sequence[TensorSpec], inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Take a role back where another size is declared than where it was found first.

    An encoder's and a decoder's time are two axes, though both are time to an operator.
    """
    first: dict[Axis, Axis] = {}
    kept = []
    for told, spec in zip(declared, inputs, strict=True):
        axes: list[Axis] = []
        for size, role in zip(told.axes, spec.axes, strict=True):
            if isinstance(size, str) and role == BATCH:
                agrees = True  # a state may declare its batch open, and the data theirs fixed
            else:
                known = first.setdefault(role, size)
                agrees = known == size or (isinstance(known, str) and isinstance(size, str))
            axes.append(role if agrees else size)
        kept.append(replace(spec, axes=tuple(axes)))
    return kept


def _table_rows(file: OnnxFile, name: str) -> int | None:
    """Return the rows of the smallest table that an input is an index into."""
    rows = [
        tensor.shape[0]
        for node in file.proto.graph.node
        if node.op_type == "Gather" and (tensor := file.constant(node.input[0])) is not None
        if tensor.ndim == 2 and name in file.ancestors(node.input[1])
    ]
    return min(rows, default=None)
