"""Set the version of a release everywhere: `python tools/release.py 0.2.0`.

All three wheels have one version. The places where it is written are in `PLACES`; the changelog
gets a heading for what is under Unreleased. What is left to do is printed.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = r"(\d+\.\d+\.\d+)"
PLACES = (
    ("runtime/rnnedge_runtime/version.py", rf'^__version__ = "{VERSION}"$'),
    ("runtime/pyproject.toml", rf'^version = "{VERSION}"$'),
    ("runtime/pyproject.toml", rf'"rnnedge-native=={VERSION}"'),
    ("rnnedge/__init__.py", rf'^__version__ = "{VERSION}"$'),
    ("pyproject.toml", rf'^version = "{VERSION}"$'),
    ("pyproject.toml", rf'"rnnedge-runtime=={VERSION}"'),
    ("native/rnnedge_native/__init__.py", rf'^__version__ = "{VERSION}"$'),
    ("native/meson.build", rf"^  version: '{VERSION}',$"),
    ("native/pyproject.toml", rf'^version = "{VERSION}"$'),
    ("native/pyproject.toml", rf'"rnnedge-runtime=={VERSION}"'),
    ("javascript/package.json", rf'^  "version": "{VERSION}",$'),
)
"""Files, and what surrounds the version in them; it is there once."""
CHANGELOG = "CHANGELOG.md"
UNRELEASED = "## Unreleased\n"
LEFT = """\
set version {version} in {files} files
next: make test-all, then commit, git tag v{version}, and build the wheels:
  python -m build --wheel . && python -m build --wheel runtime && python -m build --wheel native"""


class ReleaseError(ValueError):
    """A version that cannot be set; nothing was written."""


def release(version: str, date: str, root: Path = ROOT) -> int:
    """Write a version to every place, and a heading to the changelog.

    Args:
        version: The new one, such as `0.2.0`; higher than the present one.
        date: Of the release, as `2026-12-01`.
        root: The repository.

    Returns:
        The number of files that were written.

    Raises:
        ReleaseError: When the version is not a higher one, the places do not agree on the present
            one, or nothing is under Unreleased. No file is changed then.
    """
    present = current(root)
    if not re.fullmatch(VERSION, version) or _numbers(version) <= _numbers(present):
        raise ReleaseError(f"expected a version above {present}, such as 0.2.0, got {version}")
    texts = {name: (root / name).read_text("utf-8") for name in {name for name, _ in PLACES}}
    for name, pattern in PLACES:
        found = _only(pattern, texts[name], name)
        begin, end = found.span(1)
        texts[name] = texts[name][:begin] + version + texts[name][end:]
    texts[CHANGELOG] = _headed((root / CHANGELOG).read_text("utf-8"), version, date)
    for name, text in texts.items():
        (root / name).write_text(text, "utf-8")
    return len(texts)


def current(root: Path = ROOT) -> str:
    """Return the present version.

    Raises:
        ReleaseError: When the places do not agree on it.
    """
    found = {
        (name, _only(pattern, (root / name).read_text("utf-8"), name)[1])
        for name, pattern in PLACES
    }
    versions = sorted({version for _, version in found})
    if len(versions) > 1:
        shown = ", ".join(f"{name} {version}" for name, version in sorted(found))
        raise ReleaseError(f"expected one version everywhere, found {shown}")
    return versions[0]


def _only(pattern: str, text: str, name: str) -> re.Match[str]:
    found = list(re.finditer(pattern, text, re.MULTILINE))
    if len(found) != 1:
        raise ReleaseError(f"{name}: expected {pattern} once, found it {len(found)} times")
    return found[0]


def _headed(changelog: str, version: str, date: str) -> str:
    """Put what is under Unreleased under the heading of a release."""
    before, heading, after = changelog.partition(UNRELEASED)
    if not heading or not after.split("\n## ")[0].strip():
        raise ReleaseError(f"{CHANGELOG}: expected changes under {UNRELEASED.strip()}, found none")
    return f"{before}{UNRELEASED}\n## {version} - {date}\n{after}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def main(arguments: list[str] | None = None) -> int:
    """Set the version that is given, and print what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    given = parser.parse_args(arguments)
    try:
        files = release(given.version, given.date)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(LEFT.format(version=given.version, files=files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
