"""Reads numpy's files from strangers: sizes are compared before memory is taken, and no pickles.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO, TypeVar

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import WriteError, one_line, pass_on_interruption

_T = TypeVar("_T")
_ARCHIVE = b"PK"
_KINDS = "biufcU"
"""What an array may hold: numbers, booleans, and text such as a digest."""
_LONGEST_NAME, _SHOWN = 60_000, 40
"""Bytes of the name of an array, and characters of it that a message shows."""
_LONGEST_HEADER = 1 << 16
_LONGEST_EMPTY = 1 << 20
"""The largest axis of an array without values: no bytes follow that would bound it."""
_MOST_TIMES, _MOST_BYTES = 16, 1 << 28
"""An archive may become 16 times as large as its file, and 256 MiB whatever its size. A recording
shrinks to a half when it is compressed, silence to nearly nothing."""


def read_arrays(path: str | os.PathLike[str]) -> Array | dict[str, Array]:
    """Read an `.npy` or `.npz` file; which one it is, its content says.

    Args:
        path: The file.

    Returns:
        The array, or the arrays of an archive by name; of numbers, booleans or text.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is something else, cut off or damaged, would become far larger than it is,
            or holds other values.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(len(_ARCHIVE))
        file.seek(0)
        read = _archive if start == _ARCHIVE else read_array
        return _checked(lambda: read(file, size))


def read_array(file: IO[bytes], size: int) -> Array:
    """Read one array.

    Args:
        file: An `.npy` file at its start.
        size: The bytes that it holds.

    Raises:
        ValueError: If its header does not say what follows it, or it holds pickled objects; numpy
            and zipfile raise other exceptions too.
    """
    shape, dtype = _read_header(file)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which can run code and are not read")
    if dtype.kind not in _KINDS:
        raise ValueError(f"expected numbers or text, got {str(dtype)[:60]}")
    if any(axis < 0 for axis in shape):
        raise ValueError(f"expected a shape without negative sizes, got {shape}")
    promised, found = math.prod(shape) * dtype.itemsize, size - file.tell()
    if not promised and max(shape, default=0) > _LONGEST_EMPTY:
        raise ValueError(
            f"expected at most {_LONGEST_EMPTY} along an axis, got no values in {shape}"
        )
    if promised > found:
        raise ValueError(f"its header promises {promised} bytes of values, and {found} follow it")
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    if dtype.kind == "U" and dtype.itemsize:
        codes = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if (codes > sys.maxunicode).any():  # Python itself fails on such text
            raise ValueError("expected text, got numbers that are not characters")
    return array


def write_arrays(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write an `.npz` file; unlike `np.savez` with arrays of any name, such as `file`.

    Args:
        file: An open file.
        arrays: The arrays by name, of numbers, booleans or text.

    Raises:
        WriteError: If an archive does not hold a name.
    """
    for name in arrays:
        if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME or "\0" in name:
            raise WriteError(
                f"{name[:_SHOWN]!r}: expected a name of at most {_LONGEST_NAME} bytes without zeros"
            )
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def check_expansion(archive: zipfile.ZipFile, size: int) -> None:
    """Check that a zip archive does not become far larger than it is.

    Args:
        archive: The archive.
        size: The bytes of its file.

    Raises:
        ValueError: If it does, or states that it does.
    """
    total = sum(info.file_size for info in archive.infolist())
    most = max(size * _MOST_TIMES, _MOST_BYTES)
    if total > most:
        raise ValueError(
            f"{size} bytes that become {total} when they are unpacked, and at most {most} are read"
        )


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version in ((2, 0), (3, 0)):  # with room for a longer header; in 3 its text is UTF-8
        start = file.tell()
        length = int.from_bytes(file.read(4), "little")
        if length > _LONGEST_HEADER:  # numpy would take that much memory
            raise ValueError(f"expected a header of {_LONGEST_HEADER} bytes or less, got {length}")
        file.seek(start)
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"expected version 1, 2 or 3 of the format, got {version[0]}.{version[1]}")
    return shape, dtype


def _archive(file: IO[bytes], size: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(file) as archive:
        check_expansion(archive, size)
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"{name[:60]!r} occurs twice in it")
            with archive.open(info) as member:
                arrays[name] = read_array(member, info.file_size)
    return arrays


def _checked(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for a damaged file
        pass_on_interruption(error)
        reason = one_line(error)[:200]
        if "magic string" in reason:
            reason = "it is not one"
        raise ValueError(reason) from error
