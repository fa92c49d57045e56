"""The ONNX forms that a recurrent layer can take, and which one is chosen when."""

from __future__ import annotations

from math import isqrt
from typing import TypeAlias

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.lowerings.base import LayerCall as LayerCall
from rnnedge_exporters.lowerings.base import Lengths as Lengths
from rnnedge_exporters.lowerings.base import Lowering
from rnnedge_exporters.lowerings.operator import lower_to_operator
from rnnedge_exporters.lowerings.operator_int8 import lower_to_operator_int8
from rnnedge_exporters.lowerings.precision_rule import storage_in_int8
from rnnedge_exporters.lowerings.scan import lower_to_scan
from rnnedge_exporters.lowerings.scan_int8 import lower_to_scan_int8
from rnnedge_exporters.lowerings.scan_nbits import lower_to_scan_nbits
from rnnedge_exporters.lowerings.switch import lower_to_switch
from rnnedge_exporters.option_values import Quantize, Storage, Target

Chosen: TypeAlias = tuple[str, str, Storage]
"""The name of a lowering, why it is that one, and how its weights are written."""

LOWERINGS: dict[str, Lowering] = {
    "operator": lower_to_operator,
    "scan": lower_to_scan,
    "switch": lower_to_switch,
}
"""The forms that compute in floating point; each can be asked for."""
INT8_LOWERINGS: dict[str, Lowering] = {
    "operator_int8": lower_to_operator_int8,
    "scan_int8": lower_to_scan_int8,
    "scan_nbits": lower_to_scan_nbits,
}
"""The forms that compute in integers; `quantize` asks for them."""
SWITCHED_BELOW = 384
"""Hidden size from which a plain RNN is a `Scan` alone: at 512 one is as fast for a single step,
and at 256 a single step takes 1.1 times as long as with the operator."""
_IN_C = "operator", "C is written from it"
_ELSEWHERE: dict[Target, tuple[tuple[str, str], tuple[str, str]]] = {
    "c": (_IN_C, _IN_C),
    "portable": (
        ("operator", "the form that the most runtimes know"),
        ("scan", "some runtimes run an RNN with relu as one with tanh, silently"),
    ),
    "cuda": (
        ("operator", "cuDNN runs it"),
        ("scan", "the CUDA provider hands an RNN with relu to the CPU"),
    ),
}
"""For targets other than the CPU, the form of a layer without a projection, and why; then that of
one with relu."""
INT8_FROM: dict[str, tuple[tuple[int, str, str], ...]] = {
    "rnn": ((512, "scan_int8", "1.1 to 2 times as fast as float32, 4 and more from 768 on"),),
    "rnn in both directions": ((768, "scan_int8", "4 and more times as fast as float32"),),
    "gru": ((384, "scan_int8", "1.4 to 1.8 times as fast as float32, 2.9 and more from 512 on"),),
    "lstm": (
        (256, "operator_int8", "1.9 to 2.2 times as fast as float32, 2.7 and more from 384 on"),
        (384, "scan_int8", "2.4 to 2.9 times as fast as float32"),
    ),
    "lstm with a projection": ((320, "scan_int8", "1.6 to 4 times as fast as float32"),),
}
"""For each cell, the first usable form is taken: the width from which a form computes in int8, and
how fast that was. A width is the hidden size, with a projection the root of the product of both.
Measured by `python -m benchmarks.quantized` at batch 1, with 100 steps, on one thread of a server
whose 2 MiB of cache hold float32 weights up to hidden 512, where float32 is at its best. The lower
figures of a narrow layer are mostly those with all its instructions: ONNX Runtime takes AMX for a
single row too, which is slower there than AVX2. The higher ones are those of AVX2. At 512, an RNN
in both directions would be off by up to 1.3e-2, most of it made by weights of 7 bits."""


def choose(
    layer: RecurrentLayer,
    *,
    lengths: bool,
    target: Target,
    forced: str | None = None,
    quantize: Quantize | None = None,
    storage: Storage = "float32",
) -> Chosen:
    """Return the name of the lowering for a layer, why it is the one, and how it is written.

    What is faster on a CPU is measured by `python -m benchmarks.speed`, on one thread.

    Args:
        layer: The layer.
        lengths: Whether its rows end at their own lengths. The LSTM of integers would take the
            padding into the scale of its input, and is not usable then.
        target: What it is chosen for.
        forced: The lowering that the caller asked for; None chooses.
        quantize: As in `export`; anything not computed in int8 is a form of floating point.
        storage: How weights are written; with `int8`, those of a narrow layer otherwise.

    Raises:
        ExportError: When the layer cannot take the form that was asked for.
    """
    name, reason = _choose_form(
        layer, lengths=lengths, target=target, forced=forced, quantize=quantize
    )
    if quantize == "int8":
        storage, why = storage_in_int8(layer, name)
        reason = f"{reason}; {why}" if why else reason
    return name, reason, storage


def _choose_form(
    layer: RecurrentLayer,
    *,
    lengths: bool,
    target: Target,
    forced: str | None,
    quantize: Quantize | None,
) -> tuple[str, str]:
    if forced in INT8_LOWERINGS:
        if forced == "operator_int8" and (layer.cell != "lstm" or layer.proj_size or lengths):
            raise ExportError(
                f"lowering 'operator_int8': {layer.name or 'the layer'} is not an LSTM, or has "
                "a projection or lengths, which the operator does not support: expected 'scan_int8'"
            )
        return forced, "it was asked for"
    if quantize is None or forced is not None:
        return _choose_float(layer, target, forced, lengths=lengths)
    integers, why = choose_int8(layer, lengths=lengths, target=target, quantize=quantize)
    if integers is not None:
        return integers, why
    name, reason = _choose_float(layer, target, forced, lengths=lengths)
    return name, f"{reason}; {why}"


def choose_int8(
    layer: RecurrentLayer, *, lengths: bool, target: Target, quantize: Quantize
) -> tuple[str | None, str]:
    """Return the form of integers for a layer, None where it has to be another, and why.

    The arguments are those of `choose`.
    """
    if target == "cuda":
        return None, "the CUDA provider has none in int8"
    if target == "c":
        if quantize == "int8:all":
            return "scan_int8", "int8 was asked for everywhere"
        return None, "in C int8:all computes in int8"
    cell: str = "lstm with a projection" if layer.proj_size else layer.cell
    cell += " in both directions" if cell == "rnn" and layer.bidirectional else ""
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


def _choose_float(
    layer: RecurrentLayer, target: Target, forced: str | None, *, lengths: bool
) -> tuple[str, str]:
    if forced is not None:
        if layer.proj_size and forced != "scan":
            raise ExportError(
                f"lowering {forced!r}: {layer.name or 'the layer'} is an LSTM with a projection, "
                "which the operator does not support: expected 'scan'"
            )
        return forced, "it was asked for"
    if layer.proj_size:
        return "scan", "the operator has no projection"
    if target == "portable" and lengths:
        return "scan", "some runtimes ignore the sequence_lens of an operator, silently"
    if target in _ELSEWHERE:
        return _ELSEWHERE[target][layer.nonlinearity == "relu"]
    if layer.cell != "rnn":
        return "operator", f"a {layer.cell} as a Scan is slower nearly everywhere"
    if layer.hidden_size < SWITCHED_BELOW:
        return "switch", "a narrow RNN: the operator is faster for a few short rows, a Scan else"
    return "scan", "a wide RNN: 2 to 3 times as fast as the operator on batches"
