"""`Emitter`: what the C statements of a program refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnnedge_exporters.c_source.packing import Array, Floats, Kind
from rnnedge_exporters.c_source.places import Places
from rnnedge_exporters.c_source.program import dtypes_of
from rnnedge_exporters.c_source.text import index, number, pointer, whole
from rnnedge_runtime.plan.packing import IntegerWeights
from rnnedge_runtime.plan.values import Call


@dataclass(frozen=True, slots=True)
class MatrixDefinition:
    """A `struct matrix`.

    Attributes:
        kind: How it is stored.
        array: The name of its array.
        scales: The name of the array of its scales, or `NULL`.
        inputs: Its columns.
    """

    kind: Kind
    array: str
    scales: str
    inputs: int

    def initializer(self, kinds: Sequence[Kind]) -> str:
        """Return its initializer in a program whose matrices have these storages."""
        fields = [self.kind.upper()] if len(kinds) > 1 else []
        fields += [self.array, self.scales] if "int8" in kinds else [self.array]
        return "{" + ", ".join([*fields, str(self.inputs)]) + "}"


@dataclass(frozen=True, slots=True)
class LayerDefinition:
    """A `struct layer`.

    Attributes:
        hidden: Its hidden size.
        matrices: Of the input and of the state.
        bias: The name of its biases.
        bias_n: The name of those of a GRU's new gate, or `NULL`.
    """

    hidden: int
    matrices: tuple[MatrixDefinition, MatrixDefinition]
    bias: str
    bias_n: str

    def initializer(self, kinds: Sequence[Kind], *, gru: bool) -> str:
        """Return its initializer; `gru` is whether the program has a GRU."""
        fields = [str(self.hidden), *(matrix.initializer(kinds) for matrix in self.matrices)]
        fields += [self.bias, self.bias_n] if gru else [self.bias]
        return "{\n    " + ",\n    ".join(fields) + "}"


class Emitter:
    """What the calls of a program use, collected while they are written.

    Args:
        places: Where everything lies.

    Attributes:
        used: Kernels that are called.
        cells: Cells that are run.
        layers: Layers by name.
        matrices: Matrices by name.
        names: By identity, what weights and layers are called.
        owners: The objects of these identities.
        may_fail: Whether an index may be out of range.
        whole_rows: Whether whole rows of a matrix are multiplied in float32.
        widened: Storages of matrices that are multiplied in float32.
        integers: Whether others are multiplied as integers.
    """

    def __init__(self, places: Places) -> None:
        """Start with nothing."""
        self.places = places
        self.used: set[str] = set()
        self.cells: set[str] = set()
        self.layers: dict[str, LayerDefinition] = {}
        self.matrices: dict[str, MatrixDefinition] = {}
        self.may_fail = False
        self.whole_rows = False
        self.widened: set[Kind] = set()
        self.integers = False
        self.names: dict[int, str] = {}
        self.owners: list[object] = []

    def at(self, call: Call, position: int) -> tuple[str, int]:
        """Return the base of a place of a call, and elements from there."""
        place = call.places[position]
        assert place is not None
        return self.places.at(place, dtypes_of(call)[position])

    def pointer(
        self, call: Call, position: int, steps: Sequence[tuple[str, int]] = (), more: int = 0
    ) -> str:
        """Return a pointer to a place, moved by variables times steps, and by `more`."""
        base, offset = self.at(call, position)
        return pointer(base, index(offset + more, steps))

    def element(self, call: Call, position: int, steps: Sequence[tuple[str, int]]) -> str:
        """Return one element of a place, found by variables times steps, or a lone constant."""
        place = call.places[position]
        assert place is not None
        if (alone := place[0].array) is not None and alone.size == 1:
            return literal(alone)
        base, offset = self.at(call, position)
        return f"{base}[{index(offset, steps)}]"

    def matrix(self, name: str, weights: Floats, remark: str) -> MatrixDefinition:
        """Put a matrix into flash."""
        array, stored = self.places.matrix(name, weights, remark)
        self.places.stored.add(stored.kind)
        self.widened.add(stored.kind)
        scales = f"{array}_scales" if stored.scales is not None else "NULL"
        return MatrixDefinition(stored.kind, array, scales, weights.shape[1])

    def integer_matrix(self, name: str, weights: IntegerWeights, remark: str) -> MatrixDefinition:
        """Put a matrix that is multiplied as integers into flash."""
        array = self.places.integers(name, weights, remark)
        self.places.stored.add("int8")
        self.integers = True
        return MatrixDefinition("int8", array, f"{array}_scales", weights.values.shape[1])


def literal(array: Array) -> str:
    """Return the only element of an array."""
    value = array.reshape(-1)[0]
    text = number(float(value)) if array.dtype.kind == "f" else whole(int(value))
    return f"({text})" if value < 0 else text
