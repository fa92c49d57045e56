"""The symbols of torch that stand for the axes of the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.export import ExportedProgram

from rnnedge_exporters.modules.arguments import (
    Arguments,
)
from rnnedge_exporters.modules.axis_probe import Axes


def input_symbols(program: ExportedProgram, arguments: Arguments) -> dict[str, dict[int, str]]:
    """Return the symbols of the dynamic axes, by input and axis."""
    values = zip(arguments.flat(), _input_values(program), strict=True)
    return {
        name: {
            axis: free_symbols(size)[0]
            for axis, size in enumerate(value.shape)
            if free_symbols(size)
        }
        for name, value in values
    }


def _input_values(program: ExportedProgram) -> list[Tensor]:
    names = set(program.graph_signature.user_inputs)
    return [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and "val" in node.meta
        and isinstance(node.meta["val"], Tensor)
    ]  # fmt: skip


def free_symbols(size: int | torch.SymInt) -> list[str]:
    """Return the symbols that a size depends on; one that torch fixed may still be a SymInt."""
    return sorted(map(str, size.node.expr.free_symbols)) if isinstance(size, torch.SymInt) else []


def symbols_of(sizes: Iterable[int | torch.SymInt]) -> list[str]:
    """Return the symbols in `sizes`, those that stand alone first."""
    found: dict[str, int] = {}
    for free in map(free_symbols, sizes):
        for symbol in free:
            found[symbol] = min(found.get(symbol, len(free)), len(free))
    return sorted(found, key=lambda symbol: found[symbol])


def by_symbol(used: Mapping[str, Mapping[int, str]]) -> dict[str, Axes]:
    """Return the axes of each symbol, from the symbols of each axis."""
    found: dict[str, set[tuple[str, int]]] = {}
    for name, axes in used.items():
        for axis, symbol in axes.items():
            found.setdefault(symbol, set()).add((name, axis))
    return {symbol: frozenset(axes) for symbol, axes in found.items()}
