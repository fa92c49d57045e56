"""`squeeze` of an axis that may be 1 or not: the number of axes is then another at size 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.streaming import line_of


def check_squeezes(program: ExportedProgram, names: Mapping[str, str]) -> list[str]:
    """Refuse `squeeze(dim)` of a dynamic axis; `squeeze()` next to one is a note.

    ONNX's `Squeeze` with axes fails where one is not 1. Without axes it does at each size what
    PyTorch does, but what is declared of the result is true of the sizes above 1 alone.

    Args:
        program: The traced module.
        names: Symbol of torch to the name of the axis.

    Returns:
        Notes for the caller.

    Raises:
        ExportError: When a dynamic axis is named.
    """
    notes = []
    for node in program.graph.nodes:
        if not str(node.target).startswith("aten.squeeze."):
            continue
        dynamic = _dynamic_axes(node, names)
        where = f" at {line_of(node)}" if line_of(node) else ""
        if len(node.args) == 1:
            if dynamic:
                notes.append(
                    f"squeeze(){where} drops {' and '.join(dynamic.values())} too where it is 1, "
                    "and the result has an axis less there: squeeze(dim) drops one axis"
                )
            continue
        dims = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
        rank = node.args[0].meta["val"].dim()
        for dim in dims:
            if dim % rank in dynamic:
                raise ExportError(
                    f"squeeze({dim}){where} drops {dynamic[dim % rank]} where it is 1 and keeps it "
                    "elsewhere, which no file can: leave it out, or leave that axis out of "
                    "dynamic_axes to fix it at 1"
                )
    return list(dict.fromkeys(notes))


def drop_idle_squeezes(program: ExportedProgram) -> None:
    """Leave out `squeeze(dim)` of axes whose fixed size is not 1, which PyTorch keeps as they are.

    torch's translation is a `Squeeze`, which refuses them (torch 2.13, onnxscript 0.7.2).

    Args:
        program: The exported program; its graph is changed.
    """
    for node in list(program.graph.nodes):
        if not str(node.target).startswith("aten.squeeze.dim"):
            continue
        source, axes = node.args
        shape = source.meta["val"].shape
        given = list(axes) if isinstance(axes, list | tuple) else [axes]
        dropped = [axis for axis in given if len(shape) == 0 or not _is_larger(shape[axis])]
        if not dropped:
            node.replace_all_uses_with(source)
            program.graph.erase_node(node)
        elif len(dropped) < len(given):
            node.args = (source, dropped)


def _is_larger(size: Any) -> bool:
    return isinstance(size, int) and size != 1


def _dynamic_axes(node: fx.Node, names: Mapping[str, str]) -> dict[int, str]:
    """Return the dynamic axes of what a node squeezes, with a word for each."""
    source: Any = node.args[0]
    value = source.meta.get("val")
    if not isinstance(value, Tensor):
        return {}
    sizes: list[Any] = list(value.shape)
    return {
        axis: names.get(str(size.node.expr), "an axis that is not fixed")
        for axis, size in enumerate(sizes)
        if isinstance(size, torch.SymInt) and size.node.expr.free_symbols
    }
