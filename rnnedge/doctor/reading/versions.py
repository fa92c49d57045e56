"""Which release of ONNX Runtime loads what, and which domains of operators who knows."""

from __future__ import annotations

ONNX_RUNTIME = (
    # release, highest opset, highest IR version
    ("1.0", 11, 6),
    ("1.3", 12, 7),
    ("1.6", 13, 7),
    ("1.8", 14, 7),
    ("1.9", 15, 8),
    ("1.11", 16, 8),
    ("1.12", 17, 8),
    ("1.14", 18, 8),
    ("1.15", 19, 8),
    ("1.16", 19, 9),
    ("1.17", 20, 9),
    ("1.18", 21, 10),
    ("1.21", 22, 10),
    ("1.23", 23, 11),
    ("1.24", 25, 13),
    ("1.32", 28, 14),
)
"""The first release that loads each pair. To 1.18 as published, from 1.21 on as seen by loading
files with the releases 1.21.1, 1.22.1, 1.23.2, 1.24.1 and 1.32.0, in November 2026.

https://onnxruntime.ai/docs/reference/compatibility.html
"""

LOWEST_OPSET = 7
"""What every ONNX Runtime supports at least (same page)."""

USUAL_OPSET, USUAL_IR = 17, 8
"""What ONNX Runtime 1.12 of 2022 loads; below these nothing is said."""

LAYER_OPSET, MODULE_OPSET = 17, 18
"""The lowest that `rnnedge export` writes, of one layer and of a module with layers inside."""

DOMAINS = {
    "": "",
    "ai.onnx": "",
    "ai.onnx.ml": "classical models; ONNX Runtime has it, and few others do",
    "com.microsoft": "ONNX Runtime's own operators: no other runtime has them",
    "com.microsoft.nchwc": "made for one processor by ONNX Runtime: save the model unoptimized",
    "ai.onnx.preview.training": "training: ONNX Runtime for inference does not have it",
    "org.pytorch.aten": "PyTorch's own operators, left in place: no runtime has them",
}


def first_release(opset: int, ir_version: int) -> str | None:
    """Return the first release of ONNX Runtime that loads a file, or None when none is known."""
    fits = (release for release, o, ir in ONNX_RUNTIME if o >= opset and ir >= ir_version)
    return next(fits, None)
