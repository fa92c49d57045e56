"""What a machine calls its processor."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """Return the name of the processor, or of the board, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        names.setdefault(key.strip().lower(), value.strip())
    # x86 has "model name", a Raspberry Pi "Model", older ARM kernels "Hardware".
    for key in ("model name", "model", "hardware", "cpu model", "uarch"):
        if names.get(key, "").strip("0123456789"):
            return names[key]
    return platform.machine()
