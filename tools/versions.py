"""Runs tests of the runtime with old and new versions of what it needs: `make versions`.

A Python that is not here is left out, and the table says so. The result is written into
docs/versions.md, between its marks.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "versions.md"
ENVIRONMENTS = ROOT / "build" / "versions"
START, END = "<!-- versions: written by tools/versions.py -->", "<!-- end of versions -->"
TESTS = (
    *("test_formats.py", "test_run.py", "test_open.py", "test_lengths.py", "test_array_file.py"),
    *("test_hostile_contract.py", "test_tensor_file.py", "streaming/test_stream.py"),
    *("streaming/test_stream_state.py", "foreign/test_read_interface.py"),
)


@dataclass(frozen=True)
class Combination:
    """Versions that are installed together; an empty one is the newest."""

    python: str
    onnxruntime: str
    numpy: str


COMBINATIONS = (
    Combination("3.10", "1.20.1", "1.26.4"),
    Combination("3.10", "", ""),
    Combination("3.11", "", ""),
    Combination("3.12", "1.20.1", "1.26.4"),
    Combination("3.12", "", ""),
    Combination("3.13", "1.20.1", ""),
    Combination("3.13", "", ""),
)


def find_python(version: str) -> str | None:
    """Return an interpreter of a version, from the path or from pyenv."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is not None and _works(found):
        return found
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    others = sorted(kept.glob(f"{version}.*/bin/python"))
    return str(others[-1]) if others else None


def _works(python: str) -> bool:
    done = subprocess.run([python, "-c", "import venv"], capture_output=True, check=False)
    return done.returncode == 0  # a shim of pyenv is there without its Python


def run(combination: Combination) -> list[str]:
    """Install and test one combination; return a row of the table."""
    python = find_python(combination.python)
    if python is None:
        return [combination.python, "", "", "no such Python here"]
    name = f"{combination.python}-{combination.onnxruntime}-{combination.numpy}"
    folder = ENVIRONMENTS / name
    own = str(folder / "bin" / "python")
    if not folder.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    wanted = [
        f"{package}=={version}" if version else package
        for package, version in (
            ("onnxruntime", combination.onnxruntime),
            ("numpy", combination.numpy),
        )
    ]
    install = [own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*install, "pytest", *wanted, str(ROOT / "runtime")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return [combination.python, *_shown(combination), f"not installed: {''.join(last)[:80]}"]
    show = "import platform, onnxruntime as o, numpy as n; print(platform.python_version(), "
    show += "o.__version__, n.__version__)"
    versions = subprocess.run([own, "-c", show], capture_output=True, text=True, check=True)
    tested = subprocess.run(
        [own, "-m", "pytest", "-q", "-c", "pytest.ini", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT / "tests" / "runtime",
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.search(r"\d+ (?:failed|passed)[^=]*?(?= in )", tested.stdout)
    outcome = said[0] if said else f"exit code {tested.returncode}"
    return [*versions.stdout.split(), outcome]


def _shown(combination: Combination) -> list[str]:
    return [combination.onnxruntime or "newest", combination.numpy or "newest"]


def main() -> int:
    """Test all combinations; 1 if one of them fails."""
    parser = argparse.ArgumentParser(prog="python tools/versions.py", description=__doc__)
    parser.add_argument("pythons", nargs="*", help="such as 3.10; none are all")
    given = parser.parse_args()
    rows = []
    for combination in COMBINATIONS:
        if not given.pythons or combination.python in given.pythons:
            rows.append(run(combination))
            print(" | ".join(rows[-1]), flush=True)
    if not given.pythons:
        text = PAGE.read_text("utf-8")
        table = [
            f"On {datetime.date.today().isoformat()}, {sys.platform}:",
            "",
            "| Python | ONNX Runtime | numpy | tests of the runtime |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
        start, end = text.index(START) + len(START), text.index(END)
        PAGE.write_text(f"{text[:start]}\n{chr(10).join(table)}\n{text[end:]}", "utf-8")
    return int(any("failed" in row[-1] or "exit" in row[-1] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
