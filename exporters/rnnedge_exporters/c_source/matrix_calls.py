"""Calls with weights as C: layers, products, convolutions, tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnedge_exporters.c_source.element_calls import FUNCTIONS
from rnnedge_exporters.c_source.emitter import Emitter, LayerDefinition, MatrixDefinition
from rnnedge_exporters.c_source.integer_kernels import cell_of_integers
from rnnedge_exporters.c_source.packing import Floats, Kind, Matrix
from rnnedge_exporters.c_source.text import CLines, terms
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.plan.packing import IntegerWeights, LayerWeights
from rnnedge_runtime.plan.values import Call

_WIDE: dict[Kind, str] = {
    "float32": "{0}[{1}]",
    "float16": "half_to_float({0}[{1}])",
    "int8": "(float){0}[{1}]",
}


def _cell(layer: LayerWeights) -> str:
    cell = "rnn_relu" if (layer.cell, layer.nonlinearity) == ("rnn", "relu") else layer.cell
    if layer.integers_hh is None:
        return cell
    return cell_of_integers(cell, input=layer.integers_ih is not None)


@dataclass(frozen=True, slots=True)
class _Row:
    """Pointers of one step of one row of a layer.

    Attributes:
        x: The input.
        h: The state before.
        c: The cell state before.
        y: The output, and the state after.
        c_n: The cell state after.
    """

    x: str
    h: str
    c: str
    y: str
    c_n: str


def layer(emitter: Emitter, out: CLines, call: Call) -> None:
    """One direction of a recurrent layer."""
    own = call.packed
    assert isinstance(own, LayerWeights)
    if call.places[3] is not None:
        raise ExportError(f"{call.node}: its rows end at different lengths")
    name, cell = _layer(emitter, call), _cell(own)
    t, b = out.loops(call.sizes, "tb")
    row = _row(emitter, call, own, (t, b))
    target = row.y
    if own.projection is not None:
        emitter.places.work = max(emitter.places.work, own.hidden_size)
        target = "state->work"
    rounded = ""
    if own.integers_hh is not None:
        taken = own.weight_ih.shape[1] if own.integers_ih is not None else 0
        emitter.places.rounded = max(emitter.places.rounded, own.state_size + taken)
        rounded = ", state->rounded"
    if own.cell == "lstm":
        out.line(f"{cell}(&{name}, {row.x}, {row.h}, {row.c}, {row.c_n}, {target}{rounded});")
    elif cell == "gru_reset_before":
        emitter.places.work = max(emitter.places.work, 2 * own.hidden_size)
        out.line(f"gru_reset_before(&{name}, {row.x}, {row.h}, {target}, state->work);")
    else:
        out.line(f"{cell}(&{name}, {row.x}, {row.h}, {target}{rounded});")
    if own.projection is not None:
        _project(emitter, out, call, own, row.y)
    out.close(sum(variable != "0" for variable in (t, b)))
    if own.integers_hh is None or own.integers_ih is None:
        emitter.whole_rows = True
    _final_state(emitter, out, call, own.state_size)


def _project(emitter: Emitter, out: CLines, call: Call, own: LayerWeights, y: str) -> None:
    """The projection of a state of an LSTM."""
    assert own.projection is not None
    integers = own.integers_projection
    projection = _product_matrix(emitter, call, own.projection, integers, "projection")
    out.open("" if integers is not None else f"for (ptrdiff_t u = 0; u < {own.state_size}; u++)")
    value = f"row_product(&{projection}, (size_t)u, state->work)"
    if integers is None:
        emitter.whole_rows = True
    else:
        value = _rounded_row(emitter, out, projection, "state->work", own.hidden_size)
        out.open(f"for (ptrdiff_t u = 0; u < {own.state_size}; u++)")
    out.line(f"({y})[u] = {value};")
    out.close(1 if integers is None else 2)


def _rounded_row(emitter: Emitter, out: CLines, matrix: str, x: str, inputs: int) -> str:
    """Round a row to integers, and return the product of row `u` of a matrix with it."""
    emitter.places.rounded = max(emitter.places.rounded, inputs)
    out.line(f"const float scale = quantize({x}, {inputs}, state->rounded);")
    return f"integer_row(&{matrix}, (size_t)u, state->rounded, scale)"


def _row(emitter: Emitter, call: Call, own: LayerWeights, variables: tuple[str, str]) -> _Row:
    """Return the pointers of the step `t` of the row `b`; the first step takes initial states."""
    (time, _), d, (t, b) = call.sizes, call.distances, variables
    sign, start = (-1, time - 1) if call.kind else (1, 0)  # of the backward direction

    def at(position: int, step: int, row: int, before: int = 0) -> str:
        along = [(variable, sign * step) for variable, _ in terms([t], [1])]
        return emitter.pointer(
            call, position, along + terms([b], [row]), (start - sign * before) * step
        )

    def initial(position: int, row: int, count: int) -> str:
        if call.places[position] is None:
            return emitter.places.zero_array(count)
        return emitter.pointer(call, position, terms([b], [row]))

    h, c, c_n = initial(1, d[2], own.state_size), "", ""
    if time > 1:
        h = f"{t} == 0 ? {h} : {at(4, d[4], d[5], before=1)}"
    if own.cell == "lstm":
        c, c_n = initial(2, d[3], own.hidden_size), emitter.pointer(call, 6, terms([b], [d[7]]))
        if time > 1 and c != c_n:
            c = f"{t} == 0 ? {c} : {c_n}"
    return _Row(at(0, d[0], d[1]), h, c, at(4, d[4], d[5]), c_n)


def _final_state(emitter: Emitter, out: CLines, call: Call, size: int) -> None:
    if call.places[5] is None:
        return
    (time, batch), d = call.sizes, call.distances
    emitter.used.add("copy")
    last = 0 if call.kind else time - 1
    (b,) = out.loops([batch], "b")
    source = emitter.pointer(call, 4, terms([b], [d[5]]), last * d[4])
    out.line(f"copy({source}, {emitter.pointer(call, 5, terms([b], [d[6]]))}, {size});")
    out.close(b != "0")


def product(emitter: Emitter, out: CLines, call: Call) -> None:
    """A product with weights, or a convolution."""
    packed = call.packed
    assert isinstance(packed, Matrix)
    outer, rows, pieces, piece = call.sizes
    d, units = call.distances, len(packed.weights)
    matrix = _product_matrix(emitter, call, packed.weights, packed.integers)
    start = "0.0f"
    if packed.bias is not None:
        key = id(packed.bias)
        if key not in emitter.names:
            emitter.names[key] = emitter.places.floats(
                f"{matrix}_bias_{len(emitter.names)}", packed.bias, f"{call.node}: biases"
            )
            emitter.owners.append(packed.bias)
        start = f"{emitter.names[key]}[u]"
    i, j = out.loops((outer, rows), "ij")
    x = emitter.pointer(call, 0, terms([i, j], d[:2]))
    to = emitter.element(call, 1, [*terms([i, j], d[3:5]), ("u", 1)])
    added = f"{start} + " if start != "0.0f" else ""
    if packed.integers is not None:
        out.open("")
        value = added + _rounded_row(emitter, out, matrix, x, piece)
    out.open(f"for (ptrdiff_t u = 0; u < {units}; u++)")
    if packed.integers is None and pieces == 1:
        emitter.whole_rows = True
        value = f"{added}row_product(&{matrix}, (size_t)u, {x})"
    elif packed.integers is None:
        out.line(f"float sum = {start};")
        out.open(f"for (ptrdiff_t p = 0; p < {pieces}; p++)")
        part = emitter.pointer(call, 0, [*terms([i, j], d[:2]), ("p", d[2])])
        out.line(
            f"sum += part_product(&{matrix}, (size_t)u, (size_t)p * {piece}, {part}, {piece});"
        )
        out.close()
        value = "sum"
    if call.kind:
        emitter.used.add(FUNCTIONS[call.kind])
        value = f"{FUNCTIONS[call.kind]}({value})"
    out.line(f"{to} = {value};")
    out.close(1 + (packed.integers is not None) + sum(variable != "0" for variable in (i, j)))


def gather(emitter: Emitter, out: CLines, call: Call) -> None:
    """Rows of a table by numbers that are computed."""
    emitter.may_fail = True
    count, size, rows = call.sizes[:3]
    (i,) = out.loops([count])
    out.open("")
    out.line(f"int64_t row = {emitter.element(call, 1, terms([i], [1]))};")
    out.line(f"if (row < 0) row += {rows};")
    out.line(f"if (row < 0 || row >= {rows}) return -1;")
    to = emitter.element(call, 2, [*terms([i], [size]), ("k", 1)])
    place = call.places[0]
    assert place is not None
    out.open(f"for (ptrdiff_t k = 0; k < {size}; k++)")
    if place[0].home == "constant" and call.distances[0] == size and not place[1]:
        assert place[0].array is not None
        table = np.asarray(place[0].array, np.float32).reshape(rows, size)
        name, stored = emitter.places.matrix(
            f"table_{len(emitter.places.arrays)}", table, f"{call.node}: a table"
        )
        value = _WIDE[stored.kind].format(name, f"row * {size} + k")
        if stored.kind == "float16":
            emitter.used.add("half_to_float")
        value += f" * {name}_scales[row]" if stored.scales is not None else ""
    else:
        value = emitter.element(call, 0, [("row", call.distances[0]), ("k", 1)])
    out.line(f"{to} = {value};")
    out.close(2 + (i != "0"))


def depthwise(emitter: Emitter, out: CLines, call: Call) -> None:
    """A convolution of each channel by itemitter."""
    batch, time, channels, kernel = call.sizes
    d = call.distances
    i, j = out.loops((batch, time), "ij")
    out.open(f"for (ptrdiff_t u = 0; u < {channels}; u++)")
    out.line(f"float sum = {emitter.element(call, 2, [('u', 1)])};")
    out.open(f"for (ptrdiff_t k = 0; k < {kernel}; k++)")
    x = [*terms([i, j], [d[0], d[1] * d[4]]), ("k", d[1] * d[5]), ("u", 1)]
    weight = emitter.element(call, 1, [("k", channels), ("u", 1)])
    out.line(f"sum += {weight} * {emitter.element(call, 0, x)};")
    out.close()
    out.line(f"{emitter.element(call, 3, [*terms([i, j], d[2:4]), ('u', 1)])} = sum;")
    out.close(1 + sum(variable != "0" for variable in (i, j)))


def _layer(emitter: Emitter, call: Call) -> str:
    layer = call.packed
    assert isinstance(layer, LayerWeights)
    if id(layer) in emitter.names:
        return emitter.names[id(layer)]
    cell = _cell(layer)
    emitter.cells.add(cell)
    name = f"{layer.cell.partition('_')[0]}_{len(emitter.names)}"
    bias = np.zeros(len(layer.weight_ih), np.float32) if layer.bias is None else layer.bias
    matrices = (
        _matrix(emitter, f"{name}_weight_ih", layer.weight_ih, layer.integers_ih, call, "input"),
        _matrix(emitter, f"{name}_weight_hh", layer.weight_hh, layer.integers_hh, call, "state"),
    )
    biases = emitter.places.floats(f"{name}_bias", bias, f"{call.node}: biases")
    bias_n = layer.bias_n
    if layer.cell == "gru" and bias_n is None:
        bias_n = np.zeros(layer.hidden_size, np.float32)
    own = "NULL"
    if bias_n is not None:
        own = emitter.places.floats(f"{name}_bias_n", bias_n, f"{call.node}: of the new gate")
    emitter.layers[name] = LayerDefinition(layer.hidden_size, matrices, biases, own)
    emitter.names[id(layer)] = name
    emitter.owners.append(layer)
    return name


def _matrix(
    emitter: Emitter,
    name: str,
    weights: Floats,
    integers: IntegerWeights | None,
    call: Call,
    of: str,
) -> MatrixDefinition:
    remark = f"{call.node}: of the {of}"
    if integers is not None:
        return emitter.integer_matrix(name, integers, remark)
    return emitter.matrix(name, weights, remark)


def _product_matrix(
    emitter: Emitter,
    call: Call,
    weights: Floats,
    integers: IntegerWeights | None,
    kind: str = "product",
) -> str:
    owner = weights if integers is None else integers
    key = id(owner)
    if key not in emitter.names:
        name = f"{kind}_{len(emitter.names)}"
        remark = f"{call.node}: weights"
        emitter.matrices[name] = (
            emitter.matrix(f"{name}_weight", weights, remark)
            if integers is None
            else emitter.integer_matrix(f"{name}_weight", integers, remark)
        )
        emitter.names[key] = name
        emitter.owners.append(owner)
    return emitter.names[key]
