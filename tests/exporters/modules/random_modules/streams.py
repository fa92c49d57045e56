"""A file that may be streamed, cut in three ways, compared with the whole in float64."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_modules.compare import difference
from random_modules.generate import Generated
from random_modules.in_torch import DoesNotRunError, Reference, make_inputs
from random_modules.onnx_file import EngineRefusesError, OnnxFile, zero_states

from rnnedge_exporters.exporter import ExportResult
from rnnedge_runtime import Session
from rnnedge_runtime.errors import RnnEdgeError

Array = NDArray[Any]

ENDS_ROWS = {"lengths", "sorted_lengths", "mask", "padded_ids"}
"""Kinds of input that say where each row ends."""
STEPS = 18
"""Steps of a whole sequence: more than a module was exported with."""


def stream_faults(
    generated: Generated,
    reference: Reference,
    file: OnnxFile,
    path: Path,
    result: ExportResult,
) -> tuple[list[str], list[str]]:
    """Run chunk after chunk, each from the states of the one before.

    Returns:
        The ways of cutting that were compared, and what is wrong.
    """
    numbers = np.random.default_rng(generated.seed)
    batch = 3 if "batch" in _names(file) else generated.sizes["batch"]
    cuts = {
        "single steps": np.ones((STEPS, batch), int),
        "random": numbers.integers(1, 6, (5, batch)),
        "halves": numbers.integers(4, 10, (2, batch)),
    }
    if not _timed_inputs(generated, result):
        return [], []
    fixed = {axis for axis in _declared(generated, result) if isinstance(axis, int)}
    if fixed - {generated.sizes["time"]}:
        return [], []
    if fixed:  # chunks of the only length that the file takes
        cuts = {"chunks of the example": np.full((2, batch), generated.sizes["time"])}
    ways, faults = [], []
    kinds = {generated.inputs[name].kind for name in file.inputs if name in generated.inputs}
    for way, sizes in cuts.items():
        if not kinds & ENDS_ROWS:
            sizes = np.repeat(sizes[:, :1], batch, 1)
        elif "sorted_lengths" in kinds:
            sizes = np.sort(sizes, 1)[:, ::-1]
        elif way == "halves":
            sizes[1] = sizes[0][np.argsort(np.argsort(-sizes[0]))]  # the order of rows turns round
        try:
            told = _cut(generated, reference, file, path, result, sizes, kinds)
        except DoesNotRunError:
            continue
        except (EngineRefusesError, RnnEdgeError) as error:
            told = [f"fails: {error}"]
        ways.append(way)
        faults += [f"stream in {way}: {text}" for text in told]
    return ways, faults


def _names(file: OnnxFile) -> set[str]:
    return {axis for axes in file.inputs.values() for axis in axes if isinstance(axis, str)}


def _timed_inputs(generated: Generated, result: ExportResult) -> dict[str, int]:
    """Return the time axis of each data input that has one."""
    return {
        spec.name: axis
        for spec in result.contract.interface.data_inputs
        for axis, name in enumerate(generated.inputs[spec.name].axes)
        if isinstance(name, str) and name.startswith("time")
    }


def _declared(generated: Generated, result: ExportResult) -> list[int | str]:
    """Return what the file says of those axes: a name, or a size that it fixed."""
    specs = {spec.name: spec for spec in result.contract.interface.data_inputs}
    timed = _timed_inputs(generated, result)
    return [specs[name].axes[axis] for name, axis in timed.items()]


def _cut(
    generated: Generated,
    reference: Reference,
    file: OnnxFile,
    path: Path,
    result: ExportResult,
    sizes: NDArray[np.int64],
    kinds: set[str],
) -> list[str]:
    """Compare one way of cutting: `sizes` has the steps of each row in each chunk."""
    interface, timed = result.contract.interface, _timed_inputs(generated, result)
    totals, batch = sizes.sum(0), sizes.shape[1]
    whole = make_inputs(
        generated.inputs,
        {"batch": batch, "time": int(totals.max()), "time_1": int(totals.max())},
        generated.seed,
        lengths=totals,
    )
    zeros = zero_states(file, whole)
    states = {spec.name: (whole | zeros)[spec.name] for spec in interface.state_inputs}
    expected, single = reference(whole), reference(whole, double=False)
    names = [spec.name for spec in interface.outputs][: len(expected)]
    twin = dict(zip(names, expected, strict=True))
    axes = {spec.name: _time_axis(spec.axes) for spec in interface.outputs}

    ragged = bool(kinds & ENDS_ROWS)
    # A stream takes no lengths: with those, the states are handed on here.
    stream = Session(path, threads=1).stream(batch) if interface.lengths is None else None
    if stream is not None:
        stream.state = tuple(states.values())
    done, faults = np.zeros(batch, int), []
    answered = dict.fromkeys(twin, 0)
    for chunk, taken in enumerate(sizes):
        pieces = dict(whole)
        for name, axis in timed.items():
            rows = _rows_axis(generated, name)
            empty = 0 if generated.inputs[name].kind in ENDS_ROWS else 7
            pieces[name] = _piece(whole[name], axis, rows, done, taken, empty)
        for name, spec in generated.inputs.items():
            if spec.kind in ("lengths", "sorted_lengths"):
                pieces[name] = taken.astype(np.int64)
        given = file(pieces | states)
        if stream is not None:
            data = {spec.name: pieces[spec.name] for spec in interface.data_inputs}
            faults += _disagree(stream.step(data), given, [s.name for s in interface.data_outputs])
        states = {pair.input: given[pair.output] for pair in interface.states}
        last = chunk == len(sizes) - 1
        for name, key in twin.items():
            axis = axes[name]
            if axis is None and given[name].ndim == expected[key].ndim:  # of a fixed length
                axis = _longer(given[name], expected[key])
            if axis is None and last:
                told = difference(given[name], expected[key], single[key])
                faults += [f"{name}: {told}"] if told else []
            elif axis is not None:
                arrays = (given[name], expected[key], single[key])
                told = (
                    _rows(arrays, axis, done, taken)
                    if ragged
                    else _steps(arrays, axis, answered[name], last=last)
                )
                answered[name] += given[name].shape[axis]
                faults += [f"{name} in chunk {chunk}: {told}"] if told else []
        done = done + taken
        if faults:
            return faults[:3]
    return faults


def _disagree(answer: Any, given: Mapping[str, Array], names: list[str]) -> list[str]:
    """Say where `Session.stream` answers differently from the file with the same states."""
    answers = answer if isinstance(answer, dict) else {names[0]: answer}
    return [
        f"Session.stream: {name}: {told}"
        for name in names
        if (told := difference(answers[name], given[name], given[name]))
    ]


def _steps(arrays: tuple[Array, Array, Array], axis: int, start: int, *, last: bool) -> str:
    """Compare what a chunk gave with what follows in the whole; the last has to reach its end."""
    given, expected, single = arrays
    stop = start + given.shape[axis]
    if stop > expected.shape[axis] or (last and stop < expected.shape[axis]):
        return f"the whole has {expected.shape[axis]} steps, and the chunk ends at {stop}"
    steps = range(start, stop)
    return difference(given, expected.take(steps, axis), single.take(steps, axis))


def _rows(
    arrays: tuple[Array, Array, Array],
    axis: int,
    done: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> str:
    """Compare what a chunk gave with its place in the whole, each row at its own steps."""
    given, expected, single = arrays
    if expected.ndim < 2:
        return ""
    rows = 0 if axis else 1
    for row, (start, count) in enumerate(zip(done, taken, strict=True)):
        if expected.shape[axis] < start + count:
            return f"row {row}: the whole has {expected.shape[axis]} steps"
        if given.shape[axis] < count:
            return f"row {row}: {given.shape[axis]} steps instead of {count}"
        steps = range(int(start), int(start + count))
        parts = [
            np.take(array, [row], rows).take(where, axis)
            for array, where in ((given, range(count)), (expected, steps), (single, steps))
        ]
        told = difference(*parts)
        if told:
            return f"row {row}: {told}"
    return ""


def _piece(
    array: Array,
    axis: int,
    rows: int,
    done: NDArray[np.int64],
    taken: NDArray[np.int64],
    empty: int,
) -> Array:
    """Return the next steps of each row, filled up with `empty`."""
    longest = int(taken.max())
    shape = list(array.shape)
    shape[axis] = longest
    made = np.full(shape, empty, array.dtype)
    for row, (start, count) in enumerate(zip(done, taken, strict=True)):
        source, target = ([slice(None)] * array.ndim for _ in range(2))
        source[rows] = target[rows] = row  # type: ignore[call-overload]
        source[axis], target[axis] = slice(start, start + count), slice(0, count)
        made[tuple(target)] = array[tuple(source)]
    return made


def _rows_axis(generated: Generated, name: str) -> int:
    return generated.inputs[name].axes.index("batch")


def _time_axis(axes: tuple[int | str, ...]) -> int | None:
    found = [n for n, axis in enumerate(axes) if isinstance(axis, str) and "time" in axis]
    return found[0] if found else None


def _longer(chunk: Array, whole: Array) -> int | None:
    """Return the axis on which a whole answer is longer than a chunk's; None where none is."""
    pairs = enumerate(zip(chunk.shape, whole.shape, strict=True))
    return next((axis for axis, (part, size) in pairs if part < size), None)
