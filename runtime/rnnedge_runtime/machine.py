"""What this machine is: its processor, its cores, and the versions of what is installed on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe() -> dict[str, str]:
    """Return the platform, the architecture of the processor, and the version of Python."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each package that is installed, without importing it.

    Args:
        packages: Their names, as an installer knows them.

    Returns:
        Package name to version, without those that are not installed.
    """
    versions = {}
    for name in dict.fromkeys(packages):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
