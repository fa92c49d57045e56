"""Recognizes the body of a `Scan` as one step of an RNN, LSTM or GRU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rnnedge_runtime.errors import NoMatchError, PlanError
from rnnedge_runtime.onnx_file import Graph, Node
from rnnedge_runtime.plan.packing import IntegerWeights, signed_weights
from rnnedge_runtime.plan.values import Array, Constant, Value

Weights: TypeAlias = "Array | IntegerWeights"


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """A value inside a body: what it is made by, and of what.

    Attributes:
        kind: `state`, `scan`, `constant`, or the operator.
        index: Its number among the states, the scanned inputs, or the outputs of its node.
        array: The value of a constant.
        parts: What a node takes.
        node: The node, or None for a leaf.
    """

    kind: str
    index: int = 0
    array: Array | None = None
    parts: tuple[Term, ...] = ()
    node: Node | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One direction of a body.

    Attributes:
        cell: `rnn`, `lstm` or `gru`.
        nonlinearity: `tanh` or `relu`.
        scanned: Number of the scanned input that holds the input's products.
        mask: Number of the scanned input that says which rows go on, or None.
        order: For each gate in PyTorch's order its place among the rows of the weights.
        weight_hh: [gates*hidden, state], rows as in the body, in float32 or as integers.
        bias_hh: Of the recurrent product of a GRU, or None.
        projection: [state, hidden], likewise, or None.
        early: Whether its output is what the nonlinearity takes.
    """

    cell: str
    nonlinearity: str
    scanned: int
    mask: int | None
    order: tuple[int, ...]
    weight_hh: Weights
    bias_hh: Array | None = None
    projection: Weights | None = None
    early: bool = False


def read_steps(
    body: Graph, scope: Mapping[str, Value], states: int, folds: Mapping[str, Any]
) -> list[Step]:
    """Return what each direction of a body computes.

    Args:
        body: Takes `states` states and what is scanned; gives the states and an output for each
            direction.
        scope: The names around it.
        states: How many there are.
        folds: What computes operators on constants.

    Raises:
        NoMatchError: When it is not a step of a known cell.
    """
    terms = _terms(body, scope, states, folds)
    results = [terms[info.name] for info in body.outputs if info.name in terms]
    count = len(results) - states
    if len(results) != len(body.outputs) or count not in (1, 2) or states % count:
        raise NoMatchError
    per = states // count
    return [
        _direction(results[way * per : (way + 1) * per], results[states + way], way * per)
        for way in range(count)
    ]


def _terms(
    body: Graph, scope: Mapping[str, Value], states: int, folds: Mapping[str, Any]
) -> dict[str, Term]:
    terms: dict[str, Term] = {
        name: Term("constant", array=value.array)
        for name, value in scope.items()
        if isinstance(value, Constant)
    }
    terms |= {name: Term("constant", array=t.array) for name, t in body.initializers.items()}
    for index, info in enumerate(body.inputs):
        kind = "state" if index < states else "scan"
        terms[info.name] = Term(kind, index if index < states else index - states)
    for node in body.nodes:
        if any(name not in terms for name in node.inputs):
            raise NoMatchError  # left out, or computed outside
        parts = tuple(terms[name] for name in node.inputs)
        if all(part.kind == "constant" for part in parts) and node.operator in folds:
            made = folds[node.operator](node, [part.array for part in parts])
            terms |= {
                name: Term("constant", array=array)
                for name, array in zip(node.outputs, made, strict=False)
            }
            continue
        if node.operator == "Identity":
            terms[node.outputs[0]] = parts[0]
            continue
        terms |= {
            name: Term(node.operator, index, None, parts, node)
            for index, name in enumerate(node.outputs)
        }
    return terms


