"""A person who types what the README shows ends with a stream where there is no PyTorch."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from doc_blocks import ROOT, Block, read_blocks, read_commands
from running_blocks import agrees, run_in_shell

BLOCKS = read_blocks(ROOT / "README.md")
PACKAGED = (
    *("rnnedge", "exporters", "runtime", "javascript/src"),
    *("pyproject.toml", "README.md", "LICENSE"),
)
CARRIED = ("listener.onnx", "vectors", "hear.py")
NO_TOOLKIT = (
    "import sys; [sys.modules.__setitem__(name, None) for name in ('torch', 'onnx', 'click')]"
)


@dataclass(frozen=True)
class Machine:
    """A clone of the repository, and a virtual environment that is activated.

    `python -m pip install` installs what the README says, from the clone. What that depends on is
    taken from the environment of the tests, so that nothing is fetched.
    """

    folder: Path

    def run(self, command: str) -> tuple[int, str]:
        environment = {
            "PATH": f"{self.folder / 'env' / 'bin'}:{self.folder / 'tools'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as "no isolation", whatever it says
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        return run_in_shell(command, self.folder, environment)


def make_machine(folder: Path, *, torch: bool) -> Machine:
    """Lay out a clone and an environment; without `torch`, an import of it fails."""
    for name in PACKAGED:
        (folder / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    installed = [path for path in sys.path if path.endswith("site-packages")]
    lines = [*installed] if torch else [*installed, NO_TOOLKIT]
    (packages / "installed.pth").write_text("\n".join(lines) + "\n")
    return Machine(folder)


def play_a_microphone(folder: Path) -> None:
    """Put an `arecord` on the path that records half a second, and ends."""
    (folder / "tools").mkdir()
    sound = struct.pack("<8000h", *(n * 37 % 2001 - 1000 for n in range(8000)))
    (folder / "sound.raw").write_bytes(sound)
    tool = folder / "tools" / "arecord"
    tool.write_text('#!/bin/sh\n[ "$*" = "-q -t raw -f S16_LE -r 16000" ] && cat sound.raw\n')
    tool.chmod(0o755)


def do(block: Block, machine: Machine) -> str:
    """Save a program under the name that the text before it has, or run commands."""
    if block.language == "python":
        name = re.findall(r"`(\w+\.py)`", block.before)[-1]
        (machine.folder / name).write_text(block.text, encoding="utf-8")
        return ""
    printed = ""
    for command in read_commands(block):
        code, printed = machine.run(command.words)
        assert code == 0, (command.words, printed)
        assert not command.shown or agrees(command.shown, printed), (command.words, printed)
    return printed


@pytest.mark.skipif(sys.platform == "win32", reason="the README shows a POSIX shell")
def test_first_screen(tmp_path: Path) -> None:
    *training, hear, device = BLOCKS
    (tmp_path / "training").mkdir()
    (tmp_path / "device").mkdir()
    first = make_machine(tmp_path / "training", torch=True)
    for block in training:
        do(block, first)
    do(hear, first)

    second = make_machine(tmp_path / "device", torch=False)
    for name in CARRIED:
        shutil.move(first.folder / name, second.folder / name)
    play_a_microphone(second.folder)
    printed = do(device, second)

    assert printed.count("\n") == 50  # half a second, 10 ms a step
    code, text = second.run("python -c 'import torch'")
    assert code == 1, text
    code, text = second.run("python -c 'import rnnedge_runtime as r; print(r.__file__)'")
    assert text.startswith(str(second.folder / "env")), text


def test_picture_shows_the_figures_of_the_first_screen() -> None:
    """The README's alternative text, its output and the picture have the same numbers."""
    picture = (ROOT / "docs" / "pictures" / "overview.svg").read_text(encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (cases,) = set(re.findall(r"(?:in )?(\d+ of \d+) cases", text))
    assert f"{cases} cases" in picture


def test_fits_on_one_screen() -> None:
    """What is typed comes before any other heading, in thirty lines of code at most."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = text.split("\n## ")[0]
    assert first.count("```") == text.count("```")
    code = [line for block in BLOCKS for line in block.text.splitlines() if line.strip()]
    assert len([line for line in code if not re.match(r"\.\.\.|PASS|\[\[", line)]) <= 30
