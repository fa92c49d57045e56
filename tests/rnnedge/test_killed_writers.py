"""Every writer, ended at each of its moments, on a full disk and in a folder that is read-only.

What is there afterwards is the old file or the new one, whole, and the next write removes the rest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).parent / "helpers" / "killing.py"
FEWEST = {"state": 8, "export": 8, "quantize": 8, "c": 20, "golden": 20, "report": 8}
"""Moments that each has at least: with fewer, the hook sees nothing."""
BY_DEFAULT = ("state", "golden")
"""The two ways that files are written: alone, and as a folder."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")


@pytest.mark.parametrize(
    "writer",
    [name if name in BY_DEFAULT else pytest.param(name, marks=pytest.mark.full) for name in FEWEST],
)
def test_a_writer_that_is_ended(writer: str, request: pytest.FixtureRequest) -> None:
    more = ["--random"] if request.config.getoption("--full", default=False) else []
    done = subprocess.run(
        [sys.executable, str(HELPER), writer, *more],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["moments"] >= FEWEST[writer]
