"""torch's table of translations to ONNX, read once in a process, and what it does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from onnxscript import opset18 as op

_lock = RLock()
_kept: dict[int, Any] = {}
"""The table by operator set."""


@contextmanager
def kept_translations(opset: int) -> Iterator[None]:
    """Give each `torch.onnx.export` in the block the table that the first one in the process read.

    torch reads it anew at each call, and parses the source of some 550 functions for it: half of
    the time that the export of a small module takes (torch 2.13, onnxscript 0.7.2). A torch that
    keeps its table elsewhere is left to do so.

    Args:
        opset: The operator set that is exported to.
    """
    with _lock:  # what one thread puts back must not be the table of another
        try:
            from torch.onnx._internal.exporter._registration import ONNXRegistry

            own = vars(ONNXRegistry)["from_torchlib"]
        except (ImportError, KeyError):
            yield
            return
        if opset not in _kept:
            _kept[opset] = ONNXRegistry.from_torchlib(opset_version=opset)
            _kept[opset].register_op(torch.ops.prims.prod.default, _product)
        table = _kept[opset]
        ONNXRegistry.from_torchlib = staticmethod(lambda **_: table)  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            ONNXRegistry.from_torchlib = own  # type: ignore[method-assign]


def _product(inp: Any, dims: Any = None, *, output_dtype: int = -1) -> Any:
    """Translate what `torch.cumprod` is decomposed into (missing in torch 2.13 to 2.15)."""
    axes: Any = op.Constant(value_ints=dims)
    return op.ReduceProd(inp, axes, keepdims=0)
