"""What the tests of the doctor share: files of PyTorch's exporters, and handmade models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from rnnedge.doctor import Examination, Finding, examine

HELPERS = Path(__file__).parent / "helpers"
# `--import-mode=importlib` puts no folder on sys.path: this one is for `import handmade`.
sys.path.append(str(HELPERS))


@pytest.fixture(scope="session")
def torch_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of both exporters."""
    folder = tmp_path_factory.mktemp("torch")
    done = subprocess.run(
        [sys.executable, str(HELPERS / "torch_exports.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., Examination]:
    """A function that writes a model and examines it."""

    def run(model: onnx.ModelProto, **options: object) -> Examination:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return examine(path, **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def found(examined: Callable[..., Examination]) -> Callable[..., dict[str, Finding]]:
    """A function that gives the general findings of a model by kind."""

    def run(model: onnx.ModelProto, **options: object) -> dict[str, Finding]:
        return {finding.kind: finding for finding in examined(model, **options).general}

    return run
