"""Opens ONNX Runtime: every option is set and every provider is chosen here."""

from __future__ import annotations

import os
import sys
from typing import Literal

from rnnedge_runtime.engine.library import onnxruntime
from rnnedge_runtime.engine.opening_cost import check_opening
from rnnedge_runtime.engine.options import CPU, Device, EngineOptions, Model
from rnnedge_runtime.errors import (
    DeviceError,
    ModelError,
    OptionError,
    engine_errors,
    one_line,
)

_CUDA = "CUDAExecutionProvider"
_CONVOLUTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
"""By default, cuDNN tries every algorithm at each length that it has not seen. For two layers of 96
channels, the first call took 588 ms and each new length 22 ms; with this, 31 ms and 8 ms."""
_FATAL_ONLY = 4
"""The severity at which ONNX Runtime logs. Its errors are raised too, and are part of our messages;
warnings of its optimizer do not belong on an application's stderr."""

_AREAS = r"(?:session|optimization|memory|mlas|ep)\."
"""How the names of its session configuration entries start."""
_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""Set for every session: `SessionInfo` reads from it where each node runs. No cost was measured
(opening a model of 40 nodes took 5.35 ms with it and 5.37 ms without)."""


def open_inference_session(
    model: Model, *, device: Device, options: EngineOptions
) -> tuple[onnxruntime.InferenceSession, Literal["cpu", "cuda"]]:
    """Open `model` in ONNX Runtime.

    Args:
        model: Path of an `.onnx` file, or its bytes.
        device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which is CUDA if it works.
        options: The options for ONNX Runtime.

    Returns:
        The session and the device that it runs on.

    Raises:
        DeviceError: If `device` is not a device, or is `cuda` and CUDA is not available.
        ModelError: If the model is missing, damaged, or refused by ONNX Runtime.
        OptionError: If this ONNX Runtime does not know an option, or a value is wrong.
    """
    if device not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}")
    settings = _settings(options)

    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    if not isinstance(model, bytes) and not os.path.isfile(model):
        from rnnedge_runtime.not_a_model import not_a_model  # errors alone need it

        raise not_a_model(model) or ModelError(f"{name}: expected an ONNX file")
    check_opening(model, name)

    def session(*providers: str | tuple[str, dict[str, str]]) -> onnxruntime.InferenceSession:
        path_or_bytes = model if isinstance(model, bytes) else os.fspath(model)
        with engine_errors(f"{name} cannot be opened by ONNX Runtime", ModelError):
            made = onnxruntime.InferenceSession(
                path_or_bytes,
                settings,
                providers=list(providers),
                # Its Python layer would print an error and try again on the CPU.
                enable_fallback=0,
            )
            made.disable_fallback()  # while running, a failing CUDA must not become the CPU
            return made

    if device == "cpu":
        return session(CPU), "cpu"

    reason = _why_no_cuda(onnxruntime.get_available_providers())
    if reason is None:
        why = _load_cuda_libraries()
        try:
            opened = session((_CUDA, {**_CONVOLUTIONS, "use_tf32": str(int(options.tf32))}), CPU)
        except ModelError as error:
            session(CPU)  # a faulty model fails here too
            why = one_line(error.__cause__ or error)
        else:
            # A provider that fails to start (no driver, no cuDNN) is left out with only a warning.
            if _CUDA in opened.get_providers():
                return opened, "cuda"
        reason = (
            "its CUDA provider is installed but did not start: check the NVIDIA driver, and that "
            "CUDA and cuDNN have the versions that this onnxruntime-gpu was built for"
            + (f" ({why})" if why else "")
        )
    if device == "cuda":
        raise DeviceError(
            f"device='cuda': ONNX Runtime {onnxruntime.__version__} has no CUDA here: {reason}"
        )
    return session(CPU), "cpu"


def _load_cuda_libraries() -> str:
    """Load CUDA and cuDNN from NVIDIA's pip packages, which ONNX Runtime does not do by itself.

    torch looks there first too, and two versions of cuDNN in one process fail.

    Returns:
        What ONNX Runtime reports of libraries that it did not find; empty if it found all.
    """
    import contextlib
    import io

    preload = getattr(onnxruntime, "preload_dlls", None)  # from 1.21 on
    output = io.StringIO()
    if preload is not None:
        with contextlib.redirect_stdout(output):
            preload()
    return "; ".join(line for line in output.getvalue().splitlines() if line.startswith("Failed"))


def _why_no_cuda(available: list[str]) -> str | None:
    if _CUDA in available:
        return None
    return (
        f"this build has only {', '.join(available)}; replace onnxruntime by onnxruntime-gpu "
        '(pip uninstall onnxruntime, then pip install "rnnedge-runtime[gpu]"), or use device="cpu"'
    )


def _settings(options: EngineOptions) -> onnxruntime.SessionOptions:
    threads = options.threads
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _FATAL_ONLY
    if threads is not None:
        settings.intra_op_num_threads = threads
    settings.enable_cpu_mem_arena = options.arena
    settings.enable_mem_pattern = options.memory_pattern
    entries = {_ASSIGNMENT: "1"}
    if not options.spinning:
        entries["session.intra_op.allow_spinning"] = "0"
    for name, value in options.entries.items():
        _check_entry(name)
        entries[name] = value
    for name, value in entries.items():
        with engine_errors(f"options: {name}", OptionError):
            settings.add_session_config_entry(name, value)
    return settings


def _check_entry(name: str) -> None:
    """Check that ONNX Runtime knows an entry: by itself it accepts any name, and ignores it.

    It has no list of its entries. A name that the library acts on is in its read-only data.
    """
    # Imported here: at the top they would be a tenth of the import time of this package.
    import difflib
    import mmap
    import re

    library = sys.modules["onnxruntime.capi.onnxruntime_pybind11_state"].__file__
    if library is None or not os.path.isfile(library):
        return
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if re.match(_AREAS, name) and data.find(b"\0" + name.encode() + b"\0") >= 0:
            return
        pattern = rb"\0(" + _AREAS.encode() + rb"[a-z0-9_.]+)(?=\0)"
        known = [match.decode() for match in re.findall(pattern, data)]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise OptionError(f"options: this ONNX Runtime has no session entry {name!r}{hint}")
