"""One command sets the version everywhere, or nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# `tools` is not an installed package.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tools.release import CHANGELOG, PLACES, ROOT, ReleaseError, current, release

FILES = sorted({name for name, _ in PLACES} | {CHANGELOG})
DATE = "2030-01-02"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    text = (tmp_path / CHANGELOG).read_text("utf-8")
    (tmp_path / CHANGELOG).write_text(text.replace("## Unreleased\n", "## Unreleased\n\n- new\n"))
    return tmp_path


def _contents(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text("utf-8") for name in FILES}


def test_places_are_all_that_there_are() -> None:
    """No other file of the packages holds the version, so none can be forgotten."""
    command = ["git", "grep", "-l", "--fixed-strings", current(), "--", "rnnedge", "exporters"]
    measured = ":!rnnedge/doctor/runtimes.json"  # with which version it was
    folders = ["runtime", "native", "javascript/package.json", "*.toml", "*.build"]
    folders += [":!*.md", ":!tests", measured]
    done = subprocess.run([*command, *folders], cwd=ROOT, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == sorted({name for name, _ in PLACES})


def test_version_is_set_everywhere(copied: Path) -> None:
    old = current(copied)
    assert release("9.0.1", DATE, copied) == len(FILES)
    assert current(copied) == "9.0.1"
    for name, text in _contents(copied).items():
        assert name == CHANGELOG or old not in text, name


def test_changes_get_a_heading(copied: Path) -> None:
    release("9.0.1", DATE, copied)
    text = (copied / CHANGELOG).read_text("utf-8")
    assert f"## Unreleased\n\n## 9.0.1 - {DATE}\n\n- new\n" in text


@pytest.mark.parametrize("version", ["0.0.1", "nine", "9.0", "v9.0.0"])
def test_what_is_no_higher_version_is_refused(version: str, copied: Path) -> None:
    before = _contents(copied)
    with pytest.raises(ReleaseError, match="expected a version above"):
        release(version, DATE, copied)
    assert _contents(copied) == before


def test_places_that_disagree_are_refused(copied: Path) -> None:
    path = copied / "native" / "meson.build"
    path.write_text(path.read_text("utf-8").replace(current(copied), "8.8.8"))
    before = _contents(copied)
    with pytest.raises(ReleaseError, match=r"one version everywhere, .*meson\.build 8\.8\.8"):
        release("9.0.1", DATE, copied)
    assert _contents(copied) == before


def test_release_without_changes_is_refused(copied: Path) -> None:
    (copied / CHANGELOG).write_text("# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-01-01\n")
    before = _contents(copied)
    with pytest.raises(ReleaseError, match="expected changes under ## Unreleased"):
        release("9.0.1", DATE, copied)
    assert _contents(copied) == before
