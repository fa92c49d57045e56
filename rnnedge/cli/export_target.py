"""What `rnnedge export` writes to when nobody says, and the command to type after it."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

from rnnedge_runtime.contract import BATCH, TIME, Interface

_ARCHIVES = (".tar", ".gz", ".zip")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
"""Where a word begins inside a name of Python's, such as `SileroVAD2`."""


def default_output(
    source: str | None, *, cell: str | None, quantize: str | None, dtype: str
) -> str:
    """Return the name of the file to write, in the current folder, after what it is made from.

    Args:
        source: SOURCE as it was given.
        cell: The cell that options name.
        quantize: As `--quantize`.
        dtype: As `--dtype`.
    """
    if source is None:
        return f"{cell or 'rnn'}.onnx"
    module, colon, called = source.partition(":")
    if colon and called and "/" not in module:
        name = called.partition("(")[0].rpartition(".")[2]
        return f"{_WORD.sub('_', name).lower()}.onnx"
    name = PurePath(source).name
    if name.lower().endswith(".onnx"):
        kind = "int8" if quantize else dtype
        return f"{name[:-5]}_{kind}.onnx"
    path = PurePath(name)
    if path.suffix.lower() in _ARCHIVES:  # as in weights.pth.tar
        path = PurePath(path.stem)
    return f"{path.stem}.onnx"


def next_command(model: str, interface: Interface | None, golden: str | None = None) -> str:
    """Return the command that proves an exported file on a device, or shows what is in it.

    Args:
        model: The file.
        interface: What it takes and gives, for which a check makes up inputs; None for a file that
            rnnedge did not make, and that tells less of itself.
        golden: A folder with golden vectors of it.
    """
    paths = [f"./{path}" if path.startswith("-") else path for path in (model, golden) if path]
    checked = golden is not None or (interface is not None and _made_up(interface))
    program = "python -m rnnedge_runtime check" if checked else "rnnedge inspect"
    return f"{program} {shlex.join(paths)}"


def _made_up(interface: Interface) -> bool:
    """Whether a check can make up the inputs of a model."""
    axes = {axis for spec in interface.data_inputs for axis in spec.axes if isinstance(axis, str)}
    return axes <= {BATCH, TIME}
