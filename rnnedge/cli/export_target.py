"""The default output of `rnnedge export`, and the command that it suggests next."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

from rnnedge_runtime.contract import BATCH, TIME, Interface

_ARCHIVES = (".tar", ".gz", ".zip")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""The start of a word inside a class name, such as `SileroVAD2`."""


def default_output(
    source: str | None, *, cell: str | None, quantize: str | None, dtype: str, folder: bool = False
) -> str:
    """Return the name of the file to write, in the current folder, derived from the source.

    Args:
        source: SOURCE as it was given.
        cell: The cell that options name.
        quantize: As `--quantize`.
        dtype: As `--dtype`.
        folder: Whether it is the folder of a C program, which is called as the source.
    """
    if folder:
        if is_onnx_name(source):
            return PurePath(str(source)).stem
        return default_output(source, cell=cell, quantize=quantize, dtype=dtype)[:-5]
    if source is None:
        return f"{cell or 'rnn'}.onnx"
    module, colon, called = source.partition(":")
    if colon and called and "/" not in module:
        name = called.partition("(")[0].rpartition(".")[2]
        return f"{_WORD.sub('_', name).lower()}.onnx"
    name = PurePath(source).name
    if is_onnx_name(name):
        kind = "int8" if quantize else dtype
        return f"{name[:-5]}_{kind}.onnx"
    path = PurePath(name)
    if path.suffix.lower() in _ARCHIVES:  # as in weights.pth.tar
        path = PurePath(path.stem)
    return f"{path.stem}.onnx"


def is_onnx_name(name: str | None) -> bool:
    """Whether a name ends as that of an ONNX file does."""
    return name is not None and name.lower().endswith(".onnx")


def next_command(model: str, interface: Interface | None, golden: str | None = None) -> str:
    """Return the command that checks an exported file on a device, or else inspects it.

    Args:
        model: The file.
        interface: Its inputs and outputs; None for a file without a contract.
        golden: The folder with its golden vectors.
    """
    paths = [f"./{path}" if path.startswith("-") else path for path in (model, golden) if path]
    checked = golden is not None or (interface is not None and _made_up(interface))
    program = "python -m rnnedge_runtime check" if checked else "rnnedge inspect"
    return f"{program} {shlex.join(paths)}"


def _made_up(interface: Interface) -> bool:
    """Whether `check` can generate inputs for a model."""
    axes = {axis for spec in interface.data_inputs for axis in spec.axes if isinstance(axis, str)}
    return axes <= {BATCH, TIME}
