"""`Scope`: the names of a graph, and where they come from, through graphs inside nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rnnedge_runtime.onnx_file import Graph, Node

Functions = Mapping[tuple[str, str], Graph]
"""The bodies of the functions of a file, by domain and name."""
LOOPS = ("Scan", "Loop")
CELLS = {("", "RNN"), ("", "GRU"), ("", "LSTM"), ("com.microsoft", "DynamicQuantizeLSTM")}
"""Domains and names of the recurrent operators."""
FIRST_STATE = 5
"""The position of `initial_h` among the inputs of a recurrent operator."""
INTEGERS = (6, 7)
"""Element types, by ONNX's numbers, of axes, positions and shapes."""
_SAME_NUMBERS = ("Identity", "Cast", "Unsqueeze", "Squeeze")
MOST_STEPS = 200_000
"""Values or nodes that a walk looks at: a file of functions that call each other has no end."""


@dataclass(slots=True, eq=False)
class Scope:
    """The names of a graph, and where those of its inputs come from.

    Attributes:
        graph: The graph.
        outer: The graph around it, whose names it may use; None for a function.
        given: For each input of the graph, the scope and the name that it stands for.
    """

    graph: Graph
    outer: Scope | None = None
    given: Mapping[str, tuple[Scope, str]] = field(default_factory=dict)
    made: dict[str, Node] = field(default_factory=dict)
    _inner: dict[tuple[int, int], Scope] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made = {name: node for node in self.graph.nodes for name in node.outputs if name}

    def inside(self, node: Node, functions: Functions) -> Iterator[Scope]:
        """Yield the scopes of the graphs inside a node, and of the body of a function."""
        for graph in node.graphs:
            yield self.inner(node, graph)
        body = functions.get((node.domain, node.op_type))
        if body is not None:
            key = id(node), id(body)
            if key not in self._inner:
                pairs = zip(body.input_names, node.inputs, strict=False)
                self._inner[key] = Scope(body, None, {name: (self, given) for name, given in pairs})
            yield self._inner[key]

    def whole(self, functions: Functions) -> Iterator[tuple[Scope, Node]]:
        """Yield every node, with the scope that it is in, as far as there are not too many."""
        waiting, seen = [self], 0
        while waiting:
            scope = waiting.pop()
            for node in scope.graph.nodes:
                yield scope, node
                seen += 1
                if seen <= MOST_STEPS:
                    waiting += scope.inside(node, functions)

    def numbers(self, name: str) -> tuple[int, ...] | None:
        """Return the value of a constant of a few integers; None for any other value."""
        scope: Scope | None = self
        for _ in range(MOST_STEPS):
            if scope is None or name in scope.graph.initializers:
                return None if scope is None else scope.graph.initializers[name].integers
            node = scope.made.get(name)
            if node is not None and node.op_type not in _SAME_NUMBERS:
                return _constant(node)
            if node is not None:
                name = node.input(0)
            elif name in scope.given:
                scope, name = scope.given[name]
            else:
                scope = scope.outer
        return None

    def inner(self, node: Node, graph: Graph) -> Scope:
        """Return the scope of a graph inside a node."""
        taken = node.inputs
        names = graph.input_names
        if node.op_type == "Loop":  # its body takes the number of the step first
            taken, names = taken[1:], names[1:]
        pairs = zip(names, taken, strict=False)
        given = {name: (self, source) for name, source in pairs if node.op_type in LOOPS}
        return self._inner.setdefault((id(node), id(graph)), Scope(graph, self, given))

    def source(self, name: str) -> tuple[Scope, str] | None:
        """Return where a value that no node of this graph makes comes from; None from nowhere."""
        if name in self.given:
            return self.given[name]
        is_input = (
            self.outer is None or name in self.graph.input_names or name in self.graph.initializers
        )
        return None if is_input or self.outer is None else (self.outer, name)


def _constant(node: Node) -> tuple[int, ...] | None:
    """Return the integers that a Constant holds."""
    if node.op_type != "Constant" or node.domain:
        return None
    names = ("value", "value_int", "value_ints")
    found = [node.attributes[name] for name in names if name in node.attributes]
    is_integer = bool(found) and found[0].dtype in (0, *INTEGERS)
    return found[0].integers if is_integer else None
