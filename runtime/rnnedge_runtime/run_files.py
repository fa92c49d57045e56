"""One run of a model on arrays in files, as the command `run` makes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from rnnedge_runtime.array_file import read_arrays, write_arrays
from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH, TensorSpec
from rnnedge_runtime.errors import InputError, one_line
from rnnedge_runtime.loaded_model import RunResult
from rnnedge_runtime.missing_file import no_such_file
from rnnedge_runtime.session import Session
from rnnedge_runtime.streaming.state_file import DIGEST, check_digest
from rnnedge_runtime.write_target import NPZ, check_target

_TEXTS = (".csv", ".tsv", ".txt")
_ARRAYS = (".npy", ".npz")


def run_files(
    session: Session, inputs: Sequence[str], *, lengths: str | None = None, state: str | None = None
) -> RunResult:
    """Run a model once on arrays in files.

    Args:
        session: The model.
        inputs: Each an `.npy` file, an `.npz` of arrays by input name, or `name=file.npy`.
        lengths: An `.npy` file with the length of each row.
        state: An `.npz` with the initial state, by the names of the inputs or of the outputs that
            feed them.

    Returns:
        What the model answers.

    Raises:
        InputError: When a file cannot be read, or the model does not take what it holds.
    """
    data: dict[str, Array] = {}
    for given in inputs:
        data.update(_read_input(given, session))
    return session.run(
        data,
        lengths=_read_one(lengths) if lengths else None,
        state=_read_state(state, session) if state else None,
    )


def files_read(
    model: str, inputs: Sequence[str], lengths: str | None, state: str | None
) -> list[str | os.PathLike[str] | None]:
    """Return the files of a run, none of which it may replace."""
    return [model, *(given.rpartition("=")[2] for given in inputs), lengths, state]


def check_output(
    output: str | None, read: Sequence[str | os.PathLike[str] | None], *, force: bool
) -> None:
    """Refuse an output that could not be written in the end.

    Args:
        output: The `.npz` file, or None.
        read: What `files_read` returned.
        force: Whether a file of another kind may be replaced.

    Raises:
        WriteError: When it must not or cannot be written.
    """
    if output is not None:
        check_target(output, NPZ, protected=read, force=force)


def write_outputs(
    output: str,
    result: RunResult,
    session: Session,
    *,
    read: Sequence[str | os.PathLike[str] | None],
    force: bool,
) -> None:
    """Write every output by name, and for a model with states which model they belong to.

    Args:
        output: The `.npz` file.
        result: What `run_files` returned.
        session: The model.
        read: What `files_read` returned.
        force: Whether a file of another kind may be replaced.

    Raises:
        WriteError: When it must not or cannot be written.
    """
    arrays: dict[str, Any] = dict(result.outputs)
    if session.interface.states:  # the file may be given as a state
        arrays[DIGEST] = np.array(session.digest)
    with atomic_file(output, NPZ, protected=read, force=force) as file:
        write_arrays(file, arrays)


def output_lines(result: RunResult, output: str | None) -> list[str]:
    """Return the lines that are printed about a run."""
    shapes = [f"{name} {array.dtype}{list(array.shape)}" for name, array in result.outputs.items()]
    return [
        *shapes,
        f"wrote {output}" if output else "nothing written: -o out.npz keeps the outputs",
    ]


def outputs_as_dict(result: RunResult, session: Session, output: str | None) -> dict[str, Any]:
    """Return what `--json` prints about a run."""
    outputs = {
        name: {"dtype": str(array.dtype), "shape": array.shape}
        for name, array in result.outputs.items()
    }
    return {"outputs": outputs, "device": session.device, "written": output}


def _read_input(given: str, session: Session) -> dict[str, Array]:
    name, equals, path = given.rpartition("=")
    specs = {spec.name: spec for spec in session.interface.data_inputs}
    if not equals and given.endswith(".npz"):
        return _read_npz(given)
    if not equals and len(specs) != 1:
        options = " ".join(f"--input {name}={name}.npy" for name in specs)
        raise InputError(f"--input {given}: the model has {len(specs)} inputs: {options}")
    name = name if equals else next(iter(specs))
    if PurePath(path).suffix.lower() in _TEXTS and name in specs:
        raise _no_array(path, specs[name], f"{name}=" if equals else "")
    return {name: _read_one(path)}


def _no_array(path: str, spec: TensorSpec, name: str) -> InputError:
    """Return the error for a table of text: how an array is made of it."""
    rows = len(spec.axes) == 3 and BATCH in spec.axes
    index = f"[{', '.join('None' if a == BATCH else ':' for a in spec.axes)}]" if rows else ""
    comma = ", delimiter=','" if path.lower().endswith(".csv") else ""
    array = PurePath(path).with_suffix(".npy")
    made = f"np.loadtxt('{path}'{comma}, dtype='{spec.dtype}', ndmin=2){index}"
    program = f"import numpy as np; np.save('{array}', {made})"
    return InputError(
        f'{path}: expected an .npy file, got text: python -c "{program}" makes one, a row for '
        f"each step (skiprows=1 leaves a heading out); then: --input {name}{array}"
    )


def _read_state(path: str, session: Session) -> dict[str, Array]:
    arrays = _read_npz(path)
    if DIGEST in arrays:  # arrays that the user has made belong to no model
        check_digest(path, arrays, session)
    state = {}
    for pair in session.interface.states:
        found = [name for name in (pair.input, pair.output) if name in arrays]
        if not found:
            raise InputError(
                f"--state {path}: expected {pair.input} or {pair.output}, found {', '.join(arrays)}"
            )
        state[pair.input] = arrays[found[0]]
    return state


def _read_one(path: str) -> Array:
    array = _loaded(path, "an .npy file")
    if isinstance(array, dict):
        raise InputError(f"{path}: expected one array (.npy), got an .npz archive")
    return array


def _read_npz(path: str) -> dict[str, Array]:
    arrays = _loaded(path, "an .npz file")
    if not isinstance(arrays, dict):
        raise InputError(f"{path}: expected arrays by name (.npz), got one array")
    return arrays


def _loaded(path: str, kind: str) -> Array | dict[str, Array]:
    if not Path(path).is_file():
        raise InputError(f"{path}: expected {kind}, {no_such_file(path, _ARRAYS)}")
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected {kind}: {one_line(error)}") from error
