"""The user's own sequences: from arrays, a file, a folder or a function to the inputs of a model.

A sequence is one row: ragged ones never share a batch, so that none is padded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_exporters.python_object import call_object, find_object, parse_object
from rnnedge_runtime.array_file import read_arrays
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec
from rnnedge_runtime.errors import InputError, RnnEdgeError, one_line, pass_on_interruption

Array = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Any]
Data: TypeAlias = "str | os.PathLike[str] | Arrays | Iterable[Arrays]"
LENGTHS = "lengths"
_SUFFIXES = (".npy", ".npz")


@dataclass(frozen=True, slots=True)
class NamedSequence:
    """One sequence.

    Attributes:
        name: What to call it: a file, a row, or a number.
        inputs: The data inputs of a model by name, with a batch of 1, and states that were given.
        time: Steps.
    """

    name: str
    inputs: dict[str, Array]
    time: int

    def with_states(self, interface: Interface) -> dict[str, Array]:
        """Return all inputs of a model: states that are not given are zeros, lengths whole."""
        inputs = dict(self.inputs)
        sizes = {BATCH: 1, TIME: self.time}
        for spec in interface.state_inputs:
            shape = [a if isinstance(a, int) else sizes.get(a, 1) for a in spec.axes]
            inputs.setdefault(spec.name, np.zeros(shape, spec.dtype))
        if interface.lengths:
            inputs[interface.lengths] = np.array([self.time], np.int64)
        return inputs


@contextmanager
def given_to(module: object, sequence: NamedSequence, error: type[RnnEdgeError]) -> Iterator[None]:
    """Say which sequence a module does not take, where the block raises.

    Args:
        module: The module that is run in the block.
        sequence: What it is given.
        error: The class to raise.

    Raises:
        RnnEdgeError: Of class `error`; one that is raised in the block is passed on.
    """
    try:
        yield
    except RnnEdgeError:
        raise
    except Exception as raised:  # whatever the user's forward raises
        pass_on_interruption(raised)
        raise error(
            f"{type(module).__name__} does not take {sequence.name} of the calibration data: "
            f"{type(raised).__name__}: {one_line(raised)}"
        ) from raised


def read_sequences(data: Data, interface: Interface) -> list[NamedSequence]:
    """Read sequences, and check that a model takes them.

    Args:
        data: Arrays by input name, with the axes of the inputs, and `lengths` (int [batch]) where
            rows end earlier; initial states by name, which are zeros otherwise; an iterable of
            those, where the batch axis may be left out; a `.npz` or `.npy` file; a folder of them;
            or `package.module:name`, a function that returns arrays or yields them. A model of one
            input takes an array of any name.
        interface: What the model takes.

    Raises:
        InputError: When there are none, or one is not what an input takes.
    """
    sequences = [
        sequence
        for name, arrays in _named(data, interface)
        for sequence in _rows(name, arrays, interface)
    ]
    if not sequences:
        raise InputError(f"calibration data {_called(data)}: expected sequences, found none")
    return sequences


def data_files(data: object) -> list[Path]:
    """Return the files that sequences are read from; none where `data` names no file or folder."""
    if not isinstance(data, str | os.PathLike):
        return []
    path = Path(data)
    if not path.is_dir():
        return [path]
    return sorted(inner for inner in path.iterdir() if inner.suffix in _SUFFIXES)


def _called(data: Data) -> str:
    return os.fspath(data) if isinstance(data, str | os.PathLike) else type(data).__name__


def _named(data: Data, interface: Interface) -> Iterator[tuple[str, Arrays]]:
    """Yield arrays by input name, with a name for each set of them."""
    if isinstance(data, Mapping):
        yield "", data
    elif not isinstance(data, str | os.PathLike):
        for number, arrays in enumerate(data):
            if not isinstance(arrays, Mapping):
                raise InputError(
                    f"calibration data {number}: expected arrays by input name, got "
                    f"{type(arrays).__name__}"
                )
            yield f"sequence {number}", arrays
    elif Path(data).is_dir():
        for path in data_files(data):
            yield path.name, _read(path, interface)
    elif Path(data).suffix in _SUFFIXES:
        yield "", _read(Path(data), interface)
    elif wanted := parse_object(os.fspath(data), error=_error):
        made_by = find_object(wanted, error=_error)
        yield from _named(call_object(made_by, wanted, error=_error), interface)
    else:
        raise InputError(
            f"calibration data {data}: expected a .npz or .npy file, a folder of them, or "
            "package.module:name"
        )


def _error(words: str) -> InputError:
    return InputError(f"calibration data {words}")


def _read(path: Path, interface: Interface) -> Arrays:
    try:
        loaded = read_arrays(path)
        return loaded if isinstance(loaded, dict) else {interface.data_inputs[0].name: loaded}
    except (OSError, ValueError) as error:
        raise InputError(
            f"calibration data {path}: expected numpy's .npy or .npz, got {one_line(error)}"
        ) from error


def _rows(name: str, arrays: Arrays, interface: Interface) -> Iterator[NamedSequence]:
    """Yield the rows of one set of arrays, each cut to its length."""
    specs = interface.data_inputs
    rest = dict(arrays)
    lengths = rest.pop(interface.lengths or LENGTHS, None)
    if len(specs) == 1 and len(rest) == 1:
        rest = {specs[0].name: next(iter(rest.values()))}
    where = f"calibration data{f' {name}' if name else ''}"
    missing = [spec.name for spec in specs if spec.name not in rest]
    specs += tuple(spec for spec in interface.state_inputs if spec.name in rest)
    extra = sorted(set(rest) - {spec.name for spec in specs})
    if missing or extra:
        got = ", ".join(map(str, arrays)) or "none"
        wanted = ", ".join(spec.name for spec in specs)
        raise InputError(f"{where}: expected the inputs {wanted}, got {got}")
    taken = {spec.name: _checked(where, rest[spec.name], spec) for spec in specs}
    axes = {spec.name: spec.axes for spec in specs}
    rows = {n: a.shape[axes[n].index(BATCH)] for n, a in taken.items() if BATCH in axes[n]}
    batch = max(rows.values(), default=1)
    if any(size != batch for size in rows.values()):
        raise InputError(f"{where}: expected as many rows of each input, got {rows}")
    ends = None if lengths is None else _ends(where, lengths, batch, taken, axes)
    for row in range(batch):
        cut = {}
        for key, array in taken.items():
            own = np.take(array, [row], axes[key].index(BATCH)) if BATCH in axes[key] else array
            if ends is not None and TIME in axes[key]:
                own = np.take(own, range(ends[row]), axes[key].index(TIME))
            cut[key] = own
        times = [a.shape[axes[k].index(TIME)] for k, a in cut.items() if TIME in axes[k]]
        if 0 in times:
            continue
        called = f"row {row}" if not name else name if batch == 1 else f"{name}, row {row}"
        yield NamedSequence(called, cut, max(times, default=1))


def _ends(
    where: str, given: Any, batch: int, taken: Mapping[str, Array], axes: Mapping[str, Any]
) -> list[int]:
    longest = min(a.shape[axes[n].index(TIME)] for n, a in taken.items() if TIME in axes[n])
    lengths = np.asarray(given)
    fits = lengths.dtype.kind in "iu" and lengths.shape == (batch,)
    if not fits or lengths.min(initial=0) < 0 or lengths.max(initial=0) > longest:
        raise InputError(
            f"{where}: lengths: expected integers[{batch}] from 0 to {longest}, got "
            f"{lengths.dtype}{list(lengths.shape)}"
            + (f" up to {lengths.max(initial=0)}" if fits else "")
        )
    return [int(length) for length in lengths]


def _checked(where: str, given: Any, spec: TensorSpec) -> Array:
    """Return an array with all axes of an input and in its dtype."""
    array = np.asarray(given)
    if BATCH in spec.axes and array.ndim == len(spec.axes) - 1:
        array = np.expand_dims(array, spec.axes.index(BATCH))
    fits = array.ndim == len(spec.axes) and all(
        axis == size
        for axis, size in zip(spec.axes, array.shape, strict=True)
        if isinstance(axis, int)
    )
    kinds = {"f": "f", "i": "iu", "u": "iu", "b": "b"}[np.dtype(spec.dtype).kind]
    if not fits or array.dtype.kind not in kinds:
        shape = list(np.shape(given))
        raise InputError(f"{where}: expected {spec}, got {np.asarray(given).dtype}{shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(
            f"{where}: {spec.name}: expected finite numbers, got {bad} of {array.size} that are "
            "NaN or infinite"
        )
    return array.astype(spec.dtype)
