"""Which folders a C program may be written to, and which files are in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rnnedge_exporters.c_source.text import prefix_of
from rnnedge_runtime.errors import WriteError
from rnnedge_runtime.write_target import check_folder, folder_names

MARK = "Made by rnnedge"
"""In the first lines of every file that is written."""
_BUILD = "build"
"""What the Makefile puts its results into."""


def check_program_folder(
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    protected: Iterable[str | os.PathLike[str] | None] = (),
) -> str:
    """Refuse a folder that a C program must not replace.

    Args:
        folder: The folder; it need not exist.
        force: Whether files of a program's names that rnnedge did not write may be replaced.
        protected: Files that are read: a folder that holds one is refused.

    Returns:
        What the names of the functions start with.

    Raises:
        WriteError: When it holds something else, or cannot be written.
    """
    path = check_folder(folder)
    prefix = prefix_of(path.name)
    if not path.is_dir():
        return prefix
    for other in protected:
        if other is not None and path.resolve() in Path(other).resolve().parents:
            raise WriteError(f"{folder}: holds {other}, which is read here: give another folder")
    names = _file_names(prefix)
    for entry in map(path.joinpath, folder_names(path)):
        if entry.name == _BUILD and entry.is_dir() and not entry.is_symlink():
            continue
        if entry.name not in names or not entry.is_file():
            raise WriteError(
                f"{folder}: expected an empty folder or one with a C program only, found "
                f"{entry.name} in it: give another folder"
            )
        if not force and not _is_ours(entry):
            raise WriteError(
                f"{entry}: was not written by rnnedge: give another folder, or replace it with "
                "force=True (--force)"
            )
    return prefix


def _file_names(prefix: str) -> tuple[str, ...]:
    sources = (f"{prefix}{end}" for end in (".h", ".c", "_weights.c", "_test.c"))
    return (*sources, "Makefile", "CMakeLists.txt", "README.md")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(200)
