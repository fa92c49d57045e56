"""The cost of computing in int8 on a processor without instructions for it."""

from __future__ import annotations

from collections.abc import Collection

_BY_ROW = ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_BY_BLOCK = "MatMulNBits"


def integer_cost(operators: Collection[str], features: frozenset[str] | None) -> str | None:
    """Say what integer products cost on this processor, if they are slower than float32.

    The figures were measured with layers of hidden 256 and 512 in ONNX Runtime 1.32, with the
    instructions hidden from it (`python -m benchmarks.quantized --instructions avx`).

    Args:
        operators: The operators of the model.
        features: Instruction sets of the processor by Linux's names; None if they are unknown.

    Returns:
        One line, or None if integer products are not slow here.
    """
    rows, blocks = any(name in operators for name in _BY_ROW), _BY_BLOCK in operators
    if features is None or not (rows or blocks):
        return None
    if "sse2" in features:
        if "avx2" in features:
            return None
        times = "8 to 16" if blocks else "1.3 to 3"
        return (
            f"this processor has no AVX2, so layers computed in int8 take {times} times as long as "
            "in float32: export with quantize='int8' and lowering='operator' ('scan' for a "
            "projection), which stores int8 and computes in float32"
        )
    if "asimddp" in features:
        return None
    return (
        "this processor has no integer dot product (asimddp), and the cost of int8 on it was not "
        "measured: compare with the float32 file"
    )
