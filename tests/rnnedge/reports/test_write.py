"""`write_report`: the suffix chooses, and nothing half-written stays."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnnedge import MissingPackageError, Report, WriteError
from rnnedge.reports import check_report_path, write_report

BEGINS = {".html": "<!doctype html>", ".json": "{", ".xml": "<?xml"}


@pytest.mark.parametrize("suffix", BEGINS)
def test_suffix_chooses(suffix: str, passing: Report, tmp_path: Path) -> None:
    write_report(passing, tmp_path / f"report{suffix}", command="x")
    text = (tmp_path / f"report{suffix}").read_text("utf-8")
    assert text.startswith(BEGINS[suffix])
    assert text.endswith("\n")


def test_suffix_in_capitals(passing: Report, tmp_path: Path) -> None:
    write_report(passing, str(tmp_path / "REPORT.JSON"), command="x")
    assert (tmp_path / "REPORT.JSON").read_text("utf-8").startswith("{")


@pytest.mark.parametrize("suffix", BEGINS)
def test_same_report_gives_same_bytes(suffix: str, report: Report, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        write_report(report, path, command="x")
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("name", ["report.pdf", "report", "report.html.gz"])
def test_other_suffix(name: str, passing: Report, tmp_path: Path) -> None:
    expected = f"{tmp_path / name}: expected a name that ends in .html, .json or .xml"
    with pytest.raises(WriteError, match=f"^{re.escape(expected)}$"):
        write_report(passing, tmp_path / name, command="x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", BEGINS)
def test_missing_folder(suffix: str, passing: Report, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    expected = (
        f"{folder / ('r' + suffix)}: expected an existing folder, found no folder "
        f"{folder}: create it"
    )
    with pytest.raises(WriteError, match=f"^{re.escape(expected)}$"):
        write_report(passing, folder / f"r{suffix}", command="x")


@pytest.mark.parametrize("suffix", BEGINS)
def test_folder_in_the_place_of_the_file(suffix: str, passing: Report, tmp_path: Path) -> None:
    (tmp_path / f"r{suffix}").mkdir()
    with pytest.raises(WriteError, match=r"expected the name of a file to write, found a folder$"):
        write_report(passing, tmp_path / f"r{suffix}", command="x")
    assert [path.name for path in tmp_path.iterdir()] == [f"r{suffix}"]


def test_what_was_there_is_replaced(passing: Report, tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text("<testsuites old='1'/>")
    write_report(passing, tmp_path / "r.xml", command="x")
    assert "old" not in (tmp_path / "r.xml").read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["r.xml"]


def test_page_without_matplotlib(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    expected = (
        'an HTML report needs matplotlib, which is not installed: pip install "rnnedge[report]"'
    )
    with pytest.raises(MissingPackageError, match=f"^{re.escape(expected)}$"):
        write_report(passing, tmp_path / "r.html", command="x")
    with pytest.raises(MissingPackageError, match=f"^{re.escape(expected)}$"):
        check_report_path(tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".json", ".xml"])
def test_others_need_no_matplotlib(
    suffix: str, passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(passing, tmp_path / f"r{suffix}", command="x")
    assert (tmp_path / f"r{suffix}").stat().st_size > 1000


def test_import_brings_in_no_matplotlib() -> None:
    code = "import rnnedge.reports, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_matplotlib_is_left_as_it_was(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib

    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    # To read the backend is to choose one.
    names = [name for name in matplotlib.rcParams if name != "backend"]
    before = [matplotlib.rcParams[name] for name in names]
    write_report(passing, tmp_path / "r.html", command="x")
    assert [matplotlib.rcParams[name] for name in names] == before
    assert "matplotlib.pyplot" not in sys.modules


def test_settings_of_the_user_do_not_reach_the_page(passing: Report, tmp_path: Path) -> None:
    import matplotlib

    write_report(passing, tmp_path / "a.html", command="x")
    with matplotlib.rc_context({"text.usetex": True, "axes.grid": True, "font.size": 40}):
        write_report(passing, tmp_path / "b.html", command="x")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
