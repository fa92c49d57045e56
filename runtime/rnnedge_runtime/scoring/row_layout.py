"""`RowLayout`: how the rows of a corpus become the inputs of a model, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rnnedge_runtime.binding import Array, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, Axis, TensorSpec
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.streaming.constant_inputs import take_constants

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Packing: TypeAlias = Literal["continuous", "padded", "equal", "alone"]
"""`continuous`: slots that are filled again when a row ends, its state carried from call to call.
`padded`: whole rows of like lengths. `equal`: whole rows of one length. `alone`: row by row."""


LENGTHS = "lengths"


@dataclass(frozen=True, slots=True)
class RowInput:
    """What one row gives to one input.

    Attributes:
        spec: The input.
        dtype: Its dtype.
        timed: Whether a row has any number of steps of it; else one value.
        features: The axes of one step, or of the value.
        batch_axis: Where the batch is, in the input.
        time_first: Whether the steps lie before the batch.
        steps: The only number of steps that the model takes, or None.
    """

    spec: TensorSpec
    dtype: np.dtype[Any]
    timed: bool
    features: tuple[int, ...]
    batch_axis: int
    time_first: bool
    steps: int | None

    def __str__(self) -> str:
        """Return what a row is expected to be."""
        sizes = [self.steps or TIME] if self.timed else []
        return f"{self.spec.dtype}[{', '.join(map(str, [*sizes, *self.features]))}]"


@dataclass(frozen=True, slots=True)
class RowOutput:
    """What one row gets from one output.

    Attributes:
        spec: The output.
        dtype: Its dtype.
        kind: `steps`: a value for each step of the row; `value`: one value for the row; `own`: a
            number of steps that follows from that of the row in some other way.
        features: The axes of one step, or of the value.
        order: How the axes are transposed to [batch, steps, features] or [batch, features].
    """

    spec: TensorSpec
    dtype: np.dtype[Any]
    kind: Literal["steps", "value", "own"]
    features: tuple[int, ...]
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowLayout:
    """How rows are packed for a model.

    Attributes:
        inputs: For each data input of the model.
        outputs: For each output that is kept.
        packing: How rows share a call.
        most: The most rows of a call; None where the model takes any number.
        single_steps: Whether the model takes one step a call, without an axis for the time.
        lengths: Whether the model takes the lengths of the rows.
        lengths_name: What the lengths are called: as that input, or `lengths`; empty where another
            input has that name.
        constants: Inputs that are the same in every call, by name.
    """

    inputs: tuple[RowInput, ...]
    outputs: tuple[RowOutput, ...]
    packing: Packing
    most: int | None
    single_steps: bool
    lengths: bool
    lengths_name: str
    constants: Mapping[str, Array]

    @property
    def bytes_in(self) -> int:
        """Bytes of one step of the inputs."""
        return max(1, sum(_bytes(given) for given in self.inputs if given.timed))

    @property
    def bytes_out(self) -> int:
        """Bytes of one step of the kept outputs."""
        return max(1, sum(_bytes(output) for output in self.outputs))


def row_layout(
    model: LoadedModel,
    outputs: Sequence[str] | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
) -> RowLayout:
    """Find out how rows are packed for a model.

    Args:
        model: The model.
        outputs: The names of the outputs to keep; None keeps those that are not a final state, or
            all of a model that has no others.
        constants: Inputs that are the same in every call, by name.

    Raises:
        InputError: If the model takes no rows of this kind, an output is unknown, or a constant
            does not fit.
    """
    model.probe_axes()
    interface = model.interface
    specs, fixed_inputs, _ = take_constants(interface, constants or None, {})
    for name in fixed_inputs:
        spec = next(spec for spec in interface.inputs if spec.name == name)
        if BATCH in spec.axes:
            raise InputError(f"constants: {spec} has an axis named {BATCH}: give it as a column")
    if not specs:
        raise InputError("the model has no data inputs: there is nothing to score")
    timed = any(TIME in spec.axes for spec in specs)
    single_steps = not timed and bool(interface.states) and not model.hindrances
    fixed = not timed and not single_steps
    inputs = tuple(_row_input(spec, single_steps=single_steps, fixed=fixed) for spec in specs)
    steps = {given.steps for given in inputs if given.timed} - {None}
    kept = tuple(
        _row_output(spec, steps=steps, step_only=single_steps and spec in interface.data_outputs)
        for spec in _kept(model, outputs)
    )
    one_row = any(BATCH not in spec.axes for spec in specs)
    return RowLayout(
        inputs,
        kept,
        _packing(model, inputs, kept, single_steps=single_steps),
        1 if one_row else None,
        single_steps,
        interface.lengths is not None,
        interface.lengths or ("" if any(s.name == LENGTHS for s in specs) else LENGTHS),
        fixed_inputs,
    )


def _kept(model: LoadedModel, names: Sequence[str] | None) -> tuple[TensorSpec, ...]:
    interface = model.interface
    if names is None:
        return interface.data_outputs or interface.outputs
    known = {spec.name: spec for spec in interface.outputs}
    for name in names:
        if name not in known:
            raise InputError(f"outputs: expected some of {', '.join(known)}, got {name!r}")
    if not names:
        raise InputError(f"outputs: expected one or more of {', '.join(known)}, got none")
    return tuple(known[name] for name in dict.fromkeys(names))


def _packing(
    model: LoadedModel,
    inputs: tuple[RowInput, ...],
    outputs: tuple[RowOutput, ...],
    *,
    single_steps: bool,
) -> Packing:
    """Return the best packing that is right for a model."""
    interface = model.interface
    if single_steps:
        rows_share = all(BATCH in spec.axes for spec in interface.state_inputs)
        return "continuous" if rows_share else "alone"
    kinds = {output.kind for output in outputs}
    ends_matter = "value" in kinds and interface.lengths is None
    if "own" in kinds or ends_matter:
        return "equal"
    chunks = bool(interface.states) and not model.hindrances
    states = [*interface.state_inputs]
    if (
        chunks
        and all(given.steps is None for given in inputs)
        and all(spec.axes.count(BATCH) == 1 for spec in states)
        and all(isinstance(a, int) or a == BATCH for spec in states for a in spec.axes)
    ):
        return "continuous"
    return "padded" if interface.lengths is not None or chunks else "equal"


def _row_input(spec: TensorSpec, *, single_steps: bool, fixed: bool) -> RowInput:
    """Return what a row gives to an input.

    Args:
        spec: The input.
        single_steps: Whether the model takes one step a call.
        fixed: Whether the first axis of a row is its time although it has a fixed size.
    """
    dtype = dtype_of(spec.dtype)
    if dtype.kind not in "fiub":
        raise InputError(f"{spec}: expected an input of numbers")
    at = _batch_axis(spec)
    axes = [*spec.axes[:at], *spec.axes[at + 1 :]]
    timed, steps = single_steps, None
    if TIME in axes or (fixed and axes):
        if TIME in axes and axes[0] != TIME:
            raise InputError(f"{spec}: expected the time axis before the features of a row")
        first = axes.pop(0)
        timed, steps = True, first if isinstance(first, int) else None
    time_first = timed and not single_steps and at > 0
    if time_first and at > 1:
        raise InputError(f"{spec}: expected the batch axis before the features")
    return RowInput(spec, dtype, timed, _fixed(spec, axes), at, time_first, steps)


def _row_output(spec: TensorSpec, *, steps: Set[int | None], step_only: bool) -> RowOutput:
    """Return what a row gets from an output.

    Args:
        spec: The output.
        steps: The fixed numbers of steps of the inputs.
        step_only: Whether it is the output of one step, without an axis for the time.
    """
    at = _batch_axis(spec)
    rest = [n for n in range(len(spec.axes)) if n != at]
    named = [n for n in rest if isinstance(spec.axes[n], str)]
    own = [n for n in named if spec.axes[n] != TIME]
    if len(named) > 1:
        raise InputError(f"{spec}: expected one axis of a size that the row decides")
    front = named[:1]
    if not front and len(rest) > 1 and spec.axes[rest[0]] in steps:
        front = rest[:1]
    rest = [n for n in rest if n not in front]
    kind: Literal["steps", "value", "own"] = "value"
    if front:
        kind = "own" if own else "steps"
    elif step_only:
        kind = "steps"
    features = _fixed(spec, [spec.axes[n] for n in rest])
    return RowOutput(spec, dtype_of(spec.dtype), kind, features, (at, *front, *rest))


def _batch_axis(spec: TensorSpec) -> int:
    """Return where the batch is: where the axis says so, or an axis of one row."""
    if spec.axes.count(BATCH) == 1:
        return spec.axes.index(BATCH)
    ones = [at for at, axis in enumerate(spec.axes[:2]) if axis == 1]
    if not spec.axes:
        raise InputError(
            f"{spec}: is the same for every row: give its value in constants= (--constant)"
        )
    if BATCH in spec.axes or not ones:
        raise InputError(
            f"{spec}: expected a batch axis of any size: export the model with a dynamic batch"
        )
    return ones[0]


def _fixed(spec: TensorSpec, axes: Sequence[Axis]) -> tuple[int, ...]:
    for axis in axes:
        if not isinstance(axis, int):
            raise InputError(f"{spec}: expected a fixed size, the size of {axis} is not known")
    return tuple(int(axis) for axis in axes)


def _bytes(tensor: RowInput | RowOutput) -> int:
    return int(np.prod(tensor.features, dtype=np.int64)) * tensor.dtype.itemsize
