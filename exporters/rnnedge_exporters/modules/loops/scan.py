"""The opaque node of a rolled loop becomes a `Scan` whose body is the loop's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import sympy
import torch
from onnx_ir.passes import common as passes
from torch import Tensor
from torch.export import Dim, ExportedProgram

from rnnedge_exporters.errors import LoopError
from rnnedge_exporters.layers.recurrent import CellStep
from rnnedge_exporters.modules.loops.rolled import MaskedBody, RolledLoop
from rnnedge_exporters.modules.own_cell import Translate, leave_once, put_in_scope
from rnnedge_exporters.onnx_model.graph_builder import GraphBuilder
from rnnedge_runtime.contract import LayerInfo
from rnnedge_runtime.errors import pass_on_interruption

_SIZES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)
"""Sizes that open axes have while the body is exported, each another."""


def add_rolled_loop(
    graph: GraphBuilder, loop: RolledLoop, translate: Translate, given: Sequence[ir.Value]
) -> tuple[ir.Value, ...]:
    """Add a `Scan`.

    Args:
        graph: What to add to.
        loop: The loop.
        translate: Turns an exported program into ONNX.
        given: The states to start from, what is scanned [time, …], and the other values that
            the body reads.

    Returns:
        The final states, then what each turn gives [time, …].

    Raises:
        LoopError: When the body cannot be traced with open axes.
    """
    shapes = [_shape(made, scanned=loop.is_scanned(n)) for n, made in enumerate(given)]
    program = _export_body(loop, given, shapes)
    model = translate(program)
    body = model.graph
    passes.ClearMetadataAndDocStringPass()(model)
    put_in_scope(body, f"{graph.scope_name}/step")
    walked = loop.shape.states + len(loop.shape.directions)
    inputs, others = list(body.inputs)[:walked], list(body.inputs)[walked:]
    for inner, outer in zip(others, given[walked:], strict=True):
        inner.replace_all_uses_with(outer, replace_graph_outputs=True)
    leave_once(graph.body("step"), body, inputs, list(body.outputs), [*inputs, *given[walked:]])
    for made, shape in zip(inputs, shapes, strict=False):
        made.shape = ir.Shape(shape)
    body.name = "step"
    return graph.ops(
        "Scan",
        *given[:walked],
        outputs=len(body.outputs),
        body=body,
        num_scan_inputs=len(loop.shape.directions),
        scan_input_directions=[int(way < 0) for way in loop.shape.directions],
    )


def loop_info(loop: RolledLoop, name: str, given: Sequence[ir.Value]) -> LayerInfo:
    """Describe the loop for the contract."""
    first = _shape(given[loop.shape.states], scanned=True)
    state = _shape(given[0], scanned=False) if loop.shape.states else first
    return LayerInfo(
        name=name,
        cell="custom",
        input_size=_features(first),
        hidden_size=_features(state),
        num_layers=1,
        nonlinearity="tanh",
        bias=False,
        batch_first=False,
        bidirectional=False,
        proj_size=0,
        lowering="scan",
        reason="a cell of the user's own" if loop.shape.cell else "a Python loop in forward",
        weights=sum(p.numel() for p in loop.parameters()),
    )


def _features(shape: Sequence[int | str]) -> int:
    return shape[-1] if shape and isinstance(shape[-1], int) else 1


def _shape(made: ir.Value, *, scanned: bool) -> list[int | str]:
    sizes = [size if isinstance(size, int) else str(size.value) for size in made.shape or ()]
    return sizes[1:] if scanned else sizes


def _export_body(
    loop: RolledLoop, given: Sequence[ir.Value], shapes: Sequence[Sequence[int | str]]
) -> ExportedProgram:
    where = loop.shape.described
    open_sizes = [size for shape in shapes for size in shape if isinstance(size, str)]
    names = list(dict.fromkeys(name for size in open_sizes for name in _names_in(size)))
    fixed = {size for shape in shapes for size in shape if isinstance(size, int)}
    free = [size for size in _SIZES if size not in fixed]
    if len(names) > len(free):
        raise LoopError(f"{where} reads tensors of {len(names)} open axes")
    sizes = dict(zip(names, free, strict=False))
    sizes |= {size: _size_at(size, sizes) for size in open_sizes}
    examples = [
        _zeros(made, [sizes[size] if isinstance(size, str) else size for size in shape])
        for made, shape in zip(given, shapes, strict=True)
    ]
    hints = tuple(
        {axis: Dim.AUTO for axis, size in enumerate(shape) if isinstance(size, str)}
        for shape in shapes
    )
    star = isinstance(loop.body, MaskedBody | CellStep)  # it takes *given
    named = (hints,) if star else hints
    try:
        program = torch.export.export(
            loop.body, tuple(examples), dynamic_shapes=named, strict=False
        )
    except Exception as error:  # torch.export has an exception for each reason
        pass_on_interruption(error)
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise LoopError(f"{where} cannot be traced: {reason}") from error
    _check_open(program, shapes, where)
    return program


def _names_in(size: str) -> list[str]:
    """Return the axes that an open size is computed of: `3*batch` of `batch`."""
    return [name for name in re.findall(r"[A-Za-z_]\w*(?!\w*\()", size)]


def _size_at(size: str, sizes: Mapping[str, int]) -> int:
    if size in sizes:
        return sizes[size]
    names = {name: sympy.Symbol(name) for name in sizes if name.isidentifier()}
    value = sympy.parse_expr(size, local_dict=names)
    return int(value.subs({symbol: sizes[name] for name, symbol in names.items()}))


def _check_open(
    program: ExportedProgram, shapes: Sequence[Sequence[int | str]], where: str
) -> None:
    """Refuse a body that fixes the size of an open axis."""
    given = set(program.graph_signature.user_inputs)
    values = [
        n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name in given
    ]
    for value, shape in zip(values, shapes, strict=True):
        for size, axis in zip(value.shape, shape, strict=True):
            if isinstance(axis, str) and isinstance(size, int):
                raise LoopError(f"{where} fixes {axis} to {size}")


def _zeros(made: ir.Value, sizes: Sequence[int]) -> Tensor:
    assert made.dtype is not None
    return torch.from_numpy(np.zeros(sizes, made.dtype.numpy()))
