"""`Plan`: a model as kernel calls over memory with fixed places."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from rnnedge_native import _engine
from rnnedge_native.engine_packing import EnginePacker
from rnnedge_runtime.errors import EngineError, InputError, ModelError, OptionError, PlanError
from rnnedge_runtime.onnx_file import ValueInfo
from rnnedge_runtime.plan.known import check_operators, dtype_of
from rnnedge_runtime.plan.model_file import read_model
from rnnedge_runtime.plan.operators import FOLDS, OPERATORS
from rnnedge_runtime.plan.tracer import Kept, Recipe, Tracer
from rnnedge_runtime.plan.values import Array, Dtype

_MOST_LAYOUTS = 64
"""Shapes whose calls are kept."""
_TRIALS = ((2, 16), (1, 1), (1, 512), (2, 4000))
"""Sizes of the batch and of other dynamic axes at which a model is laid out when it is opened."""
_CONTRACT = "rnnedge.contract"


class Layout:
    """A plan at given shapes. Several threads may run it at once: each has its own program.

    Attributes:
        recipe: The calls.
        outputs: Name, shape and dtype of each output.
    """

    def __init__(self, recipe: Recipe, instructions: str, team: _engine.Team | None) -> None:
        """Build the first program."""
        self.recipe, self._instructions, self._team = recipe, instructions, team
        self.outputs = recipe.outputs
        self._free = [self.program()]

    def program(self) -> _engine.Program:
        """Return a new program of these calls."""
        return _engine.Program(
            **self.recipe.arguments, instructions=self._instructions, team=self._team
        )

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run the calls once.

        Args:
            arrays: Contiguous arrays of the layout's shapes and dtypes, in the order of the inputs.

        Returns:
            New arrays, in the order of the outputs.

        Raises:
            InputError: When an index or a length is out of its range.
        """
        made = [np.empty(shape, dtype) for _, shape, dtype in self.outputs]
        try:
            program = self._free.pop()
        except IndexError:
            program = self.program()
        try:
            program.run(*arrays, *made)
        except IndexError as error:
            raise InputError(str(error)) from error
        finally:
            self._free.append(program)
        return made


