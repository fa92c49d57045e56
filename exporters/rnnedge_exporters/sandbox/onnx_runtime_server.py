"""The child of a `Sandbox`: models as ONNX Runtime opens them, with numpy and ONNX Runtime only.

A request is (key of a model, what it is opened from, what is wanted of it). It is opened from (path
or bytes, options, how many models stay open), or None where it should be open. What is wanted is
OPENED, its INTERFACE, or a run: (names of outputs or None for all, feeds by name). An answer is
(None for OPENED, a `Reading`, or {output: array}; None), (None, what ONNX Runtime said), or
NOT_OPEN where nothing was said that it can be opened from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_exporters.sandbox.serve import serve
from rnnedge_runtime.engine.options import CPU, EngineOptions
from rnnedge_runtime.errors import one_line, pass_on_interruption

if TYPE_CHECKING:
    from rnnedge_runtime.engine.library import onnxruntime
    from rnnedge_runtime.foreign.read_interface import Reading

Arrays: TypeAlias = dict[str, NDArray[Any]]
Wanted: TypeAlias = "str | tuple[Sequence[str] | None, Arrays]"
OPENED, INTERFACE = "opened", "interface"
NOT_OPEN = "not open"


def open_session(model: str | bytes, options: EngineOptions | None) -> onnxruntime.InferenceSession:
    """Open a model on the CPU.

    Args:
        model: Its path, or its bytes.
        options: Those of the runtime; None for ONNX Runtime's defaults with one thread, as another
            program would open it.
    """
    if options is not None:
        from rnnedge_runtime.engine.inference_session import open_inference_session

        return open_inference_session(model, device="cpu", options=options)[0]
    from rnnedge_runtime.engine.library import onnxruntime

    defaults = onnxruntime.SessionOptions()
    defaults.log_severity_level = 4
    defaults.intra_op_num_threads = 1  # the same answer each time, and cores left for others
    return onnxruntime.InferenceSession(model, defaults, providers=[CPU])


class OnnxRuntimeServer:
    """Keeps the models open that were asked for last."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._sessions: dict[Any, tuple[onnxruntime.InferenceSession, str | bytes]] = {}

    def answer(self, request: Any) -> Any:
        """Answer one request."""
        key, source, wanted = request
        if key not in self._sessions and source is None:
            return NOT_OPEN
        try:
            if key in self._sessions:
                session, model = self._sessions.pop(key)
            else:
                model, options, keep = source
                while len(self._sessions) >= keep:
                    del self._sessions[next(iter(self._sessions))]
                session = open_session(model, options)
            self._sessions[key] = session, model  # the last of them: those before are closed first
            return _answer(session, wanted, model), None
        except Exception as error:  # whatever it is, the parent reports it
            pass_on_interruption(error)
            return None, one_line(error)


def _answer(
    session: onnxruntime.InferenceSession, wanted: Wanted, model: str | bytes
) -> Arrays | Reading | None:
    if isinstance(wanted, str):
        return _interface(session, model) if wanted == INTERFACE else None
    outputs, feeds = wanted
    names = outputs or [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, feeds), strict=True))
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _interface(session: onnxruntime.InferenceSession, model: str | bytes) -> Reading:
    from rnnedge_runtime.engine.tensor_info import tensor_spec
    from rnnedge_runtime.foreign.read_interface import read_interface
    from rnnedge_runtime.onnx_file import read_graph

    ins = tuple(map(tensor_spec, session.get_inputs()))
    outs = tuple(map(tensor_spec, session.get_outputs()))
    return read_interface(read_graph(model), ins, outs)


def main(idle: float | None = None) -> None:
    """Answer requests until stdin ends."""
    serve(OnnxRuntimeServer().answer, idle)
