"""The name and the instruction sets of this machine's processor."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """Return the name of the processor or the board, as the operating system reports it."""
    names = _cpuinfo()
    if not names:  # not Linux
        return platform.processor() or platform.machine()
    # x86 has "model name", a Raspberry Pi "Model", older ARM kernels "Hardware".
    for key in ("model name", "model", "hardware", "cpu model", "uarch"):
        if names.get(key, "").strip("0123456789"):
            return names[key]
    return platform.machine()


def cpu_features() -> frozenset[str] | None:
    """Return the instruction sets of the processor by Linux's names, such as `avx2` or `asimddp`.

    None if the operating system does not report them.
    """
    names = _cpuinfo()
    listed = names.get("flags") or names.get("features")  # of x86, and of ARM
    return frozenset(listed.split()) if listed else None


def _cpuinfo() -> dict[str, str]:
    """Return Linux's entries for the first processor, with their keys in lower case."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    names: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        names.setdefault(key.strip().lower(), value.strip())
    return names
