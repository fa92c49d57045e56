"""Amounts of memory as a user writes them."""

from __future__ import annotations

import re

from rnnedge_runtime.errors import OptionError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_LEAST, _MOST = 10**6, 2**50


def bytes_of(option: str, size: str | int) -> int:
    """Read an amount of memory.

    Args:
        option: What it was given for, for the message.
        size: Bytes, or a text such as `512MB` or `2GiB`.

    Raises:
        OptionError: If it is no such text, less than 1 MB, or more than any machine has.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", str(size))
    unit = match[2].upper() if match else None
    if match is None or unit not in _UNITS or isinstance(size, bool):
        raise OptionError(f"{option}: expected an amount such as 512MB or 2GB, got {size!r}")
    found = float(match[1]) * _UNITS[unit]
    if found < _LEAST:
        meant = f": a number alone counts bytes, did you mean {size}MB?" if not unit else ""
        raise OptionError(f"{option}: expected 1MB or more, got {size!r}{meant}")
    if found > _MOST:
        raise OptionError(f"{option}: expected 1024TiB or less, got {str(size)[:40]!r}")
    return int(found)
