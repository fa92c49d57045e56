"""What all tests share when they run together."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests import ONNX Runtime themselves


def pytest_collection_finish() -> None:
    """Leave what is there now, 14,000 tests among it, out of every later garbage collection."""
    gc.collect()
    gc.freeze()