def _direction(news: Sequence[Term], output: Term, first: int) -> Step:
    mask = None
    if news[0].kind == "Where":
        mask = _scan(news[0].parts[0])
        unmasked = []
        for index, new in enumerate(news):
            _require(new.kind == "Where" and _scan(new.parts[0]) == mask)
            _require(_is_state(new.parts[2], first + index))
            unmasked.append(new.parts[1])
        _require(output.kind == "Where" and _scan(output.parts[0]) == mask)
        padding = _constant(output.parts[2])
        _require(not padding.any())
        news, output = unmasked, output.parts[1]
    if len(news) == 2:
        step = _lstm(news[0], news[1], first)
    else:
        step = _rnn(news[0], first) or _gru(news[0], first)
    early = output is not news[0]
    if early:
        _require(step.cell == "rnn" and output is news[0].parts[0] and mask is None)
    return Step(
        step.cell,
        step.nonlinearity,
        step.scanned,
        mask,
        step.order,
        step.weight_hh,
        step.bias_hh,
        step.projection,
        early,
    )


def _rnn(new: Term, state: int) -> Step | None:
    if new.kind not in ("Tanh", "Relu"):
        return None
    weights, addend = _product(new.parts[0], state)
    return Step("rnn", new.kind.lower(), _scan(addend), None, (0,), weights)


