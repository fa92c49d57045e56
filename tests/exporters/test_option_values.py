"""The names of options are listed once: what serves them has these names, and no others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.lowerings import INT8_LOWERINGS, LOWERINGS
from rnnedge_exporters.option_values import (
    FLOAT_LOWERINGS,
    INTEGER_LOWERINGS,
    check_target_option,
)


def test_lowerings_of_floats() -> None:
    assert tuple(LOWERINGS) == FLOAT_LOWERINGS


def test_lowerings_of_integers() -> None:
    assert tuple(INT8_LOWERINGS) == INTEGER_LOWERINGS


def test_a_target_that_is_unknown() -> None:
    words = "target: expected 'cpu', 'cuda', 'portable' or 'c', got 'tpu'"
    with pytest.raises(ExportError, match=words):
        check_target_option("tpu")


@pytest.mark.parametrize(
    "module", ["rnnedge_exporters.option_values", "rnnedge.measuring.peer_names"]
)
def test_names_are_read_without_torch(module: str) -> None:
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
