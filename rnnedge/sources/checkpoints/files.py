"""Opening a checkpoint file as what its content says it is, whatever its name."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from rnnedge.errors import SourceError
from rnnedge.sources.checkpoints.torch_files import check_sizes, read_legacy, read_zip
from rnnedge_runtime.array_file import check_expansion
from rnnedge_runtime.errors import one_line, pass_on_interruption

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth", ".ckpt", ".bin")
"""Names that checkpoints usually have."""

_SHOWN = 3
"""Files of a folder that are named."""
_KINDS = {".safetensors": "a safetensors file", ".npz": "an npz archive"}
_LONGEST_HEADER = 10_000_000
"""Bytes of a safetensors header, at most: 100,000 tensors. Its reader takes 25 times as many."""

_OTHERS = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first",
    b"\x89HDF": "is an HDF5 file, as Keras writes: write its weights with safetensors, named as in "
    "PyTorch",
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself: git lfs pull",
    b"<!DOCTYPE": "is a web page, not the file itself",
    b"<html": "is a web page, not the file itself",
}


def some_files(folder: Path, suffixes: Collection[str]) -> str:
    """Name a few files of a folder, to go on with after "name a file in it".

    Args:
        folder: The folder.
        suffixes: What their names end with, in lower case.

    Returns:
        Nothing where there are none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return f", such as {', '.join(map(str, found[:_SHOWN]))}" if found else ""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a checkpoint, as dictionaries of tensors that may still be in the file.

    No code that the file may carry is run: what is neither a tensor nor a container is a `Stub`.

    Args:
        path: A safetensors file, an npz archive, what `torch.save` wrote, or a pickle.

    Yields:
        What was saved; tensors can be read for as long as the block lasts.

    Raises:
        SourceError: When the file is not one of these, or damaged.
    """
    with path.open("rb") as file:
        start = file.read(262)
    size = path.stat().st_size
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        with _archive(path) as archive:
            yield _in_zip(path, archive)
    elif _is_safetensors(start, size):
        yield _in_safetensors(path)
    elif start[:1] == b"\x80":
        with path.open("rb") as file:
            try:
                content = read_legacy(file)
            except ValueError as error:
                raise _unreadable(path, f"it is cut short, or damaged ({_short(error)})") from error
            yield content
    else:
        raise _other(path, start)


def _other(path: Path, start: bytes) -> SourceError:
    if not start:
        return _unreadable(path, "it is empty")
    for magic, words in _OTHERS.items():
        if start.startswith(magic):
            return SourceError(words)
    if start[257:262] == b"ustar":
        return SourceError("is a tar archive: unpack it first")
    return _unreadable(path, "it does not begin like one")


def _unreadable(path: Path, reason: str) -> SourceError:
    kind = _KINDS.get(path.suffix.lower(), "a torch checkpoint")
    return SourceError(f"expected {kind}: {reason}")


def _short(error: Exception) -> str:
    return one_line(error)[:160]


# --- safetensors ----------------------------------------------------------------------------------


def _is_safetensors(start: bytes, size: int) -> bool:
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 2 <= length <= _LONGEST_HEADER


def _in_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"expected a safetensors file: {_short(error)}") from error


# --- zip archives ---------------------------------------------------------------------------------


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unreadable(path, f"it is damaged, or cut short ({_short(error)})") from error
    with archive:
        for info in archive.infolist():
            check_sizes(info)
        try:
            check_expansion(archive, path.stat().st_size)
        except ValueError as error:
            raise SourceError(f"is not read: it has {error}") from error
        yield archive


def _saved(state_dict: str) -> str:
    """Return the command that writes a state dict, an expression of Python, to a checkpoint."""
    return f"python -c \"import torch; torch.save({state_dict}, 'weights.pt')\""


def _in_zip(path: Path, archive: zipfile.ZipFile) -> Any:
    names = archive.namelist()
    folder, _, _ = names[0].rpartition("/")[0].partition("/") if names else ("", "", "")
    folder = f"{folder}/" if folder else ""
    inside = {name.removeprefix(folder) for name in names}
    if "constants.pkl" in inside:
        raise SourceError(
            "is a TorchScript archive, which loading would run; if you trust it, write its "
            f"weights: {_saved(f'torch.jit.load({str(path)!r}).state_dict()')}"
        )
    if ".data/extern_modules" in inside:
        raise SourceError(_package(path, inside))
    if "archive_format" in inside or "serialized_exported_program.json" in inside:
        raise SourceError(
            "is a program of torch.export, without modules: export the nn.Module it was made of, "
            "rnnedge export 'package.module:Class(...)' --weights weights.pt; if you trust the "
            f"file, write its weights: {_saved(f'torch.export.load({str(path)!r}).state_dict')}"
        )
    try:
        if "data.pkl" in inside:
            return read_zip(archive, folder)
        if names and all(name.endswith(".npy") for name in names):
            return _in_npz(archive)
    except SourceError:
        raise
    except Exception as error:  # zipfile and zlib raise a dozen kinds for a damaged archive
        pass_on_interruption(error)
        raise _unreadable(path, f"it is damaged, or cut short ({_short(error)})") from error
    some = ", ".join(sorted(inside)[:4]) or "nothing"
    raise _unreadable(path, f"it is a zip archive of something else; it holds {some}")


def _package(path: Path, inside: set[str]) -> str:
    pickles = sorted(name for name in inside if name.endswith(".pkl"))
    package, _, name = (pickles or ["model/model.pkl"])[0].rpartition("/")
    module = f"torch.package.PackageImporter({str(path)!r}).load_pickle({package!r}, {name!r})"
    return (
        "is a torch.package archive, whose code is not run; write its weights where it may run: "
        f"torch.save({module}.state_dict(), 'weights.pt')"
    )


def _in_npz(archive: zipfile.ZipFile) -> dict[str, Any]:
    weights = {}
    for info in archive.infolist():
        with archive.open(info) as file:
            shape, dtype = _npy_header(file)
            if dtype.hasobject:
                raise SourceError(
                    "holds pickled objects, which can run code and are not read: save plain "
                    "arrays, np.savez('weights.npz', **{name: array, ...})"
                )
            if dtype.kind not in "fiub":
                continue
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"{info.filename} is shorter than its header says")
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        native = array.astype(dtype.newbyteorder("="), order="C")
        weights[info.filename.removesuffix(".npy")] = torch.from_numpy(native)
    return weights


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype
