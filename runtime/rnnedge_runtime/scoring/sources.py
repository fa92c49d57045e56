"""DATA on a disk: which files it is, how many rows they have, and a range of those rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rnnedge_runtime.errors import InputError
from rnnedge_runtime.missing_file import no_such_file
from rnnedge_runtime.scoring.arrow_package import Batch, Schema

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
NUMPY = (".npz",)
ONE_ROW = (".npy",)
WAV = (".wav",)
_KINDS = {"parquet": PARQUET, "arrow": ARROW, "npz": NUMPY, "npy": ONE_ROW, "wav": WAV}


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Consecutive rows of a file that are read together.

    Attributes:
        rows: How many.
        bytes: Of the columns that are read.
    """

    rows: int
    bytes: int


class RowSource(Protocol):
    """Files of one kind, whose rows follow each other in the order of the files."""

    @property
    def many_rows(self) -> bool:
        """Whether a file has many rows, and is worth reading for its digest."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files."""

    @property
    def id_name(self) -> str | None:
        """The column of ids in what is read; None if there is none."""

    def groups(self) -> list[list[RowGroup]]:
        """Return the groups of rows of each file.

        Raises:
            InputError: If a file cannot be read, or lacks a column.
        """

    def schema(self) -> Schema:
        """Return the schema of what is read, without errors of reading.

        Raises:
            InputError: If files do not fit together.
        """

    def read(self, file: int, start: int, stop: int, *, ids_only: bool = False) -> Iterator[Batch]:
        """Yield a range of the rows of a file as record batches.

        Args:
            file: Which file.
            start: Its first row.
            stop: The row after the last one.
            ids_only: Whether the columns of the inputs are left out, and nothing is run that could
                fail on them.

        Raises:
            InputError: If the file cannot be read.
        """


def find_files(data: str | os.PathLike[str], *, reader: str | None) -> tuple[str, list[Path]]:
    """Return the kind of DATA and its files, in the order of their names.

    Args:
        data: A file or a folder; names that begin with `.` or `_` are passed over.
        reader: The function that reads a file, or None.

    Returns:
        `parquet`, `arrow`, `npz` or `npy`, or `reader`; and the files.

    Raises:
        InputError: If there are none, or files of several kinds.
    """
    text = os.fspath(data)
    path = Path(text)
    if path.is_file():
        return _kind_of(path, reader), [path]
    if not path.is_dir():
        folder = f"; a folder is read whole: {path.parent}" if set("*?[") & set(path.name) else ""
        missing = no_such_file(path, what="file or folder")
        raise InputError(f"{text}: expected a file or a folder of files, {missing}{folder}")
    visible = sorted(_visible(path), key=lambda inner: inner.relative_to(path).as_posix())
    if reader is not None:
        wav = [inner for inner in visible if inner.suffix.lower() in WAV]
        if not visible:
            raise InputError(f"{text}: expected files, found none")
        return "reader", wav or visible
    by_kind: dict[str, list[Path]] = {}
    for inner in visible:
        kind = next((k for k, suffixes in _KINDS.items() if inner.suffix.lower() in suffixes), "")
        by_kind.setdefault(kind, []).append(inner)
    by_kind.pop("", None)
    if not by_kind:
        raise InputError(f"{text}: expected files that end in {_suffixes()}, found none")
    if len(by_kind) > 1:
        first, second = [files[0].relative_to(path) for files in by_kind.values()][:2]
        raise InputError(f"{text}: expected files of one kind, found {first} and {second}")
    kind, files = next(iter(by_kind.items()))
    if kind == "wav":
        raise _needs_reader(files[0])
    return kind, files


def _kind_of(path: Path, reader: str | None) -> str:
    if reader is not None:
        return "reader"
    suffix = path.suffix.lower()
    for kind, suffixes in _KINDS.items():
        if suffix in suffixes:
            if kind == "wav":
                raise _needs_reader(path)
            return "npz" if kind == "npy" else kind
    raise InputError(f"{path}: expected a file that ends in {_suffixes()}")


def _visible(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "_")):
                continue
            if entry.is_dir():
                yield from _visible(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path)


def _suffixes() -> str:
    return ", ".join(suffix for suffixes in _KINDS.values() for suffix in suffixes)


def _needs_reader(path: Path) -> InputError:
    return InputError(
        f"{path}: expected a function that makes frames of a WAV file: reader= (--reader) "
        "package.module:function"
    )
