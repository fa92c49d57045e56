"""Opening ONNX Runtime: every option and every provider decision is made here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeAlias

from rnnedge_runtime.errors import (
    DeviceError,
    MissingPackageError,
    ModelError,
    engine_errors,
)

if TYPE_CHECKING:
    import onnxruntime

Device: TypeAlias = Literal["cpu", "cuda", "auto"]
Model: TypeAlias = "str | os.PathLike[str] | bytes"

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_FATAL_ONLY = 4
"""ONNX Runtime's severity: what it logs as an error it raises too, and then it is in our message;
warnings of the optimizer are no business of an app's stderr."""


def open_engine(
    model: Model, *, device: Device, threads: int | None
) -> tuple[onnxruntime.InferenceSession, Literal["cpu", "cuda"]]:
    """Open `model` in ONNX Runtime.

    Args:
        model: Path of an `.onnx` file, or its bytes.
        device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which is CUDA where it works.
        threads: Threads inside one operator, 1 or more; None leaves ONNX Runtime's default, the
            number of physical cores.

    Returns:
        The session and the device that it runs on.

    Raises:
        MissingPackageError: When onnxruntime is not installed.
        DeviceError: When `device` is not a device, or CUDA was asked for and cannot be had.
        ModelError: When the model is missing, damaged, or refused by ONNX Runtime.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            "rnnedge_runtime.Session", "onnxruntime", 'pip install "rnnedge-runtime[cpu]"'
        ) from error

    if device not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ModelError(f"threads: expected None or an integer of 1 or more, got {threads!r}")

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads

    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    if not isinstance(model, bytes) and not os.path.isfile(model):
        raise ModelError(f"{name}: expected an ONNX file, found no such file")

    def session(providers: list[str]) -> onnxruntime.InferenceSession:
        path_or_bytes = model if isinstance(model, bytes) else os.fspath(model)
        with engine_errors(f"{name} cannot be opened by ONNX Runtime", ModelError):
            made = onnxruntime.InferenceSession(
                path_or_bytes,
                options,
                providers=providers,
                # Its Python layer answers an error by a print and a second try on the CPU.
                enable_fallback=int(_CUDA in providers),
            )
            made.disable_fallback()  # while running, a failing CUDA must not become the CPU
            return made

    if device == "cpu":
        return session([_CPU]), "cpu"

    reason = _why_no_cuda(onnxruntime.get_available_providers())
    if reason is None:
        opened = session([_CUDA, _CPU])
        # A provider that fails to start (no driver, wrong cuDNN) is left out with only a warning.
        if _CUDA in opened.get_providers():
            return opened, "cuda"
        reason = (
            "its CUDA provider is installed but did not start: check the NVIDIA driver, and that "
            "CUDA and cuDNN have the versions that this onnxruntime-gpu was built for"
        )
    if device == "cuda":
        raise DeviceError(
            f"device='cuda': ONNX Runtime {onnxruntime.__version__} offers no CUDA here: {reason}"
        )
    return session([_CPU]), "cpu"


def _why_no_cuda(available: list[str]) -> str | None:
    if _CUDA in available:
        return None
    return (
        f"this build has {', '.join(available)} only; replace onnxruntime by onnxruntime-gpu "
        '(pip uninstall onnxruntime, then pip install "rnnedge-runtime[gpu]"), or use device="cpu"'
    )
