"""How many nodes the functions of a file become when each call of one is put in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from rnnedge_runtime.errors import ModelError
from rnnedge_runtime.onnx_file import Graph, GraphFile, all_nodes

_MOST_NODES = 100_000
_Key: TypeAlias = "tuple[str, str]"
"""Domain and name of a function."""


def count_nodes(file: GraphFile) -> None:
    """Count the nodes of each function, and of the graph, with those of what they call.

    Args:
        file: The file.

    Raises:
        ModelError: If a function calls itself, or they become too many nodes.
    """
    counted: dict[_Key, int] = {}
    waiting = list(file.functions)
    entered: set[_Key] = set()
    while waiting:
        key = waiting[-1]
        own, called = _calls(file.functions[key], file.functions)
        left = [name for name in called if name not in counted and name not in entered]
        entered.add(key)
        if left:
            waiting.extend(dict.fromkeys(left))
            continue
        waiting.pop()
        if any(name not in counted for name in called):  # it is being counted
            raise ModelError(f"the function {key[1]!r} calls itself, which ONNX does not allow")
        counted[key] = own + sum(counted[name] for name in called)
        _refuse_many(f"the function {key[1]!r}", counted[key])
    own, called = _calls(file.graph, file.functions)
    if called:
        _refuse_many("the graph", own + sum(counted[name] for name in called))


def _calls(graph: Graph, functions: Mapping[_Key, Graph]) -> tuple[int, list[_Key]]:
    """Return how many nodes a graph has, those of graphs inside it too, and what they call."""
    if not functions:
        return 0, []
    called = [(node.domain, node.op_type) for node in all_nodes(graph)]
    return len(called), [key for key in called if key in functions]


def _refuse_many(what: str, nodes: int) -> None:
    if nodes > _MOST_NODES:
        raise ModelError(
            f"{what} becomes {nodes:,} nodes when those that it calls are put in, and at "
            f"most {_MOST_NODES:,} are opened: if the file is yours, compute it once with "
            "onnx.reference, and store the result"
        )
