"""What the tests of quantization share: the matrix of layers that compute in int8."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import integer_cases`.
sys.path.append(str(Path(__file__).parent / "helpers"))

from integer_cases import Integer, integer_cases
from pairwise import pairwise


@pytest.fixture(scope="module", params=pairwise(integer_cases(), together=3), ids=str)
def integer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Integer:
    """A row of the matrix."""
    return Integer(request.param, tmp_path_factory.getbasetemp() / f"{request.param}.onnx")
