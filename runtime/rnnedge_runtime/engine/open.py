"""`open_engine`: the engine that a model is opened with."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from rnnedge_runtime.engine.options import Device, EngineName, EngineOptions, Model
from rnnedge_runtime.errors import (
    DeviceError,
    MissingPackageError,
    ModelError,
    OptionError,
    one_line,
)

if TYPE_CHECKING:
    from rnnedge_runtime.engine.native import NativeEngine
    from rnnedge_runtime.engine.protocol import Engine

_ENGINES = ("auto", "native", "onnxruntime")


def open_engine(
    model: Model, *, device: Device, options: EngineOptions, engine: EngineName = "onnxruntime"
) -> Engine:
    """Open `model`.

    Args:
        model: Path of an `.onnx` file, or its bytes.
        device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which is CUDA if it works.
        options: The options for ONNX Runtime.
        engine: `native`, `onnxruntime`, or `auto`, which takes the native engine where it is
            installed, knows the model, and was measured to be no slower.

    Returns:
        The engine, which has read the model and can run it; its `reason` says why it was chosen.

    Raises:
        MissingPackageError: If the package of the engine is not installed.
        DeviceError: If `device` is not a device, is `cuda` and CUDA is not available, or is `cuda`
            for the native engine.
        ModelError: If the model is missing, damaged, or refused by the engine.
        OptionError: If `engine` or an option is unknown to it, or a value is wrong.
    """
    if engine not in _ENGINES:
        raise OptionError(f"engine: expected {', '.join(_ENGINES)}, got {engine!r}")
    try:
        return _open(model, device, options, engine)
    except (ModelError, TypeError) as error:
        from rnnedge_runtime.not_a_model import not_a_model  # errors alone need it

        known = not_a_model(model)
        if known is None:
            raise
        raise known from error


def _open(model: Model, device: Device, options: EngineOptions, engine: EngineName) -> Engine:
    if engine == "native":
        return _native(model, device, options)
    reason = "it was asked for"
    if engine == "auto":
        found = _native_if_no_slower(model, device, options)
        if not isinstance(found, str):
            return found
        reason = found
    try:
        # Imported here: ONNX Runtime takes ten times as long to import as the rest of this package.
        from rnnedge_runtime.engine.onnx_runtime import OnnxRuntimeEngine
    except MissingPackageError:
        if engine == "auto" and device != "cuda" and find_spec("rnnedge_native") is not None:
            return _native(model, device, options, reason="onnxruntime is not installed")
        raise
    return OnnxRuntimeEngine(model, device=device, options=options, reason=reason)


def _native(
    model: Model, device: Device, options: EngineOptions, *, reason: str = "it was asked for"
) -> NativeEngine:
    if device == "cuda":
        raise DeviceError("device 'cuda': the native engine runs on the CPU: use device='cpu'")
    hindrance = _hindrance(options)
    if hindrance:
        raise OptionError(f"{hindrance}: leave it out, or use engine='onnxruntime'")
    try:
        from rnnedge_runtime.engine.native import NativeEngine, read_plan
    except ImportError as error:
        raise MissingPackageError(
            "engine='native'", "rnnedge-native", "pip install 'rnnedge-runtime[native]'"
        ) from error
    return NativeEngine(read_plan(model, options.threads), options=options, reason=reason)


def _native_if_no_slower(
    model: Model, device: Device, options: EngineOptions
) -> NativeEngine | str:
    """Return the native engine, or why it is not taken."""
    if device != "cpu":
        return f"device {device!r} was asked for, and the native engine runs on the CPU"
    if find_spec("rnnedge_native") is None:
        return "rnnedge-native is not installed"
    if options.threads != 1:
        given = "" if options.threads is None else f"={options.threads}"
        return f"threads{given}: the native engine was compared with threads=1"
    hindrance = _hindrance(options)
    if hindrance:
        return hindrance
    try:  # imported only where it may be taken
        from rnnedge_runtime.engine.native import NativeEngine, read_plan, why_not
    except ImportError as error:
        return f"rnnedge-native cannot be imported: {one_line(error)}"
    try:
        plan = read_plan(model, options.threads)
    except ModelError as error:  # of a damaged file ONNX Runtime reports what it finds
        return str(error)
    hindrance = why_not(plan)
    if hindrance:
        return hindrance
    return NativeEngine(plan, options=options, reason="it was measured to be no slower")


def _hindrance(options: EngineOptions) -> str:
    """Return what was set that only ONNX Runtime can do, in words, or nothing."""
    if options.entries:
        return f"options: {next(iter(options.entries))} is an option of ONNX Runtime"
    return ""
