"""`write_repository`: a model as Triton loads it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnnedge.triton.batch_first import batch_first
from rnnedge.triton.config import MARK, ServingOptions, config_text, served_outputs
from rnnedge.triton.proof import prove
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.serialize import LARGEST
from rnnedge_runtime.atomic_file import atomic_folder
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH, Interface, TensorSpec
from rnnedge_runtime.errors import InputError, OptionError, WriteError
from rnnedge_runtime.session import Session
from rnnedge_runtime.write_target import cannot_write, check_folder

_CONFIG = "config.pbtxt"
_MODEL = os.path.join("1", "model.onnx")
"""The name that Triton looks for in the folder of version 1."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class TritonModel:
    """A model in a repository, proven.

    Attributes:
        name: Its name on the server.
        folder: Its folder in the repository.
        interface: Its inputs and outputs, with the batch axis in front.
        options: How it is served.
        difference: The largest difference from the model that it was made from; 0 where all
            outputs were the same to the bit.
        sha256: The digest of the model file.
        notes: What is different from the model that it was made from, and what is to be known.
    """

    name: str
    folder: Path
    interface: Interface
    options: ServingOptions
    difference: float
    sha256: str
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return {
            "name": self.name,
            "written": str(self.folder),
            "inputs": [str(spec) for spec in _client_inputs(self.interface)],
            "outputs": [str(spec) for spec in served_outputs(self.interface)],
            "states": [asdict(pair) for pair in self.interface.states],
            "options": asdict(self.options),
            "difference": self.difference,
            "sha256": self.sha256,
            "notes": list(self.notes),
        }


def write_repository(
    model: str | os.PathLike[str],
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
    options: ServingOptions | None = None,
) -> TritonModel:
    """Write a model into a repository of Triton Inference Server, whole or not at all.

    Triton joins requests along the first axis, so the batch axes of inputs, outputs and states are
    moved to the front. Before anything is written, the new file is run with ONNX Runtime request by
    request, with the states fed back as Triton does, and compared with `Session.stream` of the old
    one. A model without states is served whole sequences.

    Args:
        model: The `.onnx` file, of any maker.
        repository: The folder of the repository, which is created if its parent exists; a model of
            the same name that this function wrote is replaced.
        name: The name of the model on the server; None is the name of the file.
        constants: Values of inputs without a batch axis, which Triton does not have, by name; they
            are stored in the file.
        options: How it is served; None is the defaults of `ServingOptions`.

    Returns:
        What was written, and how it compares.

    Raises:
        ExportError: When Triton cannot serve it: it reads the future although it has states, an
            input or a state has no batch axis, or a dtype is not known there.
        UnequalError: When the rewritten file does not give the same answers.
        OptionError: For an option out of its range, or a name that Triton does not take.
        ModelError: When the file cannot be opened.
        WriteError: When the folder must not or cannot be written.
    """
    chosen = options or ServingOptions()
    _check_options(chosen)
    name = _name_of(model) if name is None else name
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"name: expected letters, digits, '_', '-' and '.', got {name!r}: give another (--name)"
        )
    folder = _check_place(Path(repository), name, Path(model))
    session = Session(model, engine="onnxruntime", threads=1)
    session.probe_axes()
    given = _constants(session.interface, constants or {})
    _check_servable(str(model), session, given)
    file = OnnxFile(model)
    made, interface = batch_first(file.stored, session.interface, session.contract, given)
    text = config_text(name, made, interface, chosen)
    if made.ByteSize() > LARGEST:
        raise ExportError(f"{model}: one ONNX file holds at most {LARGEST:,} bytes")
    content = made.SerializeToString(deterministic=True)
    difference = prove(session, content, interface, given)
    try:
        Path(repository).mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(repository, error) from error
    with atomic_folder(folder) as new:
        (new / _CONFIG).write_text(text, "utf-8")
        (new / _MODEL).parent.mkdir()
        (new / _MODEL).write_bytes(content)
    return TritonModel(
        name,
        folder,
        interface,
        chosen,
        difference,
        sha256(content).hexdigest(),
        tuple(_notes(session, file, interface, given)),
    )


def _name_of(model: str | os.PathLike[str]) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(model).stem).lstrip("-.") or "model"


def _check_options(options: ServingOptions) -> None:
    for field in ("max_batch", "streams", "instances", "threads"):
        value = getattr(options, field)
        if not isinstance(value, int) or value < 1:
            raise OptionError(f"{field}: expected an integer of 1 or more, got {value!r}")
    if not 0 < options.idle_seconds < float("inf"):
        raise OptionError(f"idle_seconds: expected a number above 0, got {options.idle_seconds!r}")
    if not 0 <= options.max_delay_ms < float("inf"):
        raise OptionError(f"max_delay_ms: expected 0 or more, got {options.max_delay_ms!r}")


