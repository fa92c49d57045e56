"""A terminal shows a line before the first slow import; a pipe gets none."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

IMPORTED = "imported now"
HIDE_CURSOR = "\x1b[?25l"
COMMANDS = {
    "export": "export weights.pt",
    "validate": "validate model.onnx --against weights.pt",
    "inspect": "inspect model.onnx",
    "run": "run model.onnx --input x.npy",
    "bench": "bench model.onnx",
    "tune": "tune weights.pt -o best.onnx",
    "doctor": "doctor model.onnx",
    "compare": "compare model.onnx model.onnx rows",
    "triton": "triton model.onnx -o repository",
    "app": "app model.onnx -o site",
    "slim": "slim model.onnx -o slim",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages that say when they are imported, and go no further."""
    here = tmp_path_factory.mktemp("packages")
    for name in ("torch", "onnx", "onnxruntime"):
        (here / f"{name}.py").write_text(f"raise SystemExit({IMPORTED!r})\n")
    (here / "model.onnx").write_bytes(b"\x08\x08")
    (here / "weights.pt").write_bytes(b"PK\x03\x04")
    (here / "x.npy").touch()
    (here / "rows").mkdir()
    return here


def command(words: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    return [sys.executable, "-m", "rnnedge", *words.split()], {**os.environ, "PYTHONPATH": path}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_the_line_comes_before_the_import(words: str, folder: Path) -> None:
    screen, stderr = pty.openpty()
    arguments, environment = command(words, folder)
    subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        timeout=120,
    )
    os.close(stderr)
    shown = os.read(screen, 65536).decode()
    os.close(screen)
    first, *rest = shown.splitlines()
    loading = {f"rnnedge: loading {name}" for name in ("PyTorch", "ONNX", "ONNX Runtime")}
    assert first in loading or first.startswith(HIDE_CURSOR)  # of a progress bar
    assert IMPORTED in "\n".join(rest)


def test_a_pipe_gets_no_line(folder: Path) -> None:
    arguments, environment = command(COMMANDS["validate"], folder)
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == ""
    assert done.stderr.strip() == IMPORTED
