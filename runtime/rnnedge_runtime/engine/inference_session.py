"""Opening ONNX Runtime: every option and every provider decision is made here."""

from __future__ import annotations

import os
import sys
from typing import Literal

from rnnedge_runtime.engine.library import onnxruntime
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
"""ONNX Runtime tries every algorithm at each length that it has not seen: two layers of 96 channels
took 588 ms for the first call and 22 for each new length, and 31 and 8 with this."""
_FATAL_ONLY = 4
"""ONNX Runtime's severity: what it logs as an error it raises too, and then it is in our message;
warnings of the optimizer are no business of an app's stderr."""

_AREAS = r"(?:session|optimization|memory|mlas|ep)\."
"""What the names of its session configuration begin with."""
_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""Asked for at each opening: `SessionInfo` tells from it where each node runs. It costs nothing
that could be measured (5.35 ms against 5.37 to open a model of 40 nodes)."""


def open_inference_session(
    model: Model, *, device: Device, options: EngineOptions
) -> tuple[onnxruntime.InferenceSession, Literal["cpu", "cuda"]]:
    """Open `model` in ONNX Runtime.

    Args:
        model: Path of an `.onnx` file, or its bytes.
        device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which is CUDA where it works.
        options: What is set on ONNX Runtime.

    Returns:
        The session and the device that it runs on.

    Raises:
        MissingPackageError: When onnxruntime is not installed.
        DeviceError: When `device` is not a device, or CUDA was asked for and cannot be had.
        ModelError: When the model is missing, damaged, or refused by ONNX Runtime.
        OptionError: For an option that this ONNX Runtime does not know, or a value that is none.
    """
    if device not in ("cpu", "cuda", "auto"):
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}")
    settings = _settings(options)

    name = "the model" if isinstance(model, bytes) else os.fspath(model)
    if not isinstance(model, bytes) and not os.path.isfile(model):
        raise ModelError(f"{name}: expected an ONNX file, found no such file")

    def session(*providers: str | tuple[str, dict[str, str]]) -> onnxruntime.InferenceSession:
        path_or_bytes = model if isinstance(model, bytes) else os.fspath(model)
        with engine_errors(f"{name} cannot be opened by ONNX Runtime", ModelError):
            made = onnxruntime.InferenceSession(
                path_or_bytes,
                settings,
                providers=list(providers),
                # Its Python layer answers an error by a print and a second try on the CPU.
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
            session(CPU)  # a model that is at fault is refused here too
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
            f"device='cuda': ONNX Runtime {onnxruntime.__version__} offers no CUDA here: {reason}"
        )
    return session(CPU), "cpu"


def _load_cuda_libraries() -> str:
    """Load CUDA and cuDNN from the packages that pip has of them, which ONNX Runtime does not.

    They are looked for there first, as torch does: two versions of cuDNN in one process fail.

    Returns:
        What ONNX Runtime says of a library that it did not find; empty where it has all.
    """
    import contextlib
    import io

    preload = getattr(onnxruntime, "preload_dlls", None)  # from 1.21 on
    said = io.StringIO()
    if preload is not None:
        with contextlib.redirect_stdout(said):
            preload()
    return "; ".join(line for line in said.getvalue().splitlines() if line.startswith("Failed"))


def _why_no_cuda(available: list[str]) -> str | None:
    if _CUDA in available:
        return None
    return (
        f"this build has {', '.join(available)} only; replace onnxruntime by onnxruntime-gpu "
        '(pip uninstall onnxruntime, then pip install "rnnedge-runtime[gpu]"), or use device="cpu"'
    )


def _settings(options: EngineOptions) -> onnxruntime.SessionOptions:
    threads = options.threads
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise OptionError(f"threads: expected None or an integer of 1 or more, got {threads!r}")
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
        if not isinstance(name, str) or not isinstance(value, str):
            raise OptionError(f"options: expected text for {name!r}, got {value!r}")
        _check_entry(name)
        entries[name] = value
    for name, value in entries.items():
        with engine_errors(f"options: {name}", OptionError):
            settings.add_session_config_entry(name, value)
    return settings


def _check_entry(name: str) -> None:
    """Refuse a name that ONNX Runtime does not know: itself it takes any, and ignores it.

    There is no list of them to ask for. A name that the library acts on is in its read-only data.
    """
    # Here and not above, where they would be a tenth of what the import of this package takes.
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
    raise OptionError(f"options: this ONNX Runtime knows no session entry {name!r}{hint}")
