"""The written file in plain ONNX Runtime: its axes, its answers, the complaints of the engine."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[Any]

_SERIOUS = re.compile(
    r"Shape mismatch attempting to re-use buffer[^\n]*|Expected shape from model of[^\n]*"
)
"""Warnings that say that a shape written in the file is not so."""
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(int32)": np.int32,
    "tensor(double)": np.float64,
}


class EngineRefusesError(Exception):
    """ONNX Runtime raises."""


class OnnxFile:
    """A file that was opened.

    Attributes:
        inputs: Axes of each input: a size, or a name.
        outputs: Axes of each output.
        complaints: Warnings of the engine that say that a shape in the file is wrong.
    """

    def __init__(self, path: Path) -> None:
        self.complaints: list[str] = []
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        with self._listening():
            try:
                self._session = ort.InferenceSession(
                    path, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:
                raise EngineRefusesError(_first_line(error)) from error
        self.inputs = {one.name: list(one.shape) for one in self._session.get_inputs()}
        self.outputs = {one.name: list(one.shape) for one in self._session.get_outputs()}
        self.dtypes = {one.name: _DTYPES[one.type] for one in self._session.get_inputs()}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answer by name; inputs that the file has not are left out.

        Raises:
            EngineRefusesError: When ONNX Runtime does.
        """
        feeds = {name: inputs[name] for name in self.inputs if name in inputs}
        with self._listening():
            try:
                values = self._session.run(None, feeds)
            except Exception as error:
                raise EngineRefusesError(_first_line(error)) from error
        return dict(zip(self.outputs, values, strict=True))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Note what the engine writes to standard error."""
        with tempfile.TemporaryFile() as written:
            before = os.dup(2)
            os.dup2(written.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(before, 2)
                os.close(before)
                written.seek(0)
                text = written.read().decode(errors="replace")
                self.complaints += [
                    found for found in _SERIOUS.findall(text) if found not in self.complaints
                ]


def wrong_axes(
    declared: Mapping[str, Sequence[Any]], given: Mapping[str, Array], sizes: dict[str, int]
) -> list[str]:
    """Say which arrays have other sizes than the axes that a file declares for them.

    Args:
        declared: Axes by name; a name stands for one size wherever it is, and an expression such as
            `2*time` for what it comes to.
        given: The arrays.
        sizes: What names stand for, from the inputs; names that come first here are added.
    """
    wrong = []
    for name, axes in declared.items():
        shape = given[name].shape
        if len(axes) != len(shape):
            wrong.append(f"{name} has {len(shape)} axes, declared {axes}")
            continue
        for axis, size in zip(axes, shape, strict=True):
            if isinstance(axis, str) and axis.isidentifier():
                meant: int | None = sizes.setdefault(axis, size)
            else:
                meant = axis if isinstance(axis, int) else _reckoned(axis, sizes)
            if meant is not None and meant != size:
                wrong.append(f"{name} {list(shape)}, declared {axes} with {sizes}")
                break
    return wrong


def zero_states(file: OnnxFile, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return zeros for the inputs that the module does not have: it starts from zeros itself."""
    sizes = {
        axis: size
        for name, axes in file.inputs.items()
        if name in inputs
        for axis, size in zip(axes, inputs[name].shape, strict=True)
        if isinstance(axis, str)
    }
    return {
        name: np.zeros([axis_size(axis, sizes) for axis in axes], file.dtypes[name])
        for name, axes in file.inputs.items()
        if name not in inputs
    }


def axis_size(axis: Any, sizes: Mapping[str, int]) -> int:
    """Return the size that an axis of an input has to have.

    Raises:
        EngineRefusesError: When the names of the file do not show it.
    """
    size = axis if isinstance(axis, int) else sizes.get(axis, _reckoned(axis, sizes))
    if size is None:
        raise EngineRefusesError(f"nobody knows how long an axis of {axis!r} has to be")
    return size


def _reckoned(axis: Any, sizes: Mapping[str, int]) -> int | None:
    """Return what an expression over names comes to; None where it cannot be read."""
    if not isinstance(axis, str) or not re.fullmatch(r"[\w\s+*/()%-]+", axis):
        return None
    try:
        return int(eval(axis, {"__builtins__": {}}, dict(sizes)))
    except (SyntaxError, NameError, TypeError, ZeroDivisionError):
        return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:400]