class Plan:
    """A model that the native engine runs, without ONNX Runtime.

    Attributes:
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        states: Pairs of input and output that hold a state, by the model's contract.
        metadata: The model's `metadata_props`.
        instructions: The set of instructions that its kernels use.
        threads: How many threads share the rows of a batch.
        hidden_sizes: Those of its recurrent layers, in order.
        rounds_rows: Whether it multiplies integers, which each row is rounded to by itself.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        instructions: str | None = None,
        threads: int = 1,
    ) -> None:
        """Read a model and lay it out once, to see that it is known.

        Args:
            model: Path of an `.onnx` file, or its bytes.
            instructions: `avx512vnni`, `avx512`, `avxvnni`, `avx2`, `dotprod` or `baseline`; None
                takes the widest that the processor has.
            threads: How many threads share the rows of a batch, where there is enough to do: the
                answers are the same.

        Raises:
            ModelError: When the file is missing or damaged.
            PlanError: When the native engine does not know a part of it, named by its node.
            OptionError: When the processor does not have the instructions.
        """
        name, content = _read(model)
        found = _engine.instructions()
        if instructions is not None and instructions not in found:
            raise OptionError(f"instructions: expected {' or '.join(found)}, got {instructions!r}")
        self.instructions = instructions or found[0]
        self.threads = threads
        self._team = _engine.Team(threads) if threads > 1 else None
        read = read_model(content, name)
        self._graph, self.metadata = read.graph, read.metadata
        self.inputs = tuple(
            info for info in read.graph.inputs if info.name not in read.graph.initializers
        )
        self.outputs = tuple(read.graph.outputs)
        self.states = _states(read.metadata)
        self._dtypes = {info.name: dtype_of(info) for info in self.inputs}
        self._kept = Kept()
        self._lock = threading.Lock()
        self.hidden_sizes: tuple[int, ...] = ()
        self.rounds_rows = False
        self._layouts: dict[tuple[tuple[int, ...], ...], Layout] = {}
        check_operators(read.graph)
        self._try()

    def layout(self, shapes: Sequence[tuple[int, ...]]) -> Layout:
        """Return the calls for inputs of these shapes.

        Args:
            shapes: Of each input, in the order of `inputs`.

        Returns:
            The calls; those of the shapes seen last are kept.

        Raises:
            PlanError: When they do not fit, or a node takes at these shapes something unknown.
        """
        key = tuple(shapes)
        found = self._layouts.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._layouts.get(key)
            if found is None:
                found = Layout(self._trace(key), self.instructions, self._team)
                while len(self._layouts) >= _MOST_LAYOUTS:
                    self._layouts.pop(next(iter(self._layouts)))
                self._layouts[key] = found
        return found

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a model.

        Args:
            feeds: Every input by name, of its dtype.

        Returns:
            Every output by name.

        Raises:
            InputError: For an input of another name, rank, size or dtype, or an index or length
                out of its range.
            PlanError: When the shapes do not fit, or lead to what the engine does not know.
        """
        given = set(feeds)
        if given != set(self._dtypes):
            raise InputError(
                f"expected the inputs {', '.join(self._dtypes)}, got {', '.join(feeds)}"
            )
        arrays = [_array(info, feeds[info.name], self._dtypes[info.name]) for info in self.inputs]
        _check_axes(self.inputs, arrays)
        layout = self.layout([array.shape for array in arrays])
        values = layout.run(arrays)
        return {name: value for (name, _, _), value in zip(layout.outputs, values, strict=True)}

    def _trace(self, shapes: Sequence[tuple[int, ...]]) -> Recipe:
        given = {
            info.name: (shape, self._dtypes[info.name])
            for info, shape in zip(self.inputs, shapes, strict=True)
        }
        tracer = Tracer(OPERATORS, FOLDS, EnginePacker(self.instructions), self._kept)
        try:
            return tracer.run(self._graph, given)
        except MemoryError as error:
            raise EngineError("the model takes more memory than there is") from error

    def _try(self) -> None:
        """Lay the model out at a few shapes, until one is taken."""
        first: PlanError | None = None
        for batch, other in _TRIALS:
            shapes = [
                tuple(_size(axis, batch, other) for axis in info.axes) for info in self.inputs
            ]
            try:
                calls = self.layout(shapes).recipe.calls
                sizes = (call.about.get("hidden_size") for call in calls)
                self.hidden_sizes = tuple(size for size in sizes if size is not None)
                self.rounds_rows = any(call.about.get("integers") for call in calls)
                return
            except PlanError as error:
                first = first or error
        if first is not None:
            raise first


def _read(model: str | os.PathLike[str] | bytes) -> tuple[str, bytes]:
    if isinstance(model, bytes):
        return "the model", model
    try:
        return str(model), Path(model).read_bytes()
    except OSError as error:
        raise ModelError(f"{model} cannot be read: {error.strerror or error}") from error


def _states(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    try:
        states = json.loads(metadata.get(_CONTRACT, "{}")).get("interface", {}).get("states", [])
        return tuple((str(pair["input"]), str(pair["output"])) for pair in states)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ()


def _size(axis: int | str | None, batch: int, other: int) -> int:
    if isinstance(axis, int):
        return axis
    return batch if axis is not None and "batch" in axis.lower() else other


def _array(info: ValueInfo, value: Any, dtype: Dtype) -> Array:
    array = np.asarray(value)
    if array.dtype != np.dtype(info.dtype) or array.ndim != len(info.axes):
        axes = ", ".join("?" if axis is None else str(axis) for axis in info.axes)
        raise InputError(
            f"{info.name}: expected {info.dtype}[{axes}], got {array.dtype}{list(array.shape)}"
        )
    return cast("Array", np.ascontiguousarray(array, dtype).reshape(array.shape))


def _check_axes(inputs: Sequence[ValueInfo], arrays: Sequence[Array]) -> None:
    sizes: dict[str, int] = {}
    for info, array in zip(inputs, arrays, strict=True):
        for axis, size in zip(info.axes, array.shape, strict=True):
            wanted = sizes.setdefault(axis, size) if isinstance(axis, str) else axis
            if wanted not in (None, size):
                raise InputError(
                    f"{info.name}: expected an axis {axis} of {wanted}, got {list(array.shape)}"
                )
