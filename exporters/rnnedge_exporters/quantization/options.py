"""The values that `quantize` and `dtype` take."""

from __future__ import annotations

from typing import Literal, TypeAlias

from rnnedge_exporters.errors import ExportError

Quantize: TypeAlias = Literal["int8", "int8:all"]
"""`int8` computes in int8 where that is faster and stores it elsewhere, `int8:all` computes in it
everywhere."""
DType: TypeAlias = Literal["float32", "float16"]
Storage: TypeAlias = Literal["float32", "int8", "int8_float16", "float16", "half"]
"""How weights are written: `float16` is widened to float32 when the session opens, `half` is what
the layers compute in. `int8_float16` has the input weights of a recurrent layer in float16, and all
else in int8."""


def check_options(quantize: object, dtype: object, target: str, lowering: str | None) -> None:
    """Refuse values and combinations that there are not.

    Raises:
        ExportError: When one is not known, or does not go with another.
    """
    if quantize == "int4":
        raise ExportError(
            "quantize: expected None, 'int8' or 'int8:all', got 'int4': 4 bits make five to ten "
            "times the error of 8"
        )
    if quantize not in (None, "int8", "int8:all"):
        raise ExportError(f"quantize: expected None, 'int8' or 'int8:all', got {quantize!r}")
    if dtype not in ("float32", "float16"):
        raise ExportError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if quantize is not None and dtype != "float32":
        raise ExportError(
            f"dtype={dtype!r}: goes with quantize=None, got {quantize!r}: int8 is the smaller one"
        )
    computed = str(lowering).endswith(("_int8", "_nbits"))
    if target == "c" and (computed or quantize == "int8:all"):
        option = f"lowering={lowering!r}" if computed else "quantize='int8:all'"
        raise ExportError(
            f"{option}: C computes in float32: quantize='int8' stores its weights in int8"
        )
    if computed and (quantize is None or target == "cuda"):
        raise ExportError(
            f"lowering={lowering!r}: computes in int8 on a CPU, and goes with quantize='int8' and "
            f"another target than 'cuda'"
        )
    if quantize == "int8:all" and lowering is not None and not computed:
        raise ExportError(
            f"lowering={lowering!r}: computes in float32, and quantize='int8:all' in int8: leave "
            "one out, or store int8 in that form with quantize='int8'"
        )
    if quantize == "int8:all" and target == "cuda":
        raise ExportError(
            "quantize='int8:all': the CUDA provider has no recurrent layer in int8: "
            "quantize='int8' stores the weights in int8"
        )


def storage_of(quantize: Quantize | None, dtype: DType, target: str) -> Storage:
    """Return how the weights are written that are not multiplied as integers."""
    if quantize is not None:
        return "int8"
    if dtype == "float16":
        return "half" if target == "cuda" else "float16"
    return "float32"
