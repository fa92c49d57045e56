"""What a model without a contract shows in its graph: recurrent nodes that lose their state.

A stream hands the outputs of a model on to the inputs that they feed. A recurrent node whose
initial state comes from no such input starts anew at each call.

Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`, `__Scan`, `__Loop`)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.foreign.scope import FIRST_STATE, LOOPS, Scope
from rnnedge_runtime.onnx_file import GraphFile, Node, read_graph

_HIDDEN, _CELL = "hidden state (initial_h)", "cell state (initial_c)"
_STATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "RNN"): (_HIDDEN,),
    ("", "GRU"): (_HIDDEN,),
    ("", "LSTM"): (_HIDDEN, _CELL),
    ("com.microsoft", "DynamicQuantizeLSTM"): (_HIDDEN, _CELL),
}
_SHAPES_ONLY = (
    "Shape",
    "Size",
    "ConstantOfShape",
    "RandomNormalLike",
    "RandomUniformLike",
    "EyeLike",
)
"""Operators whose answers do not depend on the numbers that they are given."""
_INTEGERS = (2, 3, 4, 5, 6, 7, 9, 12, 13)
"""Element types, by ONNX's numbers, of what counts and does not remember."""


def lost_states(model: Model, states: Collection[str], *, open_time: bool) -> tuple[str, ...]:
    """Name the recurrent nodes that start anew at each call of a stream.

    Args:
        model: Path of an `.onnx` file, or its bytes.
        states: The inputs that are handed on from call to call.
        open_time: Whether a call may have any number of steps. Where it is a frame of one size, a
            node all of whose states start anew may well run inside the frame.

    Returns:
        One line for each, such as `node 'decoder' (LSTM) loses its cell state (initial_c) between
        calls`; empty if the file no longer exists, or has another format.
    """
    file = read_graph(model)
    search = _LossSearch(file, frozenset(states))
    found = search.lost(Scope(file.graph), open_time=open_time)
    return tuple(dict.fromkeys(f"{label} loses its {what} between calls" for label, what in found))


class _LossSearch:
    """A file, and the inputs that are handed on."""

    def __init__(self, file: GraphFile, states: frozenset[str]) -> None:
        self._file, self._states = file, states

    def lost(self, scope: Scope, *, open_time: bool) -> Iterator[tuple[str, str]]:
        """Yield the label of each node that loses a state, and the state."""
        for node in scope.graph.nodes:
            names = list(self._names(scope, node))
            kept = [self._is_kept(scope, name) for _, name in names]
            lost = [what for (what, _), is_kept in zip(names, kept, strict=True) if not is_kept]
            whole = open_time and not _walks_a_fixed_number(scope, node)
            if lost and (any(kept) or whole):
                yield node.label, " and its ".join(lost)
            found = [
                (inner, list(self.lost(inner, open_time=open_time)))
                for inner in scope.inside(node, self._file.functions)
            ]
            if node.op_type == "If" and self._has_a_way_that_keeps(scope, node, found):
                continue
            for _, inside in found:
                yield from inside

    def _has_a_way_that_keeps(
        self, scope: Scope, node: Node, found: list[tuple[Scope, list[tuple[str, str]]]]
    ) -> bool:
        """Whether a branch is taken by what was handed on, and one of them loses nothing.

        Such is a start from zeros where the given state is empty, which it is not in a stream.
        """
        keeps = any(not lost and self._has_states(inner) for inner, lost in found)
        return keeps and self._is_kept(scope, node.input(0), by_shape=True)

    def _has_states(self, scope: Scope) -> bool:
        """Whether there is a recurrent node in a graph."""
        return any(
            (node.domain, node.op_type) in _STATES
            or any(map(self._has_states, scope.inside(node, self._file.functions)))
            for node in scope.graph.nodes
        )

    def _names(self, scope: Scope, node: Node) -> Iterator[tuple[str, str]]:
        """Yield the states of a node, and what each starts from."""
        for number, what in enumerate(_STATES.get((node.domain, node.op_type), ())):
            yield what, node.input(FIRST_STATE + number)
        if node.op_type not in LOOPS or node.domain or not any(True for _ in node.graphs):
            return
        (body, *_) = node.graphs
        if node.op_type == "Scan":
            count = len(node.inputs) - sum(node.attributes["num_scan_inputs"].integers)
            names, inputs, outputs = node.inputs[:count], body.input_names, body.output_names
        else:
            names, inputs, outputs = node.inputs[2:], body.input_names[2:], body.output_names[1:]
        inner = scope.inner(node, body)
        for number, (name, before, after) in enumerate(zip(names, inputs, outputs, strict=False)):
            if _passed_on(inner, after) != before and not _remembers_nothing(scope, name):
                yield f"state {number}", name

    def _is_kept(self, scope: Scope, name: str, *, by_shape: bool = False) -> bool:
        """Whether a value depends on what was handed on, and on no other recurrent node.

        Args:
            scope: Where the value is.
            name: Its name.
            by_shape: Whether it is enough that it depends on the shape of what was handed on.
        """
        stops = LOOPS if by_shape else _SHAPES_ONLY + LOOPS
        waiting, seen = [(scope, name)], set()
        while waiting:
            current, name = waiting.pop()
            if not name or (current, name) in seen:
                continue
            seen.add((current, name))
            node = current.made.get(name)
            if node is None:
                if name in current.given:
                    waiting.append(current.given[name])
                elif current.outer is not None:
                    waiting.append((current.outer, name))
                elif name in self._states and name in current.graph.input_names:
                    return True
                continue
            if (node.domain, node.op_type) in _STATES or node.op_type in stops:
                continue
            index = node.outputs.index(name)
            inside = [
                (i, i.graph.output_names[index]) for i in current.inside(node, self._file.functions)
            ]
            kept = by_shape or all(self._is_kept(i, made) for i, made in inside)
            if node.op_type == "If" and not kept:
                continue
            waiting += inside or [(current, source) for source in node.inputs]
        return False


def _passed_on(scope: Scope, name: str) -> str:
    """Return the value that `name` is, through nodes that change nothing."""
    node = scope.made.get(name)
    while node is not None and node.op_type == "Identity":
        name = node.input(0)
        node = scope.made.get(name)
    return name


def _remembers_nothing(scope: Scope, name: str) -> bool:
    """Whether a start is that of a counter, or of a list of answers: each call starts them anew."""
    name = _passed_on(scope, name)
    node = scope.made.get(name)
    if node is None:
        held = scope.graph.initializers.get(name)
        return held is not None and held.dtype in _INTEGERS
    values = [
        node.attributes[key]
        for key in ("value", "value_int", "value_ints")
        if key in node.attributes
    ]
    if node.op_type == "SequenceEmpty":
        return True
    if node.op_type == "Constant":
        return any(value.dtype in _INTEGERS or value.integers for value in values)
    return node.op_type == "ConstantOfShape" and any(v.dtype in _INTEGERS for v in values)


def _walks_a_fixed_number(scope: Scope, node: Node) -> bool:
    """Whether the steps of a node are declared to be of one number: no axis of time, then."""
    if (node.domain, node.op_type) not in _STATES:
        return False
    shape = scope.graph.shape(node.input(0))
    layout = node.attributes.get("layout")
    axis = 1 if layout is not None and any(layout.integers) else 0
    return len(shape) == 3 and shape[axis] is not None
