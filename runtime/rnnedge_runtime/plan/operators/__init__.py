"""How each operator of ONNX is laid out: as kernel calls, as a view, or as a constant."""

from __future__ import annotations

from rnnedge_runtime.plan.operators import (
    arithmetic,
    control,
    convolution,
    folding,
    integers,
    movement,
    products,
    recurrent,
    reductions,
    scan,
)
from rnnedge_runtime.plan.tracer import Operator

FOLDS = folding.FOLDS
"""Operators that are computed at once where all of their inputs are constants."""
OPERATORS: dict[str, Operator] = {
    **arithmetic.OPERATORS,
    **control.OPERATORS,
    **convolution.OPERATORS,
    **integers.OPERATORS,
    **movement.OPERATORS,
    **products.OPERATORS,
    **recurrent.OPERATORS,
    **reductions.OPERATORS,
    **scan.OPERATORS,
}
"""Operators that the native engine knows."""
