"""What importing brings in, and which names it gives."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import rnnedge

COMMAND = """
import sys
from rnnedge.cli import main
try:
    main(sys.argv[1:])
except SystemExit as done:
    assert not done.code, done.code
print("torch" in sys.modules)
"""
API = [name for name in vars(import_module("rnnedge._api")) if not name.startswith("_")]


def _python(code: str, *arguments: str, folder: Path | None = None) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    rnnedge.export(nn.GRU(3, 4), folder / "model.onnx")
    np.save(folder / "x.npy", np.zeros((2, 1, 3), np.float32))
    (folder / "rows").mkdir()
    np.save(folder / "rows" / "a.npy", np.zeros((2, 3), np.float32))
    return folder


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxruntime", "click", "numpy"])
def test_import_brings_in_nothing_heavy(package: str) -> None:
    assert _python(f"import rnnedge, sys; print({package!r} in sys.modules)") == "False"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("export", "--help"),
        ("inspect", "model.onnx"),
        ("run", "model.onnx", "--input", "x.npy"),
        ("bench", "model.onnx", "--time", "1", "--batch", "1", "--seconds", "0.001"),
        ("triton", "model.onnx", "-o", "repository"),
        ("compare", "model.onnx", "model.onnx", "rows"),
    ],
    ids=["help", "help_of_export", "inspect", "run", "bench", "triton", "compare"],
)
def test_command_without_torch(arguments: tuple[str, ...], folder: Path) -> None:
    assert _python(COMMAND, *arguments, folder=folder) == "False"


def test_the_check_above_can_fail(folder: Path) -> None:
    arguments = ("validate", "model.onnx", "--cell", "gru", "--input-size", "3")
    code = COMMAND.replace("assert not done.code", "assert done.code in (0, 3)")
    assert _python(code, *arguments, "--hidden-size", "4", folder=folder) == "True"


@pytest.mark.parametrize("name", API)
def test_public_name_is_reachable(name: str) -> None:
    assert getattr(rnnedge, name) is vars(import_module("rnnedge._api"))[name]


def test_public_names_are_listed() -> None:
    assert set(dir(rnnedge)) == {"__version__", *API}


def test_public_names_are_classes_and_functions() -> None:
    assert [name for name in API if not callable(getattr(rnnedge, name))] == []


@pytest.mark.parametrize("name", ["nothing", "_private"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"^module 'rnnedge' has no attribute '{name}'$"):
        getattr(rnnedge, name)


def test_every_public_name_has_a_docstring() -> None:
    assert [name for name in API if not getattr(rnnedge, name).__doc__] == []
