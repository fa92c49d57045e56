"""Which line of the user's code made torch assume something of a size, or fail."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import sympy
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx.experimental import symbolic_shapes

from rnnedge_exporters.errors import ExportError

_TORCH = Path(torch.__file__).parent
_OURS = Path(__file__).parent.parent
_SYMPY = Path(sympy.__file__).parent
_NOT_THE_USERS = ("torch", "rnnedge", "rnnedge_exporters", "rnnedge_runtime")


@contextmanager
def noting_guards(notes: dict[str, str]) -> Iterator[None]:
    """Note the line of the user's code at which torch ties or fixes a size.

    torch keeps the line of its own code instead. Without `ShapeGuard`, messages name no line.

    Args:
        notes: Gets what torch assumed of a size, and the line that made it do so.
    """
    original = getattr(symbolic_shapes, "ShapeGuard", None)
    if original is None:
        yield
        return

    def noting(expr: Any, *rest: Any, **more: Any) -> Any:
        line = calling_line()
        if line:
            notes.setdefault(str(expr), line)
        return original(expr, *rest, **more)

    setattr(symbolic_shapes, "ShapeGuard", noting)  # noqa: B010  # torch does not export it
    try:
        yield
    finally:
        setattr(symbolic_shapes, "ShapeGuard", original)  # noqa: B010


def calling_line() -> str:
    """Return the line of the user's code, inside a forward, that is running now, or nothing."""
    for frame in _frames():
        if frame.f_code.co_name == "forward" and not _not_the_users(frame):
            return shown_line(frame.f_code.co_filename, frame.f_lineno)
    return ""


def running_lines() -> list[tuple[str, int]]:
    """Return file and line of the user's code that is running, from the forward inwards.

    There are none where no forward of the user's runs.
    """
    found: list[tuple[str, int]] = []
    inside = 0
    for frame in _frames():
        if _not_the_users(frame):
            continue
        found.append((frame.f_code.co_filename, frame.f_lineno))
        if frame.f_code.co_name == "forward":
            inside = len(found)
    return found[:inside][::-1]


def _not_the_users(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).split(".")[0] in _NOT_THE_USERS


def running_module() -> nn.Module | None:
    """Return the innermost module whose forward is running."""
    owners = (f.f_locals.get("self") for f in _frames() if f.f_code.co_name == "forward")
    return next((owner for owner in owners if isinstance(owner, nn.Module)), None)


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def shown_line(file: str, number: int) -> str:
    """Return the words for a line of the user's code, with the code itself where it is found."""
    code = linecache.getline(file, number).strip()
    return f"line {number} of {Path(file).name}" + (f" ({code})" if code else "")


def guard_line(
    program: ExportedProgram, notes: Mapping[str, str], name: str, axis: int
) -> str | None:
    """Return the line of the user's code that fixed an axis, of those in `notes`."""
    shapes = environment(program)
    symbols = {
        str(symbol)
        for source, symbol in shapes.source_to_var.items()
        if source.replace("']['", "_").replace("[", "_").startswith((f"L_'{name}'", f"L_'{name}_'"))
        and source.endswith(f".size()[{axis}]")
    }
    for guard in shapes.guards:
        if symbols & set(map(str, guard.expr.free_symbols)):
            return notes.get(str(guard.expr))
    return None


def told_line(error: BaseException) -> str:
    """Return the first sentence of a torch error and the line of the user's code that led there."""
    text = str(error)
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    if "data-dependent" in text:
        first = (
            "a Python branch, loop or size that depends on the values of a tensor runs at export "
            "only (torch.where chooses between values, and pack_padded_sequence takes lengths as a "
            "tensor)"
        )
    if "found a fake tensor in the exported program" in text:
        first = (
            "a weight or another tensor of the module is written to while it runs (.data, or a "
            "hook): write to it before the export"
        )
    frames = traceback.extract_tb(error.__traceback__)
    if any(_SYMPY in Path(frame.filename).parents for frame in frames):
        first = (
            "torch cannot work out on which sizes a Python branch or a shape depends (compute the "
            "size by +, -, * and // alone, and both sides of the branch)"
        )
    mine = [f for f in frames if not _foreign(f.filename)]
    where = [f for f in mine if f.name in ("forward", "__call__")] or mine[-1:]
    at = f" at {_line(where[-1])}" if where else ""
    return f"{' '.join(first.split())}{at}"


def _line(frame: traceback.FrameSummary) -> str:
    return shown_line(frame.filename, frame.lineno or 0)


def environment(program: ExportedProgram) -> Any:
    """Return the `ShapeEnv` of torch that holds what was assumed of the sizes."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and getattr(value, "fake_mode", None) is not None:
            return value.fake_mode.shape_env  # type: ignore[attr-defined]
    raise ExportError("torch.export gave a program without shapes")


def _foreign(file: str) -> bool:
    """Whether a file is torch's, sympy's or ours, and not the user's."""
    return not {_TORCH, _OURS, _SYMPY}.isdisjoint(Path(file).parents)
