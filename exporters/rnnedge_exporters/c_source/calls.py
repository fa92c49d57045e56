"""Each call of a plan as C statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rnnedge_exporters.c_source import element_calls, matrix_calls
from rnnedge_exporters.c_source.emitter import Emitter
from rnnedge_exporters.c_source.text import CLines
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.plan.tracer import (
    ACTIVATE,
    ARITHMETIC,
    CAST,
    COMPARE,
    COPY,
    DEPTHWISE,
    FILL,
    GATHER,
    LAYER,
    NORMALIZE,
    PRODUCT,
    REDUCE,
    SOFTMAX,
    WHERE,
)
from rnnedge_runtime.plan.values import Call


def statements(emitter: Emitter, calls: Sequence[Call]) -> list[str]:
    """Return the lines of C of all calls.

    Args:
        emitter: What collects which kernels, weights and places they use.
        calls: The calls, in order.

    Raises:
        ExportError: For a call that the C target does not know.
    """
    out, node = CLines(), None
    for call in calls:
        if call.node != node:
            node = call.node
            out.comment(node)
        write = _WRITERS.get(call.operation)
        if write is None:
            raise ExportError(f"{call.node}: the C target does not know it")
        write(emitter, out, call)
    return out.lines


_WRITERS: dict[int, Callable[[Emitter, CLines, Call], None]] = {
    LAYER: matrix_calls.layer,
    PRODUCT: matrix_calls.product,
    ACTIVATE: element_calls.activate,
    ARITHMETIC: element_calls.arithmetic,
    COPY: element_calls.copy,
    FILL: element_calls.fill,
    GATHER: matrix_calls.gather,
    SOFTMAX: element_calls.softmax,
    NORMALIZE: element_calls.normalize,
    REDUCE: element_calls.reduce,
    DEPTHWISE: matrix_calls.depthwise,
    COMPARE: element_calls.compare,
    WHERE: element_calls.where,
    CAST: element_calls.cast,
}
