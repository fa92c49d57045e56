"""What a C program takes: bytes of flash, RAM and stack, and multiply-accumulates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rnnedge_exporters.c_source.emitter import Emitter
from rnnedge_exporters.c_source.integer_kernels import CELLS_OF_INTEGERS, cell_of_integers
from rnnedge_exporters.c_source.kernels import needed
from rnnedge_exporters.c_source.packing import Kind
from rnnedge_exporters.c_source.program import SizedProgram

_CODE = {
    "copy": 20, "erf_f": 232, "exp_f": 128, "exp_split": 158, "expm1_f": 68, "gru": 212,
    "gru_reset_before": 216, "half_to_float": 44, "layer_norm": 184, "log_f": 288,
    "log_softmax": 140, "lstm": 188, "pow2": 10, "relu": 20, "rnn": 82, "rnn_relu": 82,
    "sigmoid": 92, "softmax": 132, "softplus": 96, "sqrt_f": 132, "tanh_f": 116,
}  # fmt: skip
_CODE |= {
    cell_of_integers(cell, input=input): _CODE[cell]
    for cell in CELLS_OF_INTEGERS
    for input in (False, True)
}
_PRODUCT: dict[Kind, int] = {"float32": 140, "float16": 148, "int8": 168}
"""Bytes of each kernel on a Cortex-M4F, compiled with GCC's `-Os`."""
_INTEGERS = 380
"""Bytes of products of integers."""
_PER_LAYER = 28
"""Bytes of what describes a layer or a matrix."""
_AROUND, _PER_LINE, _PER_TERM = 38.0, -9.5, 3.9
"""Bytes of the calls by their lines and the terms of their expressions, fitted to 17 programs: the
estimate of the whole is off by at most 7 percent there."""
_STACK = 256
"""Bytes: the deepest of these programs takes 244."""
_TERM = re.compile(r"->|[\[(+*,?]")


@dataclass(frozen=True, slots=True)
class ProgramSizes:
    """What a program takes.

    Attributes:
        weights: Bytes of constants in flash, exactly.
        code: About how many bytes of code lie in flash, on a Cortex-M4F with `-Os`.
        state: Bytes of RAM of one state, exactly; the caller places it.
        stack: About how many bytes of stack a call takes at most, likewise.
        macs: Multiply-accumulates of one step, or of a run where there is no step.
    """

    weights: int
    code: int
    state: int
    stack: int
    macs: int


def sizes_of(program: SizedProgram, emitter: Emitter, body: Sequence[str]) -> ProgramSizes:
    """Return what a program takes.

    Args:
        program: The program.
        emitter: What has written its calls.
        body: The lines of the calls.
    """
    places = emitter.places
    code = sum(_CODE[name] for name in needed(emitter.used, emitter.cells))
    code += sum(_CODE[cell] for cell in emitter.cells)
    code += sum(_PRODUCT[kind] for kind in emitter.widened)
    code += _INTEGERS if emitter.integers else 0
    code += _PER_LAYER * (len(emitter.layers) + len(emitter.matrices))
    lines = [line for line in body if not line.lstrip().startswith(("/*", "}"))]
    terms = sum(len(_TERM.findall(line)) for line in lines)
    code += max(int(_AROUND + _PER_LINE * len(lines) + _PER_TERM * terms), 0)
    return ProgramSizes(
        weights=places.flash_bytes,
        code=-(-code // 10) * 10,
        state=places.struct_bytes,
        stack=_STACK,
        macs=program.macs,
    )
