"""Where the tensors of a program lie in C: in the struct, in flash, or with the caller."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rnnedge_exporters.c_source.cell_kernels import CELLS
from rnnedge_exporters.c_source.element_kernels import KERNELS
from rnnedge_exporters.c_source.packing import Array, Floats, Kind, Stored, store
from rnnedge_exporters.c_source.program import SizedProgram, State
from rnnedge_exporters.c_source.text import identifier
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.plan.packing import IntegerWeights
from rnnedge_runtime.plan.tracer import LAYER
from rnnedge_runtime.plan.values import ITEM, Buffer, Call, Dtype

C_TYPES: dict[Dtype, str] = {"float32": "float", "int64": "int64_t", "bool": "uint8_t"}
SCRATCH: dict[Dtype, str] = {
    "float32": "scratch",
    "int64": "scratch_int64",
    "bool": "scratch_bool",
}
_ELEMENTS = {"float32": "float", "float16": "uint16_t", "int8": "int8_t"}
_OWN = """
    state steps step work next turn zeros first second failed row sum so_far
    product part_product row_product matrix layer
    rounded scale nearest quantize integer_product integer_row
"""
_RESERVED = (*_OWN.split(), *SCRATCH.values(), *"ijklmnpqtubsvw")
"""Names that generated functions use themselves."""
_NUMBERED = re.compile(r"(rnn|lstm|gru|product|projection|table)_\w+", re.IGNORECASE)
"""What the layers and matrices of a program are called."""


@dataclass(frozen=True, slots=True)
class FlashArray:
    """A constant array: its C type and name, the values, and a remark."""

    type: str
    name: str
    values: Array
    remark: str


@dataclass(slots=True)
class Places:
    """Names everything that a program reads and writes.

    Attributes:
        program: The program.
        prefix: What every name outside a file starts with.
        kinds: Storages that weights may take, the narrowest first.
        arrays: What lies in flash, in the order in which it was found.
        in_place: The states whose new value is written over the old one.
        stored: The storages in use.
        zeros: Elements of the array of zeros, 0 where none is needed.
        work: Floats of memory that a layer needs for itself.
        rounded: Integers of 16 bits of a row that is multiplied as integers.
    """

    program: SizedProgram
    prefix: str
    kinds: tuple[Kind, ...]
    arrays: list[FlashArray] = field(default_factory=list)
    in_place: frozenset[str] = frozenset()
    stored: set[Kind] = field(default_factory=set)
    zeros: int = 0
    work: int = 0
    rounded: int = 0
    names: dict[tuple[str, int], str] = field(default_factory=dict)
    _constants: dict[Buffer, str] = field(default_factory=dict)
    _matrices: dict[tuple[int, int], tuple[str, Stored]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Name inputs, outputs and states."""
        functions = (f"{self.prefix}_{verb}" for verb in ("init", "step", "run", "state"))
        taken = {*_RESERVED, *KERNELS, *CELLS, self.prefix, *functions}
        for key, port in self.program.ports.items():
            self.names[key] = _own_name(port.spec.name, taken)
            taken.add(self.names[key])
        for state in self.program.states:
            name = _own_name(state.name, taken)
            taken |= {name, f"next_{name}"}
            self.names["input", state.input] = name
        self.in_place = frozenset(
            state.name
            for state in self.program.states
            if may_be_in_place(self.program.calls, state)
        )

    def state_name(self, state: State) -> str:
        """Return the member of the struct that holds a state."""
        return self.names["input", state.input]

    def base(self, buffer: Buffer, dtype: Dtype) -> str:
        """Return the C expression of the start of a buffer."""
        if buffer.home == "arena":
            return f"state->{SCRATCH[dtype]}"
        if buffer.home == "constant":
            return self._constant(buffer, dtype)
        if buffer.home == "input" and buffer.index in self.program.from_zero:
            return self.zero_array(self.program.from_zero[buffer.index])
        for state in self.program.states:
            name = self.state_name(state)
            if (buffer.home, buffer.index) == ("input", state.input):
                return f"state->{name}"
            if (buffer.home, buffer.index) == ("output", state.output):
                return f"state->{name}" if state.name in self.in_place else f"state->next_{name}"
        return self.names[buffer.home, buffer.index]

    def at(self, place: tuple[Buffer, int], dtype: Dtype) -> tuple[str, int]:
        """Return the start of the buffer of a place, and elements into it."""
        root, more = place[0].root()
        offset = place[1] + more + (root.index if root.home == "arena" else 0)
        return self.base(root, dtype), offset // ITEM[dtype]

    def zero_array(self, count: int) -> str:
        """Return an array of `count` zeros in flash."""
        self.zeros = max(self.zeros, count)
        return "zeros"

    def floats(self, name: str, values: Floats, remark: str) -> str:
        """Put floats into flash, and return their name."""
        check_finite(values, remark)
        full = f"{self.prefix}_{name}"
        self.arrays.append(FlashArray("float", full, np.asarray(values, np.float32), remark))
        return full

    def matrix(self, name: str, weights: Floats, remark: str) -> tuple[str, Stored]:
        """Put a matrix into flash once, and return its name and how it is stored."""
        key = (weights.ctypes.data, weights.size)
        if key in self._matrices:
            return self._matrices[key]
        check_finite(weights, remark)
        stored = store(weights, self.kinds)
        full = f"{self.prefix}_{name}"
        self.arrays.append(FlashArray(_ELEMENTS[stored.kind], full, stored.elements, remark))
        if stored.scales is not None:
            self.arrays.append(FlashArray("float", f"{full}_scales", stored.scales, "its scales"))
        self._matrices[key] = full, stored
        return full, stored

    def integers(self, name: str, weights: IntegerWeights, remark: str) -> str:
        """Put a matrix of integers and its scales into flash once, and return its name."""
        key = (weights.values.ctypes.data, weights.values.size)
        if key not in self._matrices:
            scales = np.asarray(weights.scales, np.float32)
            check_finite(scales, remark)
            full = f"{self.prefix}_{name}"
            self.arrays.append(FlashArray("int8_t", full, weights.values, remark))
            self.arrays.append(FlashArray("float", f"{full}_scales", scales, "its scales"))
            self._matrices[key] = full, Stored("int8", weights.values, scales)
        return self._matrices[key][0]

    def _constant(self, buffer: Buffer, dtype: Dtype) -> str:
        if buffer not in self._constants:
            assert buffer.array is not None
            if dtype == "float32":
                check_finite(buffer.array, "a constant")
            values = buffer.array.astype(np.uint8) if dtype == "bool" else buffer.array
            name = f"{self.prefix}_constant_{len(self._constants)}"
            remark = f"a constant of shape {list(buffer.array.shape)}"
            self.arrays.append(FlashArray(C_TYPES[dtype], name, values, remark))
            self._constants[buffer] = name
        return self._constants[buffer]

    @property
    def flash_bytes(self) -> int:
        """Bytes of all constants, each array filled up to a multiple of 4."""
        return sum(-(-array.values.nbytes // 4) * 4 for array in self.arrays) + 4 * self.zeros

    @property
    def state_bytes(self) -> int:
        """Bytes of the states, twice where the new value cannot be written over the old one."""
        states = self.program.states
        return sum(4 * s.size * (1 if s.name in self.in_place else 2) for s in states)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the memory between calls."""
        return sum(self.program.arenas.values()) + 4 * self.work + 2 * self.rounded

    @property
    def struct_bytes(self) -> int:
        """Bytes of the struct."""
        size = self.state_bytes + self.scratch_bytes
        alignment = max((ITEM[dtype] for dtype in self.program.arenas), default=1)
        if self.state_bytes or self.work:
            alignment = max(alignment, 4)
        alignment = max(alignment, 2 if self.rounded else 1)
        return max(-(-size // alignment) * alignment, 1)


def _own_name(name: str, taken: set[str]) -> str:
    """Return what a tensor is called in C."""
    made = identifier(name, taken)
    return identifier(f"of_{made}", taken) if _NUMBERED.fullmatch(made) else made


def check_finite(values: Array, what: str) -> None:
    """Refuse weights that C has no literal for.

    Raises:
        ExportError: For NaN or infinity.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ExportError(f"{what}: holds NaN or infinity, which a C program cannot hold: mend it")


def may_be_in_place(calls: Sequence[Call], state: State) -> bool:
    """Whether no call reads the old value of a state once its new one is written over it."""
    reads: list[tuple[int, int, range]] = []
    writes: list[tuple[int, int, range]] = []
    for number, call in enumerate(calls):
        first_written = len(call.places) - call.writes
        for position, place in enumerate(call.places):
            if place is None:
                continue
            root, more = place[0].root()
            span = _span(call, position, place[1] + more, root.size)
            if (root.home, root.index) == ("input", state.input):
                reads.append((number, position, span))
            written = position >= first_written
            if written and (root.home, root.index) == ("output", state.output):
                writes.append((number, position, span))
    for number, position, span in writes:
        for other, read, seen in reads:
            if other < number or seen.start >= span.stop or span.start >= seen.stop:
                continue
            same = other == number and seen == span and position - read == 4
            if not (same and calls[number].operation == LAYER and read in (1, 2)):
                return False
    return True


def _span(call: Call, position: int, offset: int, size: int) -> range:
    """Return the bytes of a buffer that a call may touch at a place."""
    if call.operation != LAYER or position not in (1, 2, 5, 6):
        return range(size)
    layer = call.packed
    features = layer.state_size if position in (1, 5) else layer.hidden_size  # type: ignore[attr-defined]
    apart = call.distances[{1: 2, 2: 3, 5: 6, 6: 7}[position]]
    return range(offset, offset + 4 * ((call.sizes[1] - 1) * apart + features))
