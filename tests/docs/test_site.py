"""The documentation builds as a site without a dead link, and needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from doc_blocks import ROOT

import rnnedge
import rnnedge_runtime
from rnnedge.cli import commands

pytest.importorskip("mkdocs", reason="the site is built where rnnedge[docs] is installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--config-file", str(ROOT / "mkdocs.yml")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:src|<link[^>]+href)="(?:https?:)?//[^"]+"', html), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\((?:https?:)?//|@import", style.read_text("utf-8")), style


def test_readers_do_not_see_what_prepares_a_test(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "<!-- setup" not in page.read_text(encoding="utf-8"), page


def test_every_command_is_in_the_reference(site: Path) -> None:
    html = (site / "reference" / "command_line.html").read_text(encoding="utf-8")
    for name in commands.commands:
        assert f"Usage: rnnedge {name}" in html
    for name in ("info", "check", "bench"):
        assert f"usage: python -m rnnedge_runtime {name}" in html


@pytest.mark.parametrize("package", [rnnedge, rnnedge_runtime], ids=["toolkit", "runtime"])
def test_every_public_name_is_in_the_reference(site: Path, package: ModuleType) -> None:
    html = (site / "reference" / f"{package.__name__}.html").read_text(encoding="utf-8")
    public = {item for item in dir(package) if not item.startswith("_")}
    classes = {item for item in public if callable(getattr(package, item))}
    missing = {item for item in classes if not re.search(rf"\b{item}\b", html)}
    assert not missing