def _lstm(h: Term, c: Term, state: int) -> Step:
    projection = None
    if _is_linear(h):
        inner, projection, addend = _linear(h)
        _require(addend is None)
        h = inner
    output, squashed = _two(h, "Mul", "Sigmoid", "Tanh")
    _require(squashed.parts[0] is c and c.kind == "Add")
    kept, added = c.parts
    if not any(_is_state(part, state + 1) for part in kept.parts):
        kept, added = added, kept
    _require(kept.kind == "Mul")
    forget, cell = kept.parts if kept.parts[0].kind == "Sigmoid" else kept.parts[::-1]
    _require(forget.kind == "Sigmoid" and _is_state(cell, state + 1))
    admitted, candidate = _two(added, "Mul", "Sigmoid", "Tanh")
    gates = [term.parts[0] for term in (admitted, forget, candidate, output)]
    whole = gates[0].parts[0] if gates[0].kind == "Split" else None
    _require(whole is not None and all(gate.kind == "Split" for gate in gates))
    _require(all(gate.parts[0] is whole for gate in gates))
    assert whole is not None
    weights, addend = _product(whole, state)
    _require(_sizes(gates[0]) == [len(weights) // 4] * 4)
    order = tuple(gate.index for gate in gates)
    _require(sorted(order) == [0, 1, 2, 3])
    return Step("lstm", "tanh", _scan(addend), None, order, weights, None, projection)


def _gru(new: Term, state: int) -> Step:
    # n + z * (h - n)
    n, product = _either(new, "Add", lambda part: part.kind == "Tanh")
    z, difference = _either(product, "Mul", lambda part: part.kind == "Split")
    _require(difference.kind == "Sub" and difference.parts[1] is n)
    _require(_is_state(difference.parts[0], state))
    x_n, scaled = _either(n.parts[0], "Add", lambda part: part.kind == "Split")
    r, h_n = _either(scaled, "Mul", lambda part: part.parts and part.parts[0] is z.parts[0])
    gates = z.parts[0]
    _require(r.kind == "Split" and gates.kind == "Sigmoid" and r.parts[0] is gates)
    _require({r.index, z.index} == {0, 1} and gates.parts[0].kind == "Add")
    x_rz, h_rz = gates.parts[0].parts
    if x_rz.parts[0] is not x_n.parts[0]:
        x_rz, h_rz = h_rz, x_rz
    for part, whole in ((x_rz, x_n), (h_rz, h_n)):
        _require(part.kind == "Split" and whole.kind == "Split")
        _require(part.parts[0] is whole.parts[0] and (part.index, whole.index) == (0, 1))
    weights, addend = _product(h_n.parts[0], state)
    hidden = len(weights) // 3
    _require(_sizes(h_n) == [2 * hidden, hidden] == _sizes(x_n))
    _require(_sizes(r) == [hidden, hidden])
    bias = None if addend is None else _constant(addend).reshape(-1)
    return Step("gru", "tanh", _scan(x_n.parts[0]), None, (r.index, z.index, 2), weights, bias)


def _product(term: Term, state: int) -> tuple[Weights, Term | None]:
    """Return the weights [rows, state] of a product with a state, and what is added to it."""
    addend = None
    if term.kind == "Add":
        term, addend = _either(term, "Add", _is_linear)
    inner, weights, own = _linear(term)
    _require(_is_state(inner, state) and (own is None or addend is None))
    return weights, own if addend is None else addend


def _is_linear(term: Term) -> bool:
    return term.kind in ("MatMul", "Gemm") or _integer_product(term) is not None


def _integer_product(term: Term) -> tuple[Term, IntegerWeights] | None:
    """Return the operand and the weights of a product of integers, or None for anything else."""
    factors = _factors(term)
    if len(factors) != 3:
        return None
    sums = next((part for part in factors if part.kind == "Cast"), None)
    scale = next((part for part in factors if part.kind == "DynamicQuantizeLinear"), None)
    scales = next((part for part in factors if part.kind == "constant"), None)
    if sums is None or scale is None or scales is None or scales.array is None:
        return None
    product = sums.parts[0]
    assert sums.node is not None
    if product.kind != "MatMulInteger" or sums.node.get("to") != 1:
        return None
    x, weights, *zeros = product.parts
    _require(len(zeros) in (1, 2) and scale.index == 1)
    for part, index in ((x, 0), (zeros[0], 2)):
        _require(part.node is scale.node and part.index == index)
    values, row = _constant(weights), scales.array.reshape(-1)
    _require(values.ndim == 2 and row.size in (1, values.shape[1]) and scales.array.ndim <= 2)
    try:
        signed = signed_weights(values, _constant(zeros[1]) if len(zeros) == 2 else None)
    except PlanError:
        raise NoMatchError from None
    row = np.broadcast_to(row.astype(np.float32), values.shape[1:])
    return scale.parts[0], IntegerWeights(np.ascontiguousarray(signed.T), np.ascontiguousarray(row))


def _factors(term: Term) -> list[Term]:
    """Return what a product of up to three factors is made of; more of them as they are."""
    factors = [term]
    while len(factors) < 3:
        at = next((i for i, part in enumerate(factors) if part.kind == "Mul"), None)
        if at is None:
            break
        factors[at : at + 1] = factors[at].parts
    return factors


def _linear(term: Term) -> tuple[Term, Weights, Term | None]:
    """Return the operand, the weights [rows, columns] and the addend of a linear product."""
    integers = _integer_product(term)
    if integers is not None:
        return *integers, None
    _require(term.kind in ("MatMul", "Gemm") and term.node is not None)
    weights = _constant(term.parts[1])
    _require(weights.ndim == 2)
    assert term.node is not None
    node = term.node
    plain = node.get("alpha", 1.0) == node.get("beta", 1.0) == 1.0
    _require(plain and not node.get("transA", 0))
    rows = weights if node.get("transB", 0) else weights.T
    return term.parts[0], rows, term.parts[2] if len(term.parts) > 2 else None


def _sizes(term: Term) -> list[int]:
    """Return the sizes of a Split along the features."""
    assert term.node is not None
    _require(term.node.get("axis", 0) in (1, -1) and len(term.parts) == 2)
    return [int(size) for size in _constant(term.parts[1]).reshape(-1)]


def _two(term: Term, operator: str, first: str, second: str) -> tuple[Term, Term]:
    """Return the operands of a commutative operator, the one of kind `first` in front."""
    one, other = _either(term, operator, lambda part: part.kind == first)
    _require(other.kind == second)
    return one, other


def _either(term: Term, operator: str, is_first: Any) -> tuple[Term, Term]:
    _require(term.kind == operator and len(term.parts) == 2)
    one, other = term.parts
    if not is_first(one):
        one, other = other, one
    _require(bool(is_first(one)))
    return one, other


def _is_state(term: Term, index: int) -> bool:
    return term.kind == "state" and term.index == index


def _scan(term: Term | None) -> int:
    _require(term is not None and term.kind == "scan")
    assert term is not None
    return term.index


def _constant(term: Term) -> Array:
    _require(term.kind == "constant")
    assert term.array is not None
    array = term.array
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _require(condition: object) -> None:
    if not condition:
        raise NoMatchError
