"""Which files may be written: the checks that every writer shares.

A file is replaced only by a file of the same kind, recognised by its content as well as its name,
and never if the command reads it.
"""

from __future__ import annotations

import mmap
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from rnnedge_runtime.errors import WriteError
from rnnedge_runtime.protobuf_wire import BYTES, VARINT, Bytes, read_fields

Target: TypeAlias = "str | os.PathLike[str]"
Kinds: TypeAlias = Mapping[str, Callable[[BinaryIO], bool]]
"""The suffixes that a writer accepts, in lower case, each with a function that checks whether an
existing file with that suffix has the content that the suffix promises. An empty suffix accepts any
name."""

_LONGEST_NAME = 255
"""Bytes; used if the system does not report the limit of a folder."""
_SHOWN = 40
"""Characters shown of a name that is too long."""
_THERE = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_target(
    path: Target,
    kinds: Kinds,
    *,
    protected: Iterable[Target | None] = (),
    force: bool = False,
    replace: bool = True,
) -> Path:
    """Check that a file may be written; call it before the work that produces the file.

    An empty file may be replaced by any kind. A symbolic link is replaced, not followed, but the
    file that it points to is checked as if it were at `path`.

    Args:
        path: The file to write.
        kinds: The suffixes that its name may have.
        protected: Files that must not be replaced: inputs, and other outputs of the same command.
            None and paths that do not exist are ignored.
        force: Whether a file of another kind may be replaced.
        replace: Whether any file may be replaced.

    Returns:
        The absolute path.

    Raises:
        WriteError: If the file must not or cannot be written; the message says why.
    """
    target, found = _checked(path, "a file")
    if found is not None:
        _refuse_others(path, found, "a file")
    for other in protected:
        if other is not None and _is_same(target, found, other):
            raise WriteError(
                f"{path}: is the same file as {os.fspath(other)}, which is read or written here "
                "too: choose another name"
            )
    suffix = suffix_of(target, kinds)
    if not suffix and "" not in kinds:
        such = f", such as {Path(path).with_suffix(next(iter(kinds)))}" if len(kinds) == 1 else ""
        raise WriteError(f"{path}: expected a name that ends in {_listed(kinds)}{such}")
    if not replace and os.path.lexists(target):
        raise already_there(path)
    if found is not None and found.st_size and not force:
        _refuse_other_kind(path, target, suffix, kinds[suffix])
    return target


def check_folder(path: Target) -> Path:
    """Check that a folder may be written, whatever an existing one contains.

    Returns:
        The absolute path; a symbolic link is replaced, not followed.

    Raises:
        WriteError: If `path` exists and is not a folder, or its parent folder does not exist.
    """
    if os.fspath(path) and Path(path).name in ("", ".."):  # such as `.`: it has another name
        path = Path(path).resolve()
    target, found = _checked(path, "a folder")
    if found is not None:
        _refuse_others(path, found, "a folder")
    return target


def folder_names(path: Target) -> list[str]:
    """Return the names in a folder that is to be replaced, sorted.

    Raises:
        WriteError: If it cannot be read.
    """
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        raise cannot_write(path, error) from error


def suffix_of(path: Path, kinds: Kinds) -> str:
    """Return the suffix of `kinds` that a name ends with, or an empty string."""
    return next((suffix for suffix in kinds if path.name.lower().endswith(suffix)), "")


def already_there(path: Target) -> WriteError:
    """Return the error for a default name that already exists."""
    return WriteError(f"{path}: already exists: -o {path} replaces it, another name keeps it")


def cannot_write(path: Target, error: OSError) -> WriteError:
    """Return the error for what the operating system refuses."""
    return WriteError(f"{path}: cannot be written: {error.strerror or error}")


def _checked(path: Target, kind: str) -> tuple[Path, os.stat_result | None]:
    """Return the absolute path of a target, and the status of what exists there, links followed."""
    text = os.fspath(path)
    if not text or "\0" in text:
        raise WriteError(f"{text!r}: expected the name of {kind} to write")
    target = Path(text).absolute()
    if len(target.name) > _SHOWN:
        _refuse_long_name(target)
    if not os.path.isdir(target.parent):
        raise WriteError(
            f"{path}: expected an existing folder, found no folder {Path(text).parent}: create it"
        )
    try:
        return target, target.stat()
    except FileNotFoundError:  # a symbolic link to nothing, too
        return target, None
    except OSError as error:
        raise cannot_write(path, error) from error


def _refuse_long_name(target: Path) -> None:
    size = len(os.fsencode(target.name))
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # not POSIX, or no such folder
        longest = _LONGEST_NAME
    if size > longest:
        raise WriteError(
            f"{target.name[:_SHOWN]}...: expected a name of at most {longest} bytes, got {size}"
        )


def _refuse_others(path: Target, found: os.stat_result, kind: str) -> None:
    """Raise an error if what exists is not of `kind`: a file, or a folder."""
    there = next((name for is_one, name in _THERE if is_one(found.st_mode)), "something else")
    if there != kind:
        raise WriteError(f"{path}: expected the name of {kind} to write, found {there}")


def _is_same(target: Path, found: os.stat_result | None, other: Target) -> bool:
    try:
        there = Path(other).absolute()
        if found is not None:
            return os.path.samestat(found, there.stat())
        same_folder = os.path.samestat(target.parent.stat(), there.parent.stat())
        return same_folder and target.name == there.name
    except (OSError, ValueError):  # `other` does not exist, or is not a path
        return False


def _listed(kinds: Kinds) -> str:
    *others, last = kinds
    return f"{', '.join(others)} or {last}" if others else last


def _refuse_other_kind(
    path: Target, target: Path, suffix: str, is_one: Callable[[BinaryIO], bool]
) -> None:
    try:
        with target.open("rb") as file:
            if is_one(file):
                return
        found = f"the file there does not hold what a {suffix} file holds"
    except OSError as error:
        found = f"the file there cannot be read ({error.strerror or error})"
    raise WriteError(
        f"{path}: {found}: choose another name, or replace it with force=True (--force)"
    )


_MODEL = dict.fromkeys((1, 5), VARINT) | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), BYTES)
_GRAPH = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 14, 15, 16), BYTES)
"""Fields of a ModelProto and of a GraphProto, and how they are encoded.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""
_MODEL_GRAPH = 7


def is_onnx(file: BinaryIO) -> bool:
    """Whether a file is a whole ONNX model, as far as the fields of model and graph tell."""
    # The map is closed with its last view. Weights are skipped, so they are never read.
    content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        graphs = [part for number, part in _fields(content, _MODEL) if number == _MODEL_GRAPH]
        return any(len(graph) and all(_fields(graph, _GRAPH)) for graph in graphs)
    except ValueError:
        return False


def _fields(message: Bytes, known: Mapping[int, int]) -> Iterable[tuple[int, Bytes]]:
    for number, part in read_fields(message, {number: (wire,) for number, wire in known.items()}):
        if number not in known:
            raise ValueError(f"field {number} is not defined by ONNX")
        yield number, part


def is_npz(file: BinaryIO) -> bool:
    """Whether a file is a numpy archive; a PyTorch checkpoint is a ZIP archive too, and is not."""
    try:
        with zipfile.ZipFile(file) as archive:
            return all(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


ONNX: Kinds = {".onnx": is_onnx}
NPZ: Kinds = {".npz": is_npz}
