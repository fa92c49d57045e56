"""A module traced at some sizes, each node with the turn of the loop that it belongs to."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.capture import Capture
from rnnedge_exporters.modules.loops.marks import Key, Turns, marked
from rnnedge_exporters.modules.loops.operations import LOOP, Operation, Pool, read_program
from rnnedge_exporters.modules.tracing import export_program


@dataclass(frozen=True, slots=True)
class Trace:
    """What a module did at some sizes.

    Attributes:
        sizes: Size by the name of the axis.
        operations: What it computed, in order.
        results: What it returned.
        turns: The loops that it ran.
        capture: The recurrent layers that it called.
    """

    sizes: Mapping[str, int]
    operations: list[Operation]
    results: list[Any]
    turns: Turns
    capture: Capture


def trace_turns(
    module: nn.Module,
    arguments: Arguments,
    sizes: Mapping[str, int],
    pool: Pool,
    rolled: AbstractSet[Key],
) -> Trace:
    """Trace a module at the sizes of its arguments.

    Args:
        module: A private copy.
        arguments: Arguments of those sizes.
        sizes: The sizes, by the name of the axis.
        pool: Gets the constants.
        rolled: The loops that will be rolled; a recurrent layer that one calls for a step is a
            part of its body.

    Raises:
        ExportError: When torch cannot trace it.
    """
    with marked(module) as turns, _tagged(turns):
        program, capture = export_program(
            module, arguments, {}, lambda: rolled.isdisjoint(turns.keys)
        )
        functional = program if _is_functional(program) else program.run_decompositions({})
    operations, results = read_program(functional, arguments.flat(), pool)
    return Trace(sizes, operations, results, turns, capture)


def _is_functional(program: ExportedProgram) -> bool:
    """Whether nothing in a program writes in place, so that it need not be traced once more.

    `run_decompositions` takes ten times as long as the trace of a short loop: it exchanges the
    kernels of some 600 operators and puts them back.
    """
    return all(
        node.op in ("placeholder", "output")
        or node.target is operator.getitem
        or (isinstance(node.target, torch._ops.OpOverload) and not node.target._schema.is_mutable)
        for node in program.graph.nodes
    )


@contextmanager
def _tagged(turns: Turns) -> Iterator[None]:
    """Note the running turn on each node that is made, and keep those that nothing uses.

    What the last turn computes for the next would be missing in it otherwise.
    """
    create, eliminate = fx.Graph.create_node, fx.Graph.eliminate_dead_code

    def tagging(self: fx.Graph, *args: Any, **kwargs: Any) -> fx.Node:
        node = create(self, *args, **kwargs)
        if turns.path:
            node.meta["custom"] = {**(node.meta.get("custom") or {}), LOOP: turns.path}
        return node

    def keeping(self: fx.Graph, *args: Any, **kwargs: Any) -> bool:
        return False

    fx.Graph.create_node = tagging  # type: ignore[method-assign]
    fx.Graph.eliminate_dead_code = keeping  # type: ignore[method-assign]
    try:
        yield
    finally:
        fx.Graph.create_node = create  # type: ignore[method-assign]
        fx.Graph.eliminate_dead_code = eliminate  # type: ignore[method-assign]
