"""Runs the blocks of a page in one folder, in their order, as a reader would."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import Block, Command, read_commands

from rnnedge.cli import main as rnnedge
from rnnedge_runtime.__main__ import main as runtime

Capture = pytest.CaptureFixture[str]
OPTIONAL = ("ssh-keygen",)
"""Programs of a page that not every machine has."""


def agrees(shown: str, printed: str) -> bool:
    """Return whether `printed` is what a page shows.

    `...` stands for anything, nothing too, and a line break for any white space.
    """
    parts = (re.escape(" ".join(part.split())) for part in shown.split("..."))
    return re.fullmatch(".*".join(parts), " ".join(printed.split())) is not None


class PageRunner:
    """Runs blocks one after the other; Python blocks of a page share their names."""

    def __init__(self, folder: Path, capture: Capture) -> None:
        self._folder = folder
        self._capture = capture
        self._names: dict[str, Any] = {}

    def run(self, block: Block) -> None:
        """Run one block; raises AssertionError where it does not do what the page shows."""
        if block.language in ("python", "setup"):
            self._python(block)
        elif block.language == "console":
            for command in read_commands(block):
                self._command(block, command)

    def _python(self, block: Block) -> None:
        calls = [f"{name}()" for name in re.findall(r"^def (test_\w+)\(\)", block.text, re.M)]
        program = self._folder / f"{Path(block.page).stem}_{block.line}.py"
        program.write_text("\n".join([block.text, *calls]), encoding="utf-8")
        names = runpy.run_path(str(program), self._names, run_name="__main__")
        program.unlink()
        self._names = {name: value for name, value in names.items() if not name.startswith("__")}
        printed = self._capture.readouterr().out
        for shown in re.findall(r"print\(.*\)  # (.*)", block.text):
            assert agrees(f"...{shown}...", f" {printed} "), (str(block), shown, printed)

    def _command(self, block: Block, command: Command) -> None:
        words = shlex.split(command.words)
        if words[0] == "rnnedge":
            code, printed = self._in_process(rnnedge, words[1:])
        elif words[:3] == ["python", "-m", "rnnedge_runtime"]:
            code, printed = self._in_process(runtime, words[3:])
        else:
            code, printed = run_in_shell(command.words, self._folder, dict(os.environ))
        assert code == command.exit_code, (str(block), command.words, code, printed)
        if command.shown.strip():
            assert agrees(command.shown, printed), (str(block), command.words, printed)

    def _in_process(self, main: Callable[[list[str]], Any], words: list[str]) -> tuple[int, str]:
        """Run a command where PyTorch is imported already, and warnings are errors."""
        self._capture.readouterr()
        try:
            code = main(words) or 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        return code, "".join(self._capture.readouterr())


def run_in_shell(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a line of a console block in bash; returns its exit code and all that it printed."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment | {"PYTHONUTF8": "1", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout
