"""What a machine calls its processor, and what that can."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """Return the name of the processor, or of the board, as far as the system tells it."""
    names = _told()
    if not names:  # not Linux
        return platform.processor() or platform.machine()
    # x86 has "model name", a Raspberry Pi "Model", older ARM kernels "Hardware".
    for key in ("model name", "model", "hardware", "cpu model", "uarch"):
        if names.get(key, "").strip("0123456789"):
            return names[key]
    return platform.machine()


def cpu_features() -> frozenset[str] | None:
    """Return the instruction sets of the processor by Linux's names, such as `avx2` or `asimddp`.

    None where the system does not tell.
    """
    names = _told()
    told = names.get("flags") or names.get("features")  # of x86, and of ARM
    return frozenset(told.split()) if told else None


def _told() -> dict[str, str]:
    """Return what Linux says of the first processor, by its name in small letters."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    names: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        names.setdefault(key.strip().lower(), value.strip())
    return names
