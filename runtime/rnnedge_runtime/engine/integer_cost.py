"""What a model that computes in int8 costs on a processor without the instructions for it."""

from __future__ import annotations

from collections.abc import Collection

_BY_ROW = ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_BY_BLOCK = "MatMulNBits"


def integer_cost(operators: Collection[str], features: frozenset[str] | None) -> str | None:
    """Say what products of integers cost on this processor, where they are not what makes it fast.

    The figures are those of layers of hidden 256 and 512 in ONNX Runtime 1.32, with the
    instructions hidden from it (`python -m benchmarks.quantized --instructions avx`).

    Args:
        operators: Those of the model.
        features: Instruction sets of the processor by Linux's names; None when they are not known.

    Returns:
        One line, or None when there is nothing to say.
    """
    rows, blocks = any(name in operators for name in _BY_ROW), _BY_BLOCK in operators
    if features is None or not (rows or blocks):
        return None
    if "sse2" in features:
        if "avx2" in features:
            return None
        times = "8 to 16" if blocks else "1.3 to 3"
        return (
            f"this processor has no AVX2: layers that compute in int8 take {times} times as long "
            "as in float32: export with quantize='int8' and lowering='operator' (with a projection "
            "'scan'), which stores int8 alone"
        )
    if "asimddp" in features:
        return None
    return (
        "this processor has no dot product of integers (asimddp): what int8 costs here was not "
        "measured: run the float32 file beside it"
    )
