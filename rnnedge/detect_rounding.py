"""Whether a file holds weights in fewer bits, found without onnx and PyTorch."""

from __future__ import annotations

import os
from pathlib import Path

from rnnedge_runtime.contract import Contract

_OPERATORS = (b"DynamicQuantize", b"MatMulInteger", b"DequantizeLinear", b"ConvInteger")
"""What other tools put into a file; the contract of one that was float32 they leave as it is."""


def may_be_rounded(path: str | os.PathLike[str], contract: Contract | None) -> bool:
    """Whether a file has weights in int8 or float16 by its contract, or by its operators.

    Args:
        path: The file.
        contract: What rnnedge wrote into it, or None.
    """
    if contract is not None and (contract.quantization or contract.dtype != "float32"):
        return True
    content = Path(path).read_bytes()
    return any(operator in content for operator in _OPERATORS)
