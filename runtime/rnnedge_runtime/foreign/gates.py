"""The states of one step of a cell whose gates are separate nodes.

A cell state, and the hidden state of a GRU, is multiplied by a gate and added to what is new:
`f*c + i*g`, `z*h + (1 - z)*n`, `n + z*(h - n)`. The hidden state of an LSTM is `o*tanh(c)`, and was
multiplied by weights before the gates.
"""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge_runtime.foreign.scope import Scope
from rnnedge_runtime.foreign.value_sources import MOVING, Sources, Walker
from rnnedge_runtime.onnx_file import Node

_GATES = {"Sigmoid", "HardSigmoid"}
_ACTIVATIONS = {"Tanh", "Relu", "Elu", "Softsign", "LeakyRelu", "Gelu", "Selu", "Mish"}
_STILL = MOVING - {"Concat"}
_ARITHMETIC = _STILL | {"Add", "Sub", "Mul"}
_TO_GATES = MOVING | {"Add", "MatMul", "Gemm", "LayerNormalization"}


def carried_inputs(walker: Walker, output: str) -> set[str]:
    """Return the inputs that a gate carries over to an output of the graph."""
    top = walker.origin(walker.whole, output)
    return _carried_by(walker, *top) if top is not None else set()


def gated_inputs(walker: Walker, output: str, carried: set[str]) -> set[str]:
    """Return the inputs that may be the hidden state of an LSTM that an output is.

    Args:
        walker: The graph.
        output: Name of the output.
        carried: The inputs that are cell states.
    """
    top = walker.origin(walker.whole, output)
    if top is None or top[1].op_type != "Mul":
        return set()
    scope, node = top
    found: set[str] = set()
    for gate, value in (node.inputs, node.inputs[::-1]):
        opened, squashed = walker.origin(scope, gate), walker.origin(scope, value)
        if opened is None or squashed is None or opened[1].op_type not in _GATES:
            continue
        cell = walker.origin(squashed[0], squashed[1].input(0))
        if cell is not None and carried & _carried_by(walker, *cell):
            found |= walker.sources(opened[0], opened[1].inputs[:1], _TO_GATES).inputs
    return found - carried


def _carried_by(walker: Walker, scope: Scope, node: Node) -> set[str]:
    if node.op_type not in ("Add", "Sub") or len(node.inputs) != 2:
        return set()
    return set(_kept_in(walker, scope, *node.inputs)) | set(
        _kept_in(walker, scope, *node.inputs[::-1])
    )


def _kept_in(walker: Walker, scope: Scope, kept: str, added: str) -> Iterator[str]:
    """Yield the inputs that a gate keeps in one summand, while an activation makes the other."""
    one, other = (walker.sources(scope, [name], _ARITHMETIC) for name in (kept, added))
    top = walker.origin(scope, kept)
    is_product = top is not None and top[1].op_type == "Mul"
    if is_product and _operators(one) & _GATES and _operators(other) & _ACTIVATIONS:
        yield from one.inputs - other.inputs


def _operators(sources: Sources) -> set[str]:
    return {node.op_type for _, node, _ in sources.made}
