"""The commands and programs of the README run as they stand there."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rnnedge.cli import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = [
    program
    for text in (TEXT, *GUIDES)
    for program in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
CONSOLES = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for block in CONSOLES
    for line in block.splitlines()
    if line.startswith("$ ")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("program", PROGRAMS, ids=[f"program {n}" for n in range(len(PROGRAMS))])
def test_program(
    program: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run it in this process, where PyTorch is imported already, and warnings are errors."""
    calls = [f"{name}()" for name in re.findall(r"^def (test_\w+)\(\)", program, re.MULTILINE)]
    (tmp_path / "program.py").write_text("\n".join([program, *calls]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("program.py", run_name="__main__")
    printed = capfd.readouterr().out
    for shown in re.findall(r"print\(.*?\)\s+# (\(.*)", program):
        assert shown in printed


def test_commands_in_order(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    def rnnedge(words: list[str]) -> subprocess.CompletedProcess[str]:
        """Run one in this process, where PyTorch is imported already."""
        with pytest.raises(SystemExit) as stopped:
            main(words)
        return subprocess.CompletedProcess(words, stopped.value.code or 0, *capfd.readouterr())

    assert len(COMMANDS) >= 5
    for command in COMMANDS:
        program, *words = shlex.split(command)
        done = run([sys.executable, *words], folder) if program == "python" else rnnedge(words)
        expected = 3 if "--seed 4" in command else 0
        assert done.returncode == expected, (command, done.stdout, done.stderr)
        if expected:
            assert re.search(
                r"rnnedge: FAIL: gru.onnx is not gru\(8->16\): output off by", done.stderr
            )
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w/.]+)\)", TEXT))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_folder_table_names_what_is_there() -> None:
    for folder in re.findall(r"^\| `([\w/]+)/` \|", TEXT, re.MULTILINE):
        assert (ROOT / folder).is_dir()
