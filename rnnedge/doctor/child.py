"""The process that runs models for `sandbox.py`; started by path, with numpy and ONNX Runtime only.

It reads pickled requests from stdin and writes pickled answers to where stdout was. A request is
(path of a model, feeds by name, or None to open it only); an answer is ({output: array}, None) or
(None, what ONNX Runtime said).
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import numpy as np

from rnnedge_runtime.engine.library import onnxruntime

_KEPT = 2
"""Models that stay open; a file and its repaired copy are run in turn."""


def _open(path: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # the same answer each time, and cores left for others
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, feeds: dict[str, Any]) -> dict[str, Any]:
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, feeds), strict=True))
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def serve() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    while True:
        try:
            path, feeds = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: tuple[dict[str, Any] | None, str | None]
        try:
            if path not in sessions:
                sessions = dict(list(sessions.items())[1 - _KEPT :])
                sessions[path] = _open(path)
            answer = ({} if feeds is None else _run(sessions[path], feeds), None)
        except Exception as error:  # whatever it is, the parent reports it
            answer = (None, " ".join(str(error).split()) or type(error).__name__)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve()
