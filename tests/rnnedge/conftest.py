"""What the tests of the toolkit share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import broken_models`.
sys.path.append(str(Path(__file__).parent / "helpers"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
