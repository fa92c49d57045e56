"""Calls without weights as C: functions of every number, moves, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

from rnnedge_exporters.c_source.emitter import Emitter
from rnnedge_exporters.c_source.program import dtypes_of
from rnnedge_exporters.c_source.text import CLines, number, terms
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.plan.operators import arithmetic as kinds
from rnnedge_runtime.plan.tracer import COPY
from rnnedge_runtime.plan.values import Call

FUNCTIONS = {
    kinds.TANH: "tanh_f",
    kinds.SIGMOID: "sigmoid",
    kinds.RELU: "relu",
    kinds.EXP: "exp_f",
    kinds.SQUARE_ROOT: "sqrt_f",
    kinds.LOGARITHM: "log_f",
    kinds.SOFTPLUS: "softplus",
    kinds.ERF: "erf_f",
}
"""By kind of activation, the kernel that computes it."""
_EXPRESSIONS = {
    kinds.NONE: "v",
    kinds.LEAKY_RELU: "v < 0.0f ? v * {a} : v",
    kinds.NEGATE: "-v",
    kinds.ABSOLUTE: "v < 0.0f ? -v : v",
    kinds.RECIPROCAL: "1.0f / v",
    kinds.ELU: "v < 0.0f ? {a} * expm1_f(v) : v",
}
_BINARY = {
    kinds.ADD: "{x} + {z}",
    kinds.SUBTRACT: "{x} - {z}",
    kinds.MULTIPLY: "{x} * {z}",
    kinds.DIVIDE: "{x} / {z}",
    kinds.MINIMUM: "{z} != {z} || {z} < {x} ? {z} : {x}",
    kinds.MAXIMUM: "{z} != {z} || {z} > {x} ? {z} : {x}",
}
_COMPARED = ("==", "<", "<=", ">", ">=")
_SUM, _MEAN, _MAX, _MIN = range(4)


def activate(emitter: Emitter, out: CLines, call: Call) -> None:
    """A function of every number."""
    (i,) = out.loops(call.sizes[:1])
    step = terms([i], [1])
    x, y = emitter.element(call, 0, step), emitter.element(call, 1, step)
    if call.kind in FUNCTIONS:
        emitter.used.add(FUNCTIONS[call.kind])
        out.line(f"{y} = {FUNCTIONS[call.kind]}({x});")
    else:
        alone = i == "0"
        if alone:
            out.open("")
        out.line(f"const float v = {x};")
        out.line(f"{y} = {_expression(emitter, call)};")
        out.close(alone)
    out.close(i != "0")


def _expression(emitter: Emitter, call: Call) -> str:
    """Return the function of `v`."""
    a, b = call.numbers
    if call.kind == kinds.HARD_SIGMOID:
        v = f"(v * {number(a)} + {number(b)})"
        return f"{v} < 0.0f ? 0.0f : {v} > 1.0f ? 1.0f : {v}"
    if call.kind == kinds.CLIP:
        above = f"v > {number(b)} ? {number(b)} : v" if b != math.inf else "v"
        return f"v < {number(a)} ? {number(a)} : {above}" if a != -math.inf else above
    if call.kind not in _EXPRESSIONS:
        raise ExportError(f"{call.node}: the C target does not know this function")
    if call.kind == kinds.ELU:
        emitter.used.add("expm1_f")
    scale = number(a) if "{a}" in _EXPRESSIONS[call.kind] else ""
    return _EXPRESSIONS[call.kind].format(a=scale)


def _over_shape(
    emitter: Emitter, out: CLines, call: Call, operands: int, body: Callable[[list[str]], str]
) -> None:
    """Loop over a shape, with the elements of `operands` places and of one dense result."""
    sizes = list(call.sizes[: call.axes])
    variables = out.loops(sizes)
    elements = [
        emitter.element(
            call, place, terms(variables, call.distances[8 * place : 8 * place + len(sizes)])
        )
        for place in range(operands)
    ]
    if call.operation != COPY:
        dense = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
        elements.append(emitter.element(call, operands, terms(variables, dense)))
    out.line(body(elements))
    out.close(sum(variable != "0" for variable in variables))


def arithmetic(emitter: Emitter, out: CLines, call: Call) -> None:
    """A sum, product, … of two tensors."""
    if call.kind not in _BINARY:
        raise ExportError(
            f"{call.node}: powers of numbers that are computed are not supported by the C target"
        )
    made = _BINARY[call.kind]

    def body(elements: list[str]) -> str:
        x, z, y = elements
        return f"{y} = {made.format(x=x, z=z)};"

    _over_shape(emitter, out, call, 2, body)


def copy(emitter: Emitter, out: CLines, call: Call) -> None:
    """The same numbers in another order."""
    _over_shape(emitter, out, call, 2, lambda e: f"{e[1]} = {e[0]};")


def compare(emitter: Emitter, out: CLines, call: Call) -> None:
    """Whether numbers are equal, or smaller, or larger."""
    sign = _COMPARED[call.kind & 15]
    _over_shape(emitter, out, call, 2, lambda e: f"{e[2]} = {e[0]} {sign} {e[1]};")


def where(emitter: Emitter, out: CLines, call: Call) -> None:
    """One of two numbers."""
    _over_shape(emitter, out, call, 3, lambda e: f"{e[3]} = {e[0]} ? {e[1]} : {e[2]};")


def fill(emitter: Emitter, out: CLines, call: Call) -> None:
    """The same number everywhere."""
    (i,) = out.loops(call.sizes[:1])
    out.line(f"{emitter.element(call, 0, terms([i], [1]))} = {number(call.numbers[0])};")
    out.close(i != "0")


def cast(emitter: Emitter, out: CLines, call: Call) -> None:
    """Numbers of another dtype."""
    (i,) = out.loops(call.sizes[:1])
    step = terms([i], [1])
    x, y = emitter.element(call, 0, step), emitter.element(call, 1, step)
    source, target = dtypes_of(call)
    value = x
    if target == "bool":
        value = f"{x} != 0"
    elif target == "float32" and source != "float32":
        value = f"(float){x}"
    elif source == "float32" and target == "int64":
        low, high = "-9223372036854775808.0f", "9223372036854775808.0f"
        value = f"{x} >= {low} && {x} < {high} ? (int64_t){x} : INT64_MIN"
    out.line(f"{y} = {value};")
    out.close(i != "0")


def softmax(emitter: Emitter, out: CLines, call: Call) -> None:
    """Softmax of rows, or its logarithm."""
    name = "log_softmax" if call.kind else "softmax"
    emitter.used.add(name)
    rows, size = call.sizes[:2]
    out.line(f"{name}({emitter.pointer(call, 0)}, {emitter.pointer(call, 1)}, {rows}, {size});")


def normalize(emitter: Emitter, out: CLines, call: Call) -> None:
    """Layer normalization."""
    emitter.used.add("layer_norm")
    x, scale = emitter.pointer(call, 0), emitter.pointer(call, 1)
    bias = "NULL" if call.places[2] is None else emitter.pointer(call, 2)
    rows, size = call.sizes[:2]
    epsilon, y = number(call.numbers[0]), emitter.pointer(call, 3)
    out.line(f"layer_norm({x}, {scale}, {bias}, {epsilon}, {y}, {rows}, {size});")


def reduce(emitter: Emitter, out: CLines, call: Call) -> None:
    """The sum, mean, largest or smallest along an axis."""
    outer, size, inner = call.sizes[:3]
    i, j = out.loops((outer, inner), "ij")
    d = call.distances
    x = emitter.element(call, 0, [*terms([i, j], [d[0], 1]), ("s", d[1])])
    first = emitter.element(call, 0, terms([i, j], [d[0], 1]))
    out.open("")
    out.line(f"float so_far = {first};")
    out.open(f"for (ptrdiff_t s = 1; s < {size}; s++)")
    if call.kind in (_SUM, _MEAN):
        out.line(f"so_far += {x};")
    else:
        sign = ">" if call.kind == _MAX else "<"
        out.line(f"if ({x} {sign} so_far || {x} != {x}) so_far = {x};")
    out.close()
    mean = f" / {number(size)}" if call.kind == _MEAN else ""
    out.line(f"{emitter.element(call, 1, terms([i, j], [inner, 1]))} = so_far{mean};")
    out.close(1 + sum(variable != "0" for variable in (i, j)))
