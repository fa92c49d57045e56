"""Each call of a plan as C statements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rnnedge_exporters.c_source.packing import Kind, Matrix
from rnnedge_exporters.c_source.places import Places
from rnnedge_exporters.c_source.program import dtypes_of
from rnnedge_exporters.c_source.text import Writer, index, number, pointer, terms
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.plan.operators import arithmetic as kinds
from rnnedge_runtime.plan.packing import LayerWeights
from rnnedge_runtime.plan.tracer import (
    ACTIVATE,
    ARITHMETIC,
    CAST,
    COMPARE,
    COPY,
    DEPTHWISE,
    FILL,
    GATHER,
    LAYER,
    NORMALIZE,
    PRODUCT,
    REDUCE,
    SOFTMAX,
    WHERE,
)
from rnnedge_runtime.plan.values import Call

_FUNCTIONS = {
    kinds.TANH: "tanh_f",
    kinds.SIGMOID: "sigmoid",
    kinds.RELU: "relu",
    kinds.EXP: "exp_f",
    kinds.SQUARE_ROOT: "sqrt_f",
    kinds.LOGARITHM: "log_f",
    kinds.SOFTPLUS: "softplus",
    kinds.ERF: "erf_f",
}
_EXPRESSIONS = {
    kinds.NONE: "v",
    kinds.LEAKY_RELU: "v < 0.0f ? v * {a} : v",
    kinds.NEGATE: "-v",
    kinds.ABSOLUTE: "v < 0.0f ? -v : v",
    kinds.RECIPROCAL: "1.0f / v",
    kinds.ELU: "v < 0.0f ? {a} * expm1_f(v) : v",
}
_BINARY = {
    kinds.ADD: "v + w",
    kinds.SUBTRACT: "v - w",
    kinds.MULTIPLY: "v * w",
    kinds.DIVIDE: "v / w",
    kinds.MINIMUM: "w != w || w < v ? w : v",
    kinds.MAXIMUM: "w != w || w > v ? w : v",
}
_COMPARED = ("==", "<", "<=", ">", ">=")
_SUM, _MEAN, _MAX, _MIN = range(4)
_WIDE: dict[Kind, str] = {
    "float32": "{0}[{1}]",
    "float16": "half_to_float({0}[{1}])",
    "int8": "(float){0}[{1}]",
}


class Emitter:
    """Writes the calls of a program.

    Attributes:
        used: Kernels that are called.
        cells: Cells that are run.
        layers: Definitions of the layers and matrices, which point to their weights.
        may_fail: Whether an index may be out of range.
        whole_rows: Whether whole rows of a matrix are multiplied.
    """

    def __init__(self, places: Places) -> None:
        """Start with nothing."""
        self.places = places
        self.used: set[str] = set()
        self.cells: set[str] = set()
        self.layers: list[str] = []
        self.may_fail = False
        self.whole_rows = False
        self._names: dict[int, str] = {}
        self._owners: list[object] = []
        self._writer = Writer()

    def statements(self, calls: Sequence[Call]) -> list[str]:
        """Return the lines of all calls."""
        for call in calls:
            self._writer.comment(call.node or "output")
            write = _WRITERS.get(call.operation)
            if write is None:
                raise ExportError(f"{call.node}: the C target does not know it")
            write(self, self._writer, call)
        return self._writer.lines

    def _at(self, call: Call, position: int) -> tuple[str, int]:
        place = call.places[position]
        assert place is not None
        return self.places.at(place, dtypes_of(call)[position])

    def _pointer(
        self, call: Call, position: int, steps: Sequence[tuple[str, int]] = (), more: int = 0
    ) -> str:
        base, offset = self._at(call, position)
        return pointer(base, index(offset + more, steps))

    def _element(self, call: Call, position: int, steps: Sequence[tuple[str, int]]) -> str:
        base, offset = self._at(call, position)
        return f"{base}[{index(offset, steps)}]"

    # --- weights ---

    def _matrix(self, name: str, weights: np.ndarray, remark: str) -> str:
        """Return the initializer of a struct matrix."""
        array, stored = self.places.matrix(name, weights, remark)
        self.places.stored.add(stored.kind)
        scales = f"{array}_scales" if stored.scales is not None else "0"
        return f"{{{stored.kind.upper()}|{array}|{scales}|{weights.shape[1]}}}"

    def _layer(self, call: Call) -> str:
        layer = call.packed
        assert isinstance(layer, LayerWeights)
        if id(layer) in self._names:
            return self._names[id(layer)]
        cell = _cell(layer)
        self.cells.add(cell)
        name = f"{layer.cell.partition('_')[0]}_{len(self._names)}"
        bias = np.zeros(len(layer.weight_ih), np.float32) if layer.bias is None else layer.bias
        fields = [
            str(layer.hidden_size),
            self._matrix(f"{name}_weight_ih", layer.weight_ih, f"{call.node}: of the input"),
            self._matrix(f"{name}_weight_hh", layer.weight_hh, f"{call.node}: of the state"),
            self.places.floats(f"{name}_bias", bias, f"{call.node}: biases"),
        ]
        bias_n = layer.bias_n
        if cell == "gru" and bias_n is None:
            bias_n = np.zeros(layer.hidden_size, np.float32)
        own = "0"
        if bias_n is not None:
            own = self.places.floats(f"{name}_bias_n", bias_n, f"{call.node}: of the new gate")
        self.layers.append(f"static const struct layer {name} = {{{'|'.join([*fields, own])}}};")
        self._names[id(layer)] = name
        self._owners.append(layer)
        return name

    def _product_matrix(self, call: Call, weights: np.ndarray, kind: str = "product") -> str:
        key = id(weights)
        if key not in self._names:
            name = f"{kind}_{len(self._names)}"
            made = self._matrix(f"{name}_weight", weights, f"{call.node}: weights")
            self.layers.append(f"static const struct matrix {name} = {made};")
            self._names[key] = name
            self._owners.append(weights)
        return self._names[key]

    # --- calls ---

    def layer(self, out: Writer, call: Call) -> None:
        """One direction of a recurrent layer."""
        layer = call.packed
        assert isinstance(layer, LayerWeights)
        if call.places[3] is not None:
            raise ExportError(f"{call.node}: its rows end at lengths of their own")
        name, cell = self._layer(call), _cell(layer)
        (time, batch), d, size = call.sizes, call.distances, layer.state_size
        t, b = out.loops((time, batch), "tb")
        at: tuple[list[tuple[str, int]], int] = (terms([t], [1]), 0)
        if call.kind and time > 1:
            at = ([(t, -1)], time - 1)

        def moved(position: int, step: int, row: int, shift: int = 0) -> str:
            along = [(v, sign * step) for v, sign in at[0]] + terms([b], [row])
            return self._pointer(call, position, along, (at[1] + shift) * step)

        def first(position: int, row: int, count: int) -> str:
            if call.places[position] is None:
                return self.places.zero_array(count)
            return self._pointer(call, position, terms([b], [row]))

        x, y = moved(0, d[0], d[1]), moved(4, d[4], d[5])
        h = first(1, d[2], size)
        if time > 1:
            before = moved(4, d[4], d[5], 1 if call.kind else -1)
            h = f"{t} == 0 ? {h} : {before}"
        target = y
        if layer.projection is not None:
            self.places.work = max(self.places.work, layer.hidden_size)
            target = "state->work"
        if cell == "lstm":
            c_new = self._pointer(call, 6, terms([b], [d[7]]))
            c = first(2, d[3], layer.hidden_size)
            c = c if time == 1 or c == c_new else f"{t} == 0 ? {c} : {c_new}"
            out.line(f"lstm(&{name}, {x}, {h}, {c}, {c_new}, {target});")
        elif cell == "gru_reset_before":
            self.places.work = max(self.places.work, 2 * layer.hidden_size)
            out.line(f"gru_reset_before(&{name}, {x}, {h}, {target}, state->work);")
        else:
            out.line(f"{cell}(&{name}, {x}, {h}, {target});")
        if layer.projection is not None:
            self.whole_rows = True
            projection = self._product_matrix(call, layer.projection, "projection")
            out.open(f"for (ptrdiff_t u = 0; u < {size}; u++)")
            out.line(f"({y})[u] = row_product(&{projection}, (size_t)u, state->work);")
            out.close()
        out.close(sum(variable != "0" for variable in (t, b)))
        self.whole_rows = True
        self._final_state(out, call, size)

    def _final_state(self, out: Writer, call: Call, size: int) -> None:
        if call.places[5] is None:
            return
        (time, batch), d = call.sizes, call.distances
        self.used.add("copy")
        last = 0 if call.kind else time - 1
        (b,) = out.loops([batch], "b")
        source = self._pointer(call, 4, terms([b], [d[5]]), last * d[4])
        out.line(f"copy({source}, {self._pointer(call, 5, terms([b], [d[6]]))}, {size});")
        out.close(b != "0")

    def product(self, out: Writer, call: Call) -> None:
        """A product with weights, or a convolution."""
        packed = call.packed
        assert isinstance(packed, Matrix)
        outer, rows, pieces, piece = call.sizes
        d, units = call.distances, len(packed.weights)
        matrix = self._product_matrix(call, packed.weights)
        start = "0.0f"
        if packed.bias is not None:
            key = id(packed.bias)
            if key not in self._names:
                self._names[key] = self.places.floats(
                    f"{matrix}_bias_{len(self._names)}", packed.bias, f"{call.node}: biases"
                )
                self._owners.append(packed.bias)
            start = f"{self._names[key]}[u]"
        i, j = out.loops((outer, rows), "ij")
        x = self._pointer(call, 0, terms([i, j], d[:2]))
        to = self._element(call, 1, [*terms([i, j], d[3:5]), ("u", 1)])
        out.open(f"for (ptrdiff_t u = 0; u < {units}; u++)")
        if pieces == 1:
            self.whole_rows = True
            value = f"{start} + " if start != "0.0f" else ""
            value += f"row_product(&{matrix}, (size_t)u, {x})"
        else:
            out.line(f"float sum = {start};")
            out.open(f"for (ptrdiff_t p = 0; p < {pieces}; p++)")
            part = self._pointer(call, 0, [*terms([i, j], d[:2]), ("p", d[2])])
            out.line(
                f"sum += part_product(&{matrix}, (size_t)u, (size_t)p * {piece}, {part}, {piece});"
            )
            out.close()
            value = "sum"
        if call.kind:
            self.used.add(_FUNCTIONS[call.kind])
            value = f"{_FUNCTIONS[call.kind]}({value})"
        out.line(f"{to} = {value};")
        out.close(1 + sum(variable != "0" for variable in (i, j)))

    def activate(self, out: Writer, call: Call) -> None:
        """A function of every number."""
        (i,) = out.loops(call.sizes[:1])
        step = terms([i], [1])
        self._with_v(out, self._element(call, 0, step))
        out.line(f"{self._element(call, 1, step)} = {self._activated(call)};")
        out.close(1 + (i != "0"))

    def _activated(self, call: Call) -> str:
        a, b = call.numbers
        if call.kind in _FUNCTIONS:
            self.used.add(_FUNCTIONS[call.kind])
            return f"{_FUNCTIONS[call.kind]}(v)"
        if call.kind == kinds.HARD_SIGMOID:
            v = f"(v * {number(a)} + {number(b)})"
            return f"{v} < 0.0f ? 0.0f : {v} > 1.0f ? 1.0f : {v}"
        if call.kind == kinds.CLIP:
            above = f"v > {number(b)} ? {number(b)} : v" if b != math.inf else "v"
            return f"v < {number(a)} ? {number(a)} : {above}" if a != -math.inf else above
        if call.kind not in _EXPRESSIONS:
            raise ExportError(f"{call.node}: the C target does not know this function")
        if call.kind == kinds.ELU:
            self.used.add("expm1_f")
        return _EXPRESSIONS[call.kind].format(a=number(a))

    def _with_v(self, out: Writer, value: str, other: str | None = None) -> None:
        """Open a block with an operand or two in `v` and `w`."""
        out.open("")
        out.line(f"const float v = {value};")
        if other is not None:
            out.line(f"const float w = {other};")

    def _over_shape(
        self, out: Writer, call: Call, operands: int, body: Callable[[list[str]], str]
    ) -> None:
        """Loop over a shape, with the elements of `operands` places and of one dense result."""
        sizes = list(call.sizes[: call.axes])
        variables = out.loops(sizes)
        elements = [
            self._element(
                call, place, terms(variables, call.distances[8 * place : 8 * place + len(sizes)])
            )
            for place in range(operands)
        ]
        if call.operation != COPY:
            dense = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
            elements.append(self._element(call, operands, terms(variables, dense)))
        out.line(body(elements))
        out.close(sum(variable != "0" for variable in variables))

    def arithmetic(self, out: Writer, call: Call) -> None:
        """A sum, product, … of two tensors."""
        if call.kind not in _BINARY:
            raise ExportError(
                f"{call.node}: powers of numbers that are computed are not known to the C target"
            )
        simple = _BINARY[call.kind]

        def body(elements: list[str]) -> str:
            x, z, y = elements
            if "?" not in simple:
                return f"{y} = {x} {simple[2]} {z};"
            sign = "<" if call.kind == kinds.MINIMUM else ">"
            return f"{y} = {z} != {z} || {z} {sign} {x} ? {z} : {x};"

        self._over_shape(out, call, 2, body)

    def copy(self, out: Writer, call: Call) -> None:
        """The same numbers in another order."""
        self._over_shape(out, call, 2, lambda e: f"{e[1]} = {e[0]};")

    def compare(self, out: Writer, call: Call) -> None:
        """Whether numbers are equal, smaller, …"""
        sign = _COMPARED[call.kind & 15]
        self._over_shape(out, call, 2, lambda e: f"{e[2]} = {e[0]} {sign} {e[1]};")

    def where(self, out: Writer, call: Call) -> None:
        """One of two numbers."""
        self._over_shape(out, call, 3, lambda e: f"{e[3]} = {e[0]} ? {e[1]} : {e[2]};")

    def fill(self, out: Writer, call: Call) -> None:
        """The same number everywhere."""
        (i,) = out.loops(call.sizes[:1])
        out.line(f"{self._element(call, 0, terms([i], [1]))} = {number(call.numbers[0])};")
        out.close(i != "0")

    def cast(self, out: Writer, call: Call) -> None:
        """Numbers of another dtype."""
        (i,) = out.loops(call.sizes[:1])
        step = terms([i], [1])
        x, y = self._element(call, 0, step), self._element(call, 1, step)
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

    def gather(self, out: Writer, call: Call) -> None:
        """Rows of a table by numbers that are computed."""
        self.may_fail = True
        count, size, rows = call.sizes[:3]
        (i,) = out.loops([count])
        out.open("")
        out.line(f"int64_t row = {self._element(call, 1, terms([i], [1]))};")
        out.line(f"if (row < 0) row += {rows};")
        out.line(f"if (row < 0 || row >= {rows}) return -1;")
        to = self._element(call, 2, [*terms([i], [size]), ("k", 1)])
        place = call.places[0]
        assert place is not None
        out.open(f"for (ptrdiff_t k = 0; k < {size}; k++)")
        if place[0].home == "constant" and call.distances[0] == size and not place[1]:
            assert place[0].array is not None
            table = np.asarray(place[0].array, np.float32).reshape(rows, size)
            name, stored = self.places.matrix(
                f"table_{len(self.places.arrays)}", table, f"{call.node}: a table"
            )
            value = _WIDE[stored.kind].format(name, f"row * {size} + k")
            if stored.kind == "float16":
                self.used.add("half_to_float")
            value += f" * {name}_scales[row]" if stored.scales is not None else ""
        else:
            value = self._element(call, 0, [("row", call.distances[0]), ("k", 1)])
        out.line(f"{to} = {value};")
        out.close(2 + (i != "0"))

    def softmax(self, out: Writer, call: Call) -> None:
        """Softmax of rows, or its logarithm."""
        name = "log_softmax" if call.kind else "softmax"
        self.used.add(name)
        rows, size = call.sizes[:2]
        out.line(f"{name}({self._pointer(call, 0)}, {self._pointer(call, 1)}, {rows}, {size});")

    def normalize(self, out: Writer, call: Call) -> None:
        """Layer normalization."""
        self.used.add("layer_norm")
        x, scale = self._pointer(call, 0), self._pointer(call, 1)
        bias = "0" if call.places[2] is None else self._pointer(call, 2)
        rows, size = call.sizes[:2]
        epsilon, y = number(call.numbers[0]), self._pointer(call, 3)
        out.line(f"layer_norm({x}, {scale}, {bias}, {epsilon}, {y}, {rows}, {size});")

    def reduce(self, out: Writer, call: Call) -> None:
        """The sum, mean, largest or smallest along an axis."""
        outer, size, inner = call.sizes[:3]
        i, j = out.loops((outer, inner), "ij")
        d = call.distances
        x = self._element(call, 0, [*terms([i, j], [d[0], 1]), ("s", d[1])])
        first = self._element(call, 0, terms([i, j], [d[0], 1]))
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
        out.line(f"{self._element(call, 1, terms([i, j], [inner, 1]))} = so_far{mean};")
        out.close(1 + sum(variable != "0" for variable in (i, j)))

    def depthwise(self, out: Writer, call: Call) -> None:
        """A convolution of each channel by itself."""
        batch, time, channels, kernel = call.sizes
        d = call.distances
        i, j = out.loops((batch, time), "ij")
        out.open(f"for (ptrdiff_t u = 0; u < {channels}; u++)")
        out.line(f"float sum = {self._element(call, 2, [('u', 1)])};")
        out.open(f"for (ptrdiff_t k = 0; k < {kernel}; k++)")
        x = [*terms([i, j], [d[0], d[1] * d[4]]), ("k", d[1] * d[5]), ("u", 1)]
        weight = self._element(call, 1, [("k", channels), ("u", 1)])
        out.line(f"sum += {weight} * {self._element(call, 0, x)};")
        out.close()
        out.line(f"{self._element(call, 3, [*terms([i, j], d[2:4]), ('u', 1)])} = sum;")
        out.close(1 + sum(variable != "0" for variable in (i, j)))


def _cell(layer: LayerWeights) -> str:
    return "rnn_relu" if (layer.cell, layer.nonlinearity) == ("rnn", "relu") else layer.cell


_WRITERS: dict[int, Callable[[Emitter, Writer, Call], None]] = {
    LAYER: Emitter.layer,
    PRODUCT: Emitter.product,
    ACTIVATE: Emitter.activate,
    ARITHMETIC: Emitter.arithmetic,
    COPY: Emitter.copy,
    FILL: Emitter.fill,
    GATHER: Emitter.gather,
    SOFTMAX: Emitter.softmax,
    NORMALIZE: Emitter.normalize,
    REDUCE: Emitter.reduce,
    DEPTHWISE: Emitter.depthwise,
    COMPARE: Emitter.compare,
    WHERE: Emitter.where,
    CAST: Emitter.cast,
}
