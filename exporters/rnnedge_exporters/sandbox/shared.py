"""The sandbox in which an export runs the file that it has just made."""

from __future__ import annotations

import atexit

from rnnedge_exporters.sandbox.onnx_runtime import Sandbox
from rnnedge_runtime.engine.options import EngineOptions

IDLE = 60.0
"""Seconds after which the child ends when nothing is exported; to start another takes as long as
0.3 s, mostly in parallel with other work."""

_SHARED = Sandbox(options=EngineOptions(threads=1), keep=4, idle=IDLE)
atexit.register(_SHARED.close)


def shared_sandbox() -> Sandbox:
    """Return the sandbox of this process, whose models are opened as the runtime opens them.

    It is closed when the process ends; until then its child may be started, and may end when it is
    not used, at any time.
    """
    return _SHARED
