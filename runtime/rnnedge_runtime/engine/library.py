"""The one place that imports ONNX Runtime, with its telemetry off.

From 1.32 on, ONNX Runtime writes a device id and a database of events to the user's cache folder
as soon as it is imported, and looks up a host on the internet. It reads `ORT_DISABLE_TELEMETRY`
while it is imported, so the variable is set here first, unless the user has set it. Processes that
this one starts inherit it.
"""

from __future__ import annotations

import os

from rnnedge_runtime.errors import MissingPackageError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime as onnxruntime
except ImportError as error:
    raise MissingPackageError(
        "rnnedge_runtime.Session", "onnxruntime", 'pip install "rnnedge-runtime[cpu]"'
    ) from error
