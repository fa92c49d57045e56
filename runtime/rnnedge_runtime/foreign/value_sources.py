"""Where a value of a graph comes from, through nodes that only move numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rnnedge_runtime.foreign.scope import MOST_STEPS, Scope
from rnnedge_runtime.onnx_file import GraphFile, Node

MOVING = {
    *("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
    *("Gather", "Expand", "Flatten", "Concat", "If"),
}
"""Operators whose outputs are numbers that they were given, or zeros next to them."""
_PICKING = {"Slice", "Split", "Gather"}
_ALL_INPUTS = {"Concat"}


@dataclass(slots=True)
class Sources:
    """Where a value comes from.

    Attributes:
        inputs: Inputs of the graph.
        made: Outputs of other nodes: the scope, the node, and the number of the output.
        picked: Whether a part was taken on the way.
        joined: Whether it was put together of several on the way.
    """

    inputs: set[str] = field(default_factory=set)
    made: list[tuple[Scope, Node, int]] = field(default_factory=list)
    picked: bool = False
    joined: bool = False


class Walker:
    """Follows values of a file back.

    Attributes:
        file: The graph.
        whole: The scope of its outermost graph.
    """

    def __init__(self, file: GraphFile) -> None:
        """Walk nowhere yet."""
        self.file, self.whole = file, Scope(file.graph)
        self._steps = 0  # of all walks together: a file may hold many that are long

    def sources(self, scope: Scope, names: Iterable[str], through: set[str] = MOVING) -> Sources:
        """Return where values come from.

        Args:
            scope: Where the values are.
            names: Their names.
            through: Operators that are passed; of an operator that moves numbers, the first input
                is followed, and of others all.
        """
        found = Sources()
        waiting = [(scope, name) for name in names]
        seen: set[tuple[Scope, str]] = set()
        while waiting and self._steps < MOST_STEPS:
            self._steps += 1
            here = waiting.pop()
            current, name = here
            if not name or here in seen:
                continue
            seen.add(here)
            node = current.made.get(name)
            if node is not None:
                following = list(self._before(current, node, name, through))
                if following:
                    found.picked |= node.op_type in _PICKING
                    found.joined |= node.op_type in _ALL_INPUTS
                    waiting += following
                else:
                    found.made.append((current, node, node.outputs.index(name)))
            elif (outer := current.source(name)) is not None:
                waiting.append(outer)
            elif current is self.whole and name in self.file.graph.input_names:
                found.inputs.add(name)
        return found

    def origin(self, scope: Scope, name: str) -> tuple[Scope, Node] | None:
        """Return the node that makes a value, before it is moved; None where there are several."""
        made = self.sources(scope, [name]).made
        return made[0][:2] if len(made) == 1 else None

    def _before(
        self, scope: Scope, node: Node, name: str, through: set[str]
    ) -> Iterator[tuple[Scope, str]]:
        """Yield what an output of a node is made of; nothing where the walk ends."""
        is_function = (node.domain, node.op_type) in self.file.functions
        if node.op_type == "If" or is_function:
            index = node.outputs.index(name)
            for inner in scope.inside(node, self.file.functions):
                if index < len(inner.graph.output_names):
                    yield inner, inner.graph.output_names[index]
        elif node.op_type in through and not node.domain:
            every = node.op_type not in MOVING or node.op_type in _ALL_INPUTS
            yield from ((scope, given) for given in (node.inputs if every else node.inputs[:1]))
