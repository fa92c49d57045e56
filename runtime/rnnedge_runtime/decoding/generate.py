"""`generate`: frames from a model whose output is its next input, as synthesizers write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.binding import Array, State, as_array, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, Axis, TensorSpec
from rnnedge_runtime.decoding.decode import begin_rows, held_inputs, open_stream
from rnnedge_runtime.decoding.ports import only_one, refuse_others
from rnnedge_runtime.decoding.search import Integers
from rnnedge_runtime.errors import EngineError, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnedge_runtime.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class Generated:
    """What `Session.generate` wrote.

    Attributes:
        frames: float [batch, steps, ...], the frames of each row; zeros past the end of a row.
        lengths: int64 [batch], the frames of each row, the one at which it stopped included.
        finished: bool [batch], whether each row stopped by itself before `max_steps`.
        outputs: The other outputs of each step by name, [batch, steps, ...], such as attention
            weights; zeros past the end of a row.
    """

    frames: Array
    lengths: Integers
    finished: NDArray[np.bool_]
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class _Ports:
    """Where frames enter and leave, and which output, if any, says that a row has ended."""

    frame: TensorSpec
    output: TensorSpec
    stop: TensorSpec | None


def generate(  # noqa: PLR0913 - the options of `Session.generate`
    model: LoadedModel,
    start: ArrayLike | None,
    max_steps: int,
    *,
    threshold: float,
    inputs: Mapping[str, ArrayLike] | None,
    state: State | None,
    frame: str | None,
    output: str | None,
    stop: str | None,
) -> Generated:
    """Do what `Session.generate` says."""
    max_steps = whole_number("max_steps", max_steps)
    if not isinstance(threshold, int | float) or not np.isfinite(threshold):
        raise InputError(f"threshold: expected a finite number, got {threshold!r}")
    held = held_inputs(model, inputs)
    ports = _find_ports(model, held, frame, output, stop)
    begun, batch = begin_rows(model, held, state)
    first = _first_frame(start, ports.frame, batch)
    begun.check_batch(len(first), "start", "frames")
    rows = np.arange(len(first))
    with open_stream(model, begun, rows) as stream:
        steps: list[dict[str, Array]] = []
        live, lengths = np.ones(len(first), bool), np.zeros(len(first), np.int64)
        now = first
        for _ in range(max_steps):
            answer = stream.step(_in_place(ports.frame, now))
            named = answer if isinstance(answer, Mapping) else {ports.output.name: answer}
            made = {spec.name: _rows_first(spec, named[spec.name]) for spec in _data(model)}
            now = made[ports.output.name].astype(first.dtype, copy=False)
            _check_frames(ports.output, now, live)
            steps.append({name: _masked(value, live) for name, value in made.items()})
            lengths += live
            if ports.stop is not None:
                live = live & ~(made[ports.stop.name].reshape(len(live)) > threshold)
            if not live.any():
                break
    joined = {name: np.stack([step[name] for step in steps], 1) for name in steps[0]}
    return Generated(joined.pop(ports.output.name), lengths, ~live, joined)


def _data(model: LoadedModel) -> Sequence[TensorSpec]:
    return [spec for spec in model.interface.data_outputs if BATCH in spec.axes]


def _find_ports(
    model: LoadedModel,
    given: Mapping[str, ArrayLike],
    frame: str | None,
    output: str | None,
    stop: str | None,
) -> _Ports:
    free = [spec for spec in model.interface.data_inputs if spec.name not in given]
    floats = [spec for spec in free if spec.dtype.startswith("float") and BATCH in spec.axes]
    entering = _only("frame", "float[batch, ...] input without a value", floats, free, frame)
    refuse_others(free, entering)
    outputs = [spec for spec in _data(model) if spec.dtype.startswith("float")]
    alike = [spec for spec in outputs if _rest(spec) == _rest(entering)]
    kind = f"float output of the sizes of {entering}"
    leaving = _only("output", kind, alike, outputs, output)
    others = [spec for spec in outputs if spec is not leaving]
    ends = [spec for spec in others if all(axis == 1 for axis in _rest(spec))]
    if stop is None and not ends:
        return _Ports(entering, leaving, None)
    return _Ports(entering, leaving, _only("stop", "float output [batch]", ends, others, stop))


def _rest(spec: TensorSpec) -> list[Axis]:
    return [axis for axis in spec.axes if axis not in (BATCH, TIME)]


def _only(
    option: str,
    kind: str,
    fitting: Sequence[TensorSpec],
    specs: Sequence[TensorSpec],
    name: str | None,
) -> TensorSpec:
    there = "; ".join(map(str, specs)) or "none"
    return only_one(
        option,
        fitting,
        name,
        misnamed=f"{name!r} is not a {kind} of this model, which has {there}",
        none=f"expected a model with a {kind}, got {there}",
    )


def _first_frame(start: ArrayLike | None, spec: TensorSpec, batch: int) -> Array:
    """Return the first frame of each row, [batch, ...]."""
    rest = _rest(spec)
    dtype = dtype_of(spec.dtype)
    if start is None:
        if not all(isinstance(axis, int) for axis in rest):
            raise InputError(f"start: expected frames, since {spec} takes any size of them")
        return np.zeros((batch, *rest), dtype)  # type: ignore[arg-type]
    array = as_array("start", start, InputError)
    fits = array.ndim == 1 + len(rest) and all(
        not isinstance(axis, int) or axis == size
        for axis, size in zip(rest, array.shape[1:], strict=True)
    )
    if not fits or 0 in array.shape or array.dtype != dtype or not np.isfinite(array).all():
        wanted = ", ".join(map(str, [BATCH, *rest]))
        raise InputError(
            f"start: expected finite {spec.dtype}[{wanted}], got {array.dtype}{list(array.shape)}"
        )
    return array


def _in_place(spec: TensorSpec, frame: Array) -> Array:
    """Return a frame [batch, ...] with the axes that the input has, without one of time."""
    axes = [axis for axis in spec.axes if axis != TIME]
    return np.ascontiguousarray(np.moveaxis(frame, 0, axes.index(BATCH)))


def _rows_first(spec: TensorSpec, array: Array) -> Array:
    axes = [axis for axis in spec.axes if axis != TIME]
    if array.ndim == len(spec.axes) != len(axes):  # one step
        array = np.take(array, 0, spec.axes.index(TIME))
    return np.moveaxis(array, axes.index(BATCH), 0)


def _masked(value: Array, live: NDArray[np.bool_]) -> Array:
    return np.where(live.reshape(-1, *[1] * (value.ndim - 1)), value, np.zeros((), value.dtype))


def _check_frames(spec: TensorSpec, frames: Array, live: NDArray[np.bool_]) -> None:
    wrong = live & ~np.isfinite(frames).reshape(len(live), -1).all(1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise EngineError(f"{spec.name}: expected finite frames, got NaN or infinity in row {row}")
