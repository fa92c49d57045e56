"""Public functions and methods document their arguments and what they return."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("rnnedge._api", "rnnedge_exporters", "rnnedge_runtime", "rnnedge_native")
OPTIONS = (
    *("--quiet", "--style=google", "--arg-type-hints-in-docstring=False"),
    *("--check-return-types=False", "--check-yield-types=False"),
    *("--skip-checking-short-docstrings=True", "--allow-init-docstring=True"),
    *("--check-class-attributes=False", "--should-document-star-arguments=True"),
    "--skip-checking-raises=True",  # an error comes from what is called as often as not
)
_CLASS_ARGUMENTS = "DOC304"  # a class without its own __init__ documents its arguments
_FINDING = re.compile(r"(DOC\d+): (?:Function|Method|Class) `(?:\w+\.)?(\w+)`")


def _public_files() -> list[Path]:
    files = set()
    for package in PACKAGES:
        try:
            public = importlib.import_module(package)
        except ModuleNotFoundError:  # rnnedge-native, where it is not built
            continue
        for name in (name for name in dir(public) if not name.startswith("_")):
            module = sys.modules.get(getattr(getattr(public, name), "__module__", None) or "")
            if module is not None and module.__name__.startswith("rnnedge"):
                files.add(Path(str(module.__file__)))
    return sorted(files)


def _findings(files: Iterable[Path]) -> list[str]:
    command = [sys.executable, "-m", "pydoclint.main", *OPTIONS, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = []
    for line in (done.stdout + done.stderr).splitlines():
        finding = _FINDING.search(line)
        if finding is None:
            continue
        code, name = finding.groups()
        hidden = name.startswith("_") and name != "__init__"
        if not hidden and code != _CLASS_ARGUMENTS:
            found.append(line.strip())
    return found


def test_public_functions_are_documented() -> None:
    files = _public_files()
    assert len(files) > 20
    assert _findings(files) == []


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    source = tmp_path / "planted.py"
    source.write_text(
        "def half(of: float, places: int = 2) -> float:\n"
        '    """Halve a number.\n\n    Args:\n        of: The number.\n    """\n'
        "    return round(of / 2, places)\n",
        encoding="utf-8",
    )
    text = "\n".join(_findings([source]))
    assert "DOC101" in text  # places
    assert "DOC201" in text
