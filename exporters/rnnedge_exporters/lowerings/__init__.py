"""The ONNX forms that a recurrent layer can take, and which one is chosen when."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Literal, TypeAlias

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.lowerings.base import Lengths as Lengths
from rnnedge_exporters.lowerings.base import Lowering
from rnnedge_exporters.lowerings.operator import lower_to_operator
from rnnedge_exporters.lowerings.operator_int8 import lower_to_operator_int8
from rnnedge_exporters.lowerings.scan import lower_to_scan
from rnnedge_exporters.lowerings.scan_int8 import lower_to_scan_int8
from rnnedge_exporters.lowerings.switch import lower_to_switch
from rnnedge_exporters.quantization.options import Quantize
from rnnedge_exporters.weights import RecurrentLayer

Target: TypeAlias = Literal["cpu", "cuda", "portable"]
Choice: TypeAlias = Callable[[RecurrentLayer, bool], tuple[str, str]]
"""Takes a layer and whether it has lengths; returns its lowering, and why it is that one."""

LOWERINGS: dict[str, Lowering] = {
    "operator": lower_to_operator,
    "scan": lower_to_scan,
    "switch": lower_to_switch,
}
"""The forms that compute in floating point; each can be asked for."""
INT8_LOWERINGS: dict[str, Lowering] = {
    "operator_int8": lower_to_operator_int8,
    "scan_int8": lower_to_scan_int8,
}
"""The forms that compute in integers; `quantize` asks for them."""
SWITCHED_BELOW = 384
"""Hidden size from which a plain RNN is a `Scan` alone: at 512 one is as fast for a single step,
and at 256 a single step takes 1.1 times as long as with the operator."""
INT8_FROM: dict[str, tuple[tuple[int, str, str], ...]] = {
    "rnn": ((512, "scan_int8", "0.95 to 1.8 times as fast as float32, 2.5 and more from 768 on"),),
    "gru": ((384, "scan_int8", "1 to 1.5 times as fast as float32, 2.4 and more from 512 on"),),
    "lstm": (
        (512, "scan_int8", "2.4 to 5 times as fast as float32"),
        (256, "operator_int8", "1.1 to 1.9 times as fast as float32, 2.5 and more from 384 on"),
        (384, "scan_int8", "1.6 times as fast as float32, 3 and more from 448 on"),
    ),
    "lstm with a projection": ((320, "scan_int8", "1.6 to 4 times as fast as float32"),),
}
"""For each cell, the first that serves is taken: the width from which a form computes in int8, and
how fast that was. A width is the hidden size, with a projection the root of the product of both.
Measured by `python -m benchmarks.quantized` at batch 1, with 100 steps, on one thread of a server
whose 2 MiB of cache hold float32 weights up to hidden 512: the lower figures are of a warm cache,
and a device has less of it. The integer LSTM is faster still from 512 on; there the Scan is fast
enough, and its error a third."""


def choose(
    layer: RecurrentLayer,
    lengths: bool,
    target: Target,
    forced: str | None = None,
    quantize: Quantize | None = None,
) -> tuple[str, str]:
    """Return the name of the lowering for a layer, and why it is the one.

    What is faster on a CPU is measured by `python -m benchmarks.speed`, on one thread.

    Args:
        layer: The layer.
        lengths: Whether its rows end at lengths of their own. The LSTM of integers would take the
            padding into the scale of its input, and does not serve then.
        target: What it is chosen for.
        forced: The lowering that the caller asked for; None chooses.
        quantize: As in `export`; what is not computed in int8 is a form of floating point.

    Raises:
        ExportError: When the layer cannot take the form that was asked for.
    """
    if quantize is None or forced is not None:
        return _choose_float(layer, target, forced)
    integers, why = choose_int8(layer, lengths, target, quantize)
    if integers is not None:
        return integers, why
    name, reason = _choose_float(layer, target, forced)
    return name, f"{reason}; {why}"


def choose_int8(
    layer: RecurrentLayer, lengths: bool, target: Target, quantize: Quantize
) -> tuple[str | None, str]:
    """Return the form of integers for a layer, None where it has to be another, and why.

    The arguments are those of `choose`.
    """
    if target == "cuda":
        return None, "the CUDA provider has none in int8"
    cell = "lstm with a projection" if layer.proj_size else layer.cell
    width = isqrt(layer.hidden_size * layer.state_sizes[0])
    forms = [
        (least, name, speed)
        for least, name, speed in INT8_FROM[cell]
        if name != "operator_int8" or not (lengths or target == "portable")
    ]
    for least, name, speed in forms:
        if width >= least:
            return name, f"from width {least} on, int8 is {speed}"
    least, narrowest, _ = min(forms)
    if quantize == "int8:all":
        return narrowest, "int8 was asked for everywhere"
    return None, f"below width {least}, int8 makes the cell no faster"


def _choose_float(layer: RecurrentLayer, target: Target, forced: str | None) -> tuple[str, str]:
    if forced is not None:
        if layer.proj_size and forced != "scan":
            raise ExportError(
                f"lowering {forced!r}: {layer.name or 'the layer'} is an LSTM with a projection, "
                "which the operator has not: expected 'scan'"
            )
        return forced, "it was asked for"
    if layer.proj_size:
        return "scan", "the operator has no projection"
    if target == "portable":
        return "operator", "the form that the most runtimes know"
    if target == "cuda":
        if layer.nonlinearity == "relu":
            return "scan", "the CUDA provider hands an RNN with relu to the CPU"
        return "operator", "cuDNN runs it"
    if layer.cell != "rnn":
        return "operator", f"a {layer.cell} as a Scan is slower nearly everywhere"
    if layer.hidden_size < SWITCHED_BELOW:
        return "switch", "a narrow RNN: the operator is faster for a few short rows, a Scan else"
    return "scan", "a wide RNN: 2 to 3 times as fast as the operator on batches"
