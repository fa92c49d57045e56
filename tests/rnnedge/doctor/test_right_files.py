"""The doctor calls right files right: a few of those that `helpers/alarms.py` examines."""

from __future__ import annotations

from pathlib import Path

import pytest
from alarms import alarms
from right_files import right_file

SEEDS = (0, 1, 3, 5, 7, 9, 10, 42)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_alarm(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    what = right_file(seed, path)
    if what is None:
        pytest.skip("options that cannot be combined")
    assert alarms(path) == [], what
