"""The values that options take: the one list of each, for the command line too.

Nothing here needs PyTorch.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from rnnedge_exporters.errors import ExportError

Target: TypeAlias = Literal["cpu", "cuda", "portable", "c"]
FloatLowering: TypeAlias = Literal["operator", "scan", "switch"]
IntegerLowering: TypeAlias = Literal["operator_int8", "scan_int8", "scan_nbits"]
Quantize: TypeAlias = Literal["int8", "int8:all"]
"""`int8` computes in int8 where that is faster and stores it elsewhere, `int8:all` computes in it
everywhere."""
DType: TypeAlias = Literal["float32", "float16"]
Storage: TypeAlias = Literal["float32", "int8", "int8_float16", "float16", "half"]
"""How weights are written: `float16` is widened to float32 when the session opens, `half` is what
the layers compute in. `int8_float16` has the input weights of a recurrent layer in float16, and all
else in int8."""
TARGETS: tuple[Target, ...] = get_args(Target)
FLOAT_LOWERINGS: tuple[FloatLowering, ...] = get_args(FloatLowering)
INTEGER_LOWERINGS: tuple[IntegerLowering, ...] = get_args(IntegerLowering)
QUANTIZE: tuple[Quantize, ...] = get_args(Quantize)
DTYPES: tuple[DType, ...] = get_args(DType)


def check_options(quantize: object, dtype: object, target: str, lowering: str | None) -> None:
    """Refuse unknown values and unsupported combinations.

    Raises:
        ExportError: When one is not known, or cannot be combined with another.
    """
    if quantize == "int4":
        raise ExportError(
            "quantize: expected None, 'int8' or 'int8:all', got 'int4': 4 bits make five to ten "
            "times the error of 8"
        )
    if quantize not in (None, *QUANTIZE):
        raise ExportError(f"quantize: expected None, 'int8' or 'int8:all', got {quantize!r}")
    if dtype not in DTYPES:
        raise ExportError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
    if quantize is not None and dtype != "float32":
        raise ExportError(
            f"dtype={dtype!r}: requires quantize=None, got {quantize!r}: int8 is the smaller one"
        )
    computed = lowering in INTEGER_LOWERINGS
    if target == "c":
        _check_integers_in_c(lowering)
    if computed and (quantize is None or target == "cuda"):
        raise ExportError(
            f"lowering={lowering!r}: computes in int8 on a CPU, and requires quantize='int8' and "
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


def _check_integers_in_c(lowering: str | None) -> None:
    """Refuse forms of integers that C is not written from."""
    if lowering in INTEGER_LOWERINGS and lowering != "scan_int8":
        raise ExportError(
            f"lowering={lowering!r}: C is not written from it: expected 'scan_int8', which "
            "quantize='int8:all' takes"
        )


def check_target_option(target: object) -> None:
    """Refuse a target that is unknown.

    Raises:
        ExportError: When it is not one of `TARGETS`.
    """
    if target not in TARGETS:
        *first, last = map(repr, TARGETS)
        raise ExportError(f"target: expected {', '.join(first)} or {last}, got {target!r}")


def storage_of(quantize: Quantize | None, dtype: DType, target: str) -> Storage:
    """Return how the weights are written that are not multiplied as integers."""
    if quantize is not None:
        return "int8"
    if dtype == "float16":
        return "half" if target == "cuda" else "float16"
    return "float32"
