"""`write_program`: from the bytes of an `.onnx` file to a folder of C."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from rnnedge_exporters.c_source.build_files import cmake_lists, makefile
from rnnedge_exporters.c_source.check_source import check_source
from rnnedge_exporters.c_source.packing import Kind
from rnnedge_exporters.c_source.program import lay_out
from rnnedge_exporters.c_source.program_folder import MARK, check_program_folder
from rnnedge_exporters.c_source.readme import readme
from rnnedge_exporters.c_source.sizes import ProgramSizes
from rnnedge_exporters.c_source.sources import generate
from rnnedge_exporters.c_source.vectors import make_vectors
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime import Session
from rnnedge_runtime.atomic_file import atomic_folder
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.plan.model_file import read_model
from rnnedge_runtime.version import __version__

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CProgram:
    """A C program that was written.

    Attributes:
        folder: Where it lies.
        prefix: What the names of its functions start with.
        files: The names of its files.
        sizes: Bytes of flash, RAM and stack, and multiply-accumulates.
        batch: Rows of one call.
        max_steps: Steps of one run; None where there is a step function.
    """

    folder: Path
    prefix: str
    files: tuple[str, ...]
    sizes: ProgramSizes
    batch: int
    max_steps: int | None

    def __str__(self) -> str:
        """Return the folder and how many files are in it."""
        return f"{self.folder} (C99, {len(self.files)} files)"


def check_program_options(
    target: str,
    path: str | os.PathLike[str],
    *,
    batch: int = 1,
    max_steps: int | None = None,
    metadata: object = None,
) -> bool:
    """Return whether a C program is to be written, and refuse its options elsewhere.

    Args:
        target: As in `export`.
        path: What is written: the folder, or an `.onnx` file.
        batch: Rows of each call.
        max_steps: Steps of whole sequences, or None.
        metadata: What the user keeps in the file, which a C program has no place for.

    Raises:
        ExportError: For a batch or steps of another target, or out of range; for metadata.
    """
    if target == "c" and not os.fspath(path).lower().endswith(".onnx"):
        _check_options(batch, max_steps)
        if metadata:
            raise ExportError("metadata: a C program has no place for it: leave it out")
        return True
    for name, given in (("batch", batch != 1), ("max_steps", max_steps is not None)):
        if given:
            raise ExportError(f"{name}: requires target='c' and a folder to write")
    return False


def write_program(
    content: bytes,
    folder: str | os.PathLike[str],
    *,
    batch: int = 1,
    max_steps: int | None = None,
    force: bool = False,
    name: str | None = None,
) -> CProgram:
    """Write a model as C, whole or not at all. The same arguments give the same bytes.

    Args:
        content: The `.onnx` file.
        folder: The folder to write; its name is what the names of the functions start with. An
            existing one is replaced when it is empty or holds such a program and nothing else.
        batch: Rows that each call computes.
        max_steps: None for a step function whose states are kept; or the steps of the whole
            sequences that alone can be run, for a model that looks ahead.
        force: Whether files of these names that rnnedge did not write may be replaced.
        name: The model, for messages.

    Returns:
        The folder, its files and sizes.

    Raises:
        ExportError: When the model has what the C target does not know, named by its node, cannot
            be run in steps, or is too large.
        WriteError: When the folder must not or cannot be written.
    """
    folder = Path(folder)
    name = name or "the model"
    prefix = check_program_folder(folder, force=force)
    check_program_options("c", folder, batch=batch, max_steps=max_steps)
    session = Session(content, engine="onnxruntime")
    interface = session.interface
    if max_steps is None:
        _check_streamable(session, name)
    _check_batch(session, batch, name)
    program = lay_out(content, interface, batch=batch, steps=max_steps, name=name)
    title = f"{MARK} {__version__}. Export the model again rather than editing this file."
    sources = generate(
        program, prefix, kinds=_kinds(content, name), title=title, digest=_digest(session, content)
    )
    vectors = make_vectors(program, session, name)
    files = {
        f"{prefix}.h": sources.header,
        f"{prefix}.c": sources.code,
        f"{prefix}_weights.c": sources.weights,
        f"{prefix}_test.c": check_source(program, sources, vectors, title),
        "Makefile": makefile(prefix, title),
        "CMakeLists.txt": cmake_lists(prefix, title),
        "README.md": readme(program, sources, title),
    }
    with atomic_folder(folder) as new:
        check_program_folder(folder, force=force)
        for file, text in files.items():
            (new / file).write_text(text, encoding="utf-8", newline="\n")
    return CProgram(folder, prefix, tuple(files), sources.sizes, batch, max_steps)


def _check_options(batch: object, max_steps: object) -> None:
    for name, value in (("batch", batch), ("max_steps", max_steps)):
        if value is None and name == "max_steps":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ExportError(f"{name}: expected an integer of 1 or more, got {value!r}")


def _check_streamable(session: Session, name: str) -> None:
    remedy = "max_steps=N (--max-steps N) writes a program of whole sequences of N steps"
    if session.hindrances:
        raise ExportError(f"{name}: cannot run in steps: {'; '.join(session.hindrances)}: {remedy}")
    if not session.interface.states:
        raise ExportError(
            f"{name}: cannot run in steps: it has no states to keep between calls: {remedy}"
        )


def _check_batch(session: Session, batch: int, name: str) -> None:
    axes = {axis for spec in session.interface.inputs for axis in spec.axes}
    if batch != 1 and BATCH not in axes:
        raise ExportError(
            f"{name}: its batch is fixed in the file: leave batch={batch} (--batch) out"
        )


def _digest(session: Session, content: bytes) -> str:
    """Return the digest of the weights, or of the file where it states none in that form."""
    if _DIGEST.fullmatch(session.digest):
        return session.digest
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _kinds(content: bytes, name: str) -> tuple[Kind, ...]:
    """Return the storages that weights of the file have, the narrowest first."""
    found = {t.array.dtype.name for t in read_model(content, name).graph.initializers.values()}
    kinds: list[Kind] = ["float32"]
    if "float16" in found:
        kinds.insert(0, "float16")
    if found & {"int8", "uint8"}:
        kinds.insert(0, "int8")
    return tuple(kinds)
