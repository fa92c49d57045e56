"""What `torch.save` wrote: a zip archive, or before PyTorch 1.6 pickles with the numbers behind.

`torch.load` is not used: with `weights_only=True` it refuses a file for one harmless object next to
the weights, without it the file runs what it likes, and both read all of a training checkpoint for
the few tensors that are wanted. The formats are described in torch/serialization.py.
"""

from __future__ import annotations

import io
import sys
import zipfile
from typing import Any

import torch

from rnnedge.errors import SourceError
from rnnedge.sources.checkpoints.stored import StoredStorage
from rnnedge.sources.checkpoints.unpickling import (
    PersistentLoad,
    next_pickle,
    stored_storage,
    unpickle,
)
from rnnedge_runtime.errors import one_line, pass_on_interruption

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_DEFLATE_RATIO = 1032
"""Bytes that one compressed byte can become, at most; https://zlib.net/zlib_tech.html."""


def check_sizes(info: zipfile.ZipInfo) -> None:
    """Compare the sizes that a zip archive states with what they can be.

    Raises:
        SourceError: When a file in it would become larger than its bytes allow.
    """
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise SourceError(f"is a zip archive of an unusual kind: {info.filename} is not deflated")
    if info.file_size > (info.compress_size + 1) * _DEFLATE_RATIO:
        raise SourceError(f"is damaged: {info.filename} cannot hold {info.file_size:,} bytes")


def member(archive: zipfile.ZipFile, name: str, size: int | None = None) -> bytearray:
    """Read one file of a zip archive, after a look at the sizes that the archive states.

    Args:
        archive: The archive.
        name: The file in it.
        size: Bytes to read; None reads all.

    Raises:
        SourceError: When it is damaged, or holds fewer bytes.
        KeyError: When there is no such file.
    """
    info = archive.getinfo(name)
    check_sizes(info)
    wanted = info.file_size if size is None else size
    if wanted > info.file_size:
        raise SourceError(f"is damaged: {name} holds {info.file_size:,} of {wanted:,} bytes")
    try:
        with archive.open(info) as file:
            content = bytearray(file.read(wanted))
    except Exception as error:  # zipfile and zlib raise a dozen kinds for a damaged archive
        pass_on_interruption(error)
        raise SourceError(f"is damaged: {name}: {one_line(error)}") from error
    if len(content) != wanted:
        raise SourceError(f"is damaged: {name} is cut short")
    return content


class ZipStorages:
    """The storages of a zip archive, each read once."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, *, swapped: bool) -> None:
        self._archive, self._folder, self._swapped = archive, folder, swapped
        self._read: dict[str, bytearray] = {}

    def read(self, key: str, size: int, width: int) -> bytearray:
        """Return the bytes of one storage, as `Storages` says."""
        if key not in self._read:
            try:
                content = member(self._archive, f"{self._folder}data/{key}", size)
            except KeyError:
                raise SourceError(f"is damaged: the file holds no storage {key}") from None
            self._read[key] = _native(content, width, swapped=self._swapped)
        return self._read[key]


def read_zip(archive: zipfile.ZipFile, folder: str) -> Any:
    """Read the archive of `torch.save`; tensors stay in it until they are asked for.

    Args:
        archive: The archive, open for as long as tensors are read.
        folder: Where `data.pkl` is in it, with a slash at its end.

    Raises:
        ValueError: When it is damaged.
    """
    names = archive.namelist()
    marked = f"{folder}byteorder"
    order = bytes(member(archive, marked)).decode() if marked in names else "little"
    storages = ZipStorages(archive, folder, swapped=order != sys.byteorder)

    def persistent_load(pid: Any) -> StoredStorage:
        _, kind, key, _, count = pid
        return stored_storage(kind, key, count, storages)

    content = bytes(member(archive, f"{folder}data.pkl"))
    return _next_object(io.BytesIO(content), persistent_load)


class LegacyStorages:
    """The storages behind the pickles of a file; where each begins is known once all are."""

    def __init__(self, file: io.BufferedIOBase, *, swapped: bool) -> None:
        self._file, self._swapped = file, swapped
        self._starts: dict[str, int] = {}
        self._read: dict[str, bytearray] = {}

    def find(self, keys: Any, found: dict[str, StoredStorage]) -> None:
        """Note where each storage begins.

        Args:
            keys: Of the storages in the order of the file.
            found: Those that the pickle referred to.

        Raises:
            ValueError: When the file is cut short, or sizes differ.
        """
        position = self._file.tell()
        end = self._file.seek(0, io.SEEK_END)
        for key in keys:
            storage = found.get(str(key))
            if storage is None:
                raise ValueError(f"it holds a storage {key} of no tensor")
            self._file.seek(position)
            count = int.from_bytes(self._file.read(8), "little", signed=True)
            if (
                position + 8 > end
                or count * storage.dtype.itemsize != storage.size
                or position + storage.size > end - 8
            ):
                raise ValueError("it is cut short")
            self._starts[str(key)] = position + 8
            position += 8 + storage.size

    def read(self, key: str, size: int, width: int) -> bytearray:
        """Return the bytes of one storage, as `Storages` says."""
        if key not in self._read:
            if key not in self._starts:
                raise SourceError(f"is damaged: the file holds no storage {key}")
            self._file.seek(self._starts[key])
            content = bytearray(size)
            self._file.readinto(content)
            self._read[key] = _native(content, width, swapped=self._swapped)
        return self._read[key]


def read_legacy(file: io.BufferedIOBase) -> Any:
    """Read what `torch.save` wrote before PyTorch 1.6, or a plain pickle.

    Args:
        file: The file, open for as long as tensors are read.

    Raises:
        ValueError: When it is neither, or damaged.
    """
    first = _next_object(file)
    if first != _MAGIC_NUMBER:
        return first
    if _next_object(file) != _PROTOCOL_VERSION:
        raise ValueError("it is of an unknown version")
    machine = _next_object(file)
    little = not isinstance(machine, dict) or machine.get("little_endian", True)
    storages = LegacyStorages(file, swapped=little != (sys.byteorder == "little"))
    found: dict[str, StoredStorage] = {}

    def persistent_load(pid: Any) -> Any:
        if pid[0] in ("module", b"module"):  # a class with its source text, which nobody reads
            return pid[1]
        _, kind, key, _, count, view = pid
        if view is not None:
            raise ValueError("it holds views of PyTorch before 0.4: load and save it again there")
        return found.setdefault(str(key), stored_storage(kind, key, count, storages))

    content = _next_object(file, persistent_load)
    storages.find(_next_object(file), found)
    return content


def _next_object(file: io.BufferedIOBase, persistent_load: PersistentLoad | None = None) -> Any:
    """Read the next pickle; a storage in it may be a file of the older form by itself."""
    return unpickle(next_pickle(file), persistent_load, read_legacy)


def _native(content: bytearray, width: int, *, swapped: bool) -> bytearray:
    if swapped and width > 1 and content:
        numbers = torch.frombuffer(content, dtype=torch.uint8).reshape(-1, width)
        numbers.copy_(numbers.flip(1))
    return content
