"""`open_engine`: the engine that a model is opened with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnedge_runtime.engine.options import Device, EngineOptions, Model

if TYPE_CHECKING:
    from rnnedge_runtime.engine.protocol import Engine


def open_engine(model: Model, *, device: Device, options: EngineOptions) -> Engine:
    """Open `model`.

    Args:
        model: Path of an `.onnx` file, or its bytes.
        device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which is CUDA if it works.
        options: The options for ONNX Runtime.

    Returns:
        The engine, which has read the model and can run it.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        DeviceError: If `device` is not a device, or is `cuda` and CUDA is not available.
        ModelError: If the model is missing, damaged, or refused by ONNX Runtime.
        OptionError: If this ONNX Runtime does not know an option, or a value is wrong.
    """
    # Imported here: ONNX Runtime takes ten times as long to import as the rest of this package.
    from rnnedge_runtime.engine.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, device=device, options=options)
