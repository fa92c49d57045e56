"""Every code block and command of the documents runs as it stands there."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from doc_blocks import ROOT, Block, pages, read_blocks, read_commands
from running_blocks import OPTIONAL, PageRunner, agrees

PAGES = [path for path in pages() if read_blocks(path)]
RUN = {"python", "console", "setup"}
SHOWN = {"", "text", "c", "json", "toml", "yaml", "html", "javascript", "js", "kotlin", "swift"}
"""Languages that no block here runs; what they show is tested where it is made."""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page(
    page: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in OPTIONAL if f"$ {name} " in text and shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    runner = PageRunner(tmp_path, capfd)
    before = set(sys.modules)
    for block in read_blocks(page):
        if not block.reason:
            runner.run(block)
    for name in set(sys.modules) - before:  # the next page may have another my_model.py
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_language_of_each_block_is_known(page: Path) -> None:
    for block in read_blocks(page):
        assert block.language in RUN | SHOWN, f"{block}: write console, python or text"
        if block.language not in RUN:
            assert not re.search(r"^\s*\$ |^\s*(pip|make|rnnedge) ", block.text, re.M), block


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_console_blocks_have_commands(page: Path) -> None:
    for block in read_blocks(page):
        if block.language == "console":
            assert read_commands(block), f"{block}: no line begins with '$ '"


def test_what_is_not_run_needs_something_that_is_not_here() -> None:
    """A reason names a thing, not an excuse."""
    reasons = {block.reason for path in PAGES for block in read_blocks(path) if block.reason}
    for reason in reasons:
        assert re.match(r"(needs|installs|a fragment|fails in|run by)\b", reason), reason


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("PASS: ... nodes", "PASS: all 8\n nodes", True),
        ("PASS: ... nodes", "FAIL: all 8 nodes", False),
        ("...\nwrote x", "wrote x", True),
    ],
)
def test_comparison(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown, printed) is same


def test_a_block_that_does_something_else_is_noticed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runner = PageRunner(tmp_path, capfd)
    with pytest.raises(AssertionError):
        runner.run(Block("docs/x.md", 1, "python", "print(1 + 1)  # 3\n"))
    with pytest.raises(AssertionError):
        runner.run(Block("docs/x.md", 1, "console", "$ rnnedge inspect not_there.onnx\n"))
