"""The picture of the architecture is that of the code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# `tools` is not an installed package.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tools import draw_architecture
from tools.draw_architecture import PICTURE, ROOT, counts, draw, module_imports, rooms, sources

CODE = {
    "rnnedge": "",
    "rnnedge.cli": "from rnnedge.parity import sweep",
    "rnnedge.cli.one": "def run():\n    from rnnedge.parity.sweep import go",
    "rnnedge.cli.two": "if TYPE_CHECKING:\n    from rnnedge.doctor import look",
    "rnnedge.parity": "",
    "rnnedge.parity.sweep": "import rnnedge.errors",
    "rnnedge.doctor": "",
    "rnnedge.doctor.look": "",
    "rnnedge.errors": "",
    "rnnedge.testing": "from rnnedge import parity",
}


def test_picture_is_that_of_the_code() -> None:
    assert PICTURE.read_text("utf-8") == draw(), "python tools/draw_architecture.py draws it again"


def test_two_modules_that_import_a_folder_are_counted() -> None:
    found = counts(module_imports(CODE))
    assert found["rnnedge.cli", "rnnedge.parity"] == 2
    assert ("rnnedge.cli", "rnnedge.doctor") not in found  # for types alone


def test_modules_without_a_folder_are_above_or_below() -> None:
    found = rooms(module_imports(CODE))
    assert found["rnnedge.errors"] == "rnnedge/below"
    assert found["rnnedge.cli.one"] == found["rnnedge.cli"] == "rnnedge.cli"


def test_a_room_without_a_place_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**sources(), "rnnedge.attic": "", "rnnedge.attic.box": ""}
    monkeypatch.setattr(draw_architecture, "sources", lambda root: more)
    with pytest.raises(KeyError, match=r"rnnedge\.attic"):
        draw()


def test_a_picture_that_is_old_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_once: Callable[[], str]
) -> None:
    monkeypatch.setattr(draw_architecture, "PICTURE", tmp_path / "old.svg")
    monkeypatch.setattr(draw_architecture, "draw", draw_once)
    assert draw_architecture.main(["--check"]) == 1
    assert draw_architecture.main([]) == 0
    assert draw_architecture.main(["--check"]) == 0


@pytest.fixture
def draw_once() -> Callable[[], str]:
    return lambda: "<svg/>"


def test_every_folder_has_its_paragraph() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
    written = set(re.findall(r"\*\*(\w+)/\*\*", text))
    folders = {
        name.split(".")[1] for name in rooms(module_imports(sources())).values() if "." in name
    }
    assert written == folders
