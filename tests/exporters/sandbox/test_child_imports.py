"""What the child processes import: numpy and ONNX Runtime, and none of what takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rnnedge_exporters.sandbox.serve import READY

HEAVY = {"torch", "onnx", "onnx_ir", "onnxscript", "click", "rnnedge"}
_CODE = "from rnnedge_exporters.sandbox.{} import main; main()"
_OURS = "rnnedge_exporters"


@pytest.fixture(scope="module", params=["onnx_runtime_server", "session_server"])
def imports(request: pytest.FixtureRequest) -> set[str]:
    """What a child has imported when it is ready: packages, and all modules of the exporters."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", _CODE.format(request.param)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    assert done.stdout.replace(os.linesep.encode(), b"\n") == READY
    lines = done.stderr.decode().splitlines()
    names = [line.rpartition("|")[2].strip() for line in lines if "|" in line]
    return {name.partition(".")[0] for name in names} | {n for n in names if n.startswith(_OURS)}


def test_nothing_heavy_is_imported(imports: set[str]) -> None:
    assert not imports & HEAVY


def test_little_of_the_exporters_is_imported(imports: set[str]) -> None:
    ours = {name for name in imports if name.startswith(f"{_OURS}.")}
    assert {name for name in ours if not name.startswith(f"{_OURS}.sandbox")} == {f"{_OURS}.errors"}


def test_what_runs_models_is_imported(imports: set[str]) -> None:
    """The tests above can fail."""
    assert imports >= {"numpy", "onnxruntime", "rnnedge_runtime", "rnnedge_exporters"}
