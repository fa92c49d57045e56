"""`rnnedge run model.onnx --input x.npy -o out.npz`."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import INTERFACE, OUTPUT, force_option, json_option, session_options
from rnnedge.cli.output import print_json, print_lines
from rnnedge_runtime.array_file import read_arrays
from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.contract import BATCH, TensorSpec
from rnnedge_runtime.errors import InputError, one_line
from rnnedge_runtime.missing_file import no_such_file
from rnnedge_runtime.session import Session
from rnnedge_runtime.streaming.state_file import DIGEST, check_digest
from rnnedge_runtime.write_target import NPZ, check_target

Array = NDArray[Any]
_TEXTS = (".csv", ".tsv", ".txt")


@click.command(
    cls=Command,
    short_help="Run MODEL once, without PyTorch.",
    examples=(
        "rnnedge run model.onnx --input x.npy -o out.npz",
        "rnnedge run model.onnx --input x.npy --state out.npz -o next.npz",
        "rnnedge run model.onnx --input input=x.npy --json",
    ),
    extra="what MODEL is fed with is --input {extra}",
)
@click.argument("model", type=FILE)
@option(
    "--input",
    "inputs",
    group=INTERFACE,
    type=FILE,
    multiple=True,
    required=True,
    help="An .npy file, an .npz of arrays by input name, or name=file.npy; may be given again.",
)
@option(
    "--lengths",
    "lengths_file",
    group=INTERFACE,
    type=FILE,
    help="An .npy file with the length of each row.",
)
@option(
    "--state",
    "state_file",
    group=INTERFACE,
    type=FILE,
    shown="zeros",
    help="An .npz with the initial state, as -o writes it.",
)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    type=FILE,
    help="The .npz file to write, with every output by name.",
)
@force_option
@session_options
@json_option
def run(
    model: str,
    inputs: tuple[str, ...],
    lengths_file: str | None,
    state_file: str | None,
    output: str | None,
    *,
    force: bool,
    device: Any,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run MODEL once, without PyTorch.

    The file that -o writes can be given to --state: the next run goes on where this one ended.
    """
    read = [model, *(given.rpartition("=")[2] for given in inputs), lengths_file, state_file]
    if output is not None:
        check_target(output, NPZ, protected=read, force=force)
    session = Session(model, device=device, threads=threads, **options)
    data: dict[str, Array] = {}
    for given in inputs:
        data.update(_read_input(given, session))
    lengths = _read_one(lengths_file) if lengths_file else None
    state = _read_state(state_file, session) if state_file else None
    result = session.run(data, lengths=lengths, state=state)
    if output is not None:
        arrays: dict[str, Any] = dict(result.outputs)
        if session.interface.states:  # the file may be given to --state
            arrays[DIGEST] = np.array(session.digest)
        with atomic_file(output, NPZ, protected=read, force=force) as file:
            np.savez(file, **arrays)
    if as_json:
        outputs = {
            name: {"dtype": str(array.dtype), "shape": array.shape}
            for name, array in result.outputs.items()
        }
        print_json({"outputs": outputs, "device": session.device, "written": output})
        return
    for name, array in result.outputs.items():
        print_lines(f"{name} {array.dtype}{list(array.shape)}")
    print_lines(f"wrote {output}" if output else "nothing written: -o out.npz keeps the outputs")


def _read_input(given: str, session: Session) -> dict[str, Array]:
    name, equals, path = given.rpartition("=")
    specs = {spec.name: spec for spec in session.interface.data_inputs}
    if not equals and given.endswith(".npz"):
        return _read_npz(given)
    if not equals and len(specs) != 1:
        names = ", ".join(specs)
        raise InputError(f"--input {given}: the model has the inputs {names}: say name={given}")
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
    """Read a state by the names of the inputs, or of the outputs that feed them."""
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
        raise InputError(f"{path}: expected {kind}, {no_such_file(path, ('.npy', '.npz'))}")
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected {kind}: {one_line(error)}") from error
