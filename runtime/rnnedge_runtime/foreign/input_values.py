"""Values that the inputs of a graph are compared with, such as 16000 of a sample rate."""

from __future__ import annotations

from rnnedge_runtime.foreign.scope import Scope
from rnnedge_runtime.foreign.value_sources import Walker
from rnnedge_runtime.onnx_file import GraphFile, Node

_COMPARISONS = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}


def compared_values(file: GraphFile) -> dict[str, int]:
    """Return, for inputs that are compared with an integer, the first such integer.

    Args:
        file: The graph.
    """
    walker = Walker(file)
    found: dict[str, int] = {}
    for scope, node in walker.whole.whole(file.functions):
        if node.op_type in _COMPARISONS and len(node.inputs) == 2:
            for name, value in _compared(walker, scope, node):
                found.setdefault(name, value)
    return found


def _compared(walker: Walker, scope: Scope, node: Node) -> list[tuple[str, int]]:
    pairs = []
    for value, other in (node.inputs, node.inputs[::-1]):
        numbers = scope.numbers(other)
        if numbers is not None and len(numbers) == 1:
            pairs += [(name, numbers[0]) for name in walker.sources(scope, [value]).inputs]
    return pairs
