"""Node, and what the tests of the JavaScript package read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "helpers"))
sys.path.append(str(Path(__file__).parents[1] / "native" / "helpers"))

PACKAGE = Path(__file__).resolve().parents[2] / "javascript"
OLDEST = (20, 16)
"""The first Node 20 that gives its modules without an import."""
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the package."""
    return PACKAGE


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, vectors and cases."""
    from javascript_models import export_models

    folder = tmp_path_factory.mktemp("javascript")
    export_models(folder)
    return folder


@pytest.fixture(scope="session")
def node() -> str:
    """The path of Node."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("there is no node on the PATH")
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    version = tuple(map(int, re.findall(r"\d+", answer.stdout)[:2]))
    if version < OLDEST:
        pytest.skip(f"node {answer.stdout.strip()} is older than {'.'.join(map(str, OLDEST))}")
    return found


@pytest.fixture(scope="session")
def modules() -> Path:
    """Where npm installed the packages that the tests need."""
    folder = PACKAGE / "node_modules"
    if not (folder / "onnxruntime-web").is_dir():
        pytest.skip("npm packages are not installed: npm ci in javascript/")
    return folder


@pytest.fixture(scope="session")
def run_in() -> Run:
    """Run a command in a folder, with its environment and what is given by name."""

    def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def in_package(models: Path, run_in: Run) -> Run:
    """Run a command in the folder of the package, whose tests read the models."""
    return partial(run_in, PACKAGE, RNNEDGE_TEST_MODELS=str(models))
