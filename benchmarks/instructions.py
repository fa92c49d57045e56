"""Measuring as on an older processor: a process that sees fewer instruction sets than there are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

LEVELS = ("avx", "avx2", "avx512")
"""What is left: each has what stands before it; avx512 has VNNI, and none has AMX."""


def show_only(level: str, module: str) -> None:
    """Start this benchmark again in a process that sees the instruction sets of `level` only.

    Needs gcc, Linux, and an Intel processor.

    Args:
        level: One of `LEVELS`.
        module: Name of the benchmark, such as `benchmarks.quantized`.
    """
    if os.environ.get("INSTRUCTIONS") == level:
        return
    library = Path(tempfile.mkdtemp()) / "instructions.so"
    source = Path(__file__).with_name("instructions.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    environment = os.environ | {"INSTRUCTIONS": level, "LD_PRELOAD": str(library)}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)