def _check_place(repository: Path, name: str, model: Path) -> Path:
    """Return the folder of the model; what is there must be what this module wrote."""
    check_folder(repository)
    folder = repository / name
    if not os.path.lexists(folder):
        return folder
    check_folder(folder)
    if folder.resolve() in model.resolve().parents:
        raise WriteError(f"{folder}: holds {model}, which is read here: give another repository")
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    config = folder / _CONFIG
    ours = config.is_file() and config.read_bytes().startswith(MARK.encode())
    if there and (not ours or there > {_CONFIG, _MODEL}):
        other = next(iter(sorted(there - {_CONFIG, _MODEL})), _CONFIG)
        raise WriteError(
            f"{folder}: expected an empty folder or a model that rnnedge wrote, found {other} "
            "in it: give another name (--name)"
        )
    return folder


def _constants(interface: Interface, given: Mapping[str, ArrayLike]) -> dict[str, Array]:
    specs = {spec.name: spec for spec in interface.data_inputs}
    constants: dict[str, Array] = {}
    for name, value in given.items():
        spec = specs.get(name)
        if spec is None:
            raise InputError(
                f"constants: the model has no input {name!r}; it has {', '.join(specs)}"
            )
        if BATCH in spec.axes:
            raise InputError(f"constants: {spec} has a {BATCH} axis: a client gives it")
        try:
            array = np.asarray(value, spec.dtype)
        except (ValueError, OverflowError, TypeError) as error:
            raise InputError(f"constants: expected {spec}, got {value!r}") from error
        wanted = [axis if isinstance(axis, int) else -1 for axis in spec.axes]
        fits = array.ndim == len(wanted) and all(
            size in (-1, got) for size, got in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise InputError(f"constants: expected {spec}, got shape {list(array.shape)}")
        constants[name] = array
    return constants


def _check_servable(model: str, session: Session, constants: Mapping[str, Array]) -> None:
    """Refuse a model whose requests Triton cannot join, or whose sequences it cannot continue."""
    interface = session.interface
    if interface.states and session.hindrances:
        raise ExportError(
            f"{model}: requests of one sequence would not give what the whole sequence gives: "
            f"{'; '.join(session.hindrances)}; export it without states (--no-states) to serve "
            "whole sequences"
        )
    for spec in interface.inputs:
        if BATCH in spec.axes or spec.name in constants:
            continue
        remedy = _EXPORT if spec.axes else f"give its value (--constant {spec.name}=...)"
        raise ExportError(
            f"{spec}: Triton joins requests along a {BATCH} axis, and this input has none: {remedy}"
        )
    finals = {pair.output for pair in interface.states}
    for spec in interface.outputs:
        if spec.name in finals and BATCH not in spec.axes:
            raise ExportError(f"{spec}: this state has no {BATCH} axis: {_EXPORT}")
    if not served_outputs(interface):
        raise ExportError(f"{model}: no output has a {BATCH} axis: {_EXPORT}")


_EXPORT = f"export it with a dynamic {BATCH} axis (rnnedge doctor says what fixed it)"


def _client_inputs(interface: Interface) -> Iterator[TensorSpec]:
    states = {pair.input for pair in interface.states}
    return (spec for spec in interface.inputs if spec.name not in states)


def _notes(
    session: Session, file: OnnxFile, interface: Interface, constants: Mapping[str, Array]
) -> Iterator[str]:
    before = {spec.name: spec for spec in session.interface.inputs + session.interface.outputs}
    for spec in (*interface.inputs, *served_outputs(interface)):
        if spec.axes != before[spec.name].axes:
            yield f"{before[spec.name]} became {spec}"
    for name, value in constants.items():
        yield f"{name} is {value.tolist()} for all requests"
    served = {spec.name for spec in served_outputs(interface)}
    for spec in interface.data_outputs:
        if spec.name not in served:
            yield f"{spec} has no {BATCH} axis and is not served"
    if not interface.states:
        yield "the model has no states: each request is a whole sequence"
    yield from session.doubts
    if any(node.op_type.startswith("DynamicQuantize") for node in file.nodes()):
        yield (
            "activations are rounded to 8 bits with one scale for all requests of a call, so an "
            "answer depends a little on which requests share its call"
        )
