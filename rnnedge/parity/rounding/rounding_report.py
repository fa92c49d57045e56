"""What a validation asks of a file with rounded weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rnnedge.detect_rounding import may_be_rounded
from rnnedge.parity.collect import Answers
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.rounding.cost import CostMeter, Rounding, scores_of
from rnnedge.parity.rounding.half_precision import Halves
from rnnedge.parity.rounding.matched_weights import Held
from rnnedge.parity.rounding.quantized_weights import StoredWeight, read_stored
from rnnedge.parity.runners import quiet_kernels, runner_of
from rnnedge_exporters import is_bare_layer
from rnnedge_runtime.contract import Interface


def read_stored_weights(opened: OpenedModel) -> list[StoredWeight]:
    """Return the weights that a file holds in fewer bits.

    One whose contract has none, and whose operators give no sign of others' work, is not read.

    Args:
        opened: The file.
    """
    if opened.contract is not None and not may_be_rounded(opened.path, opened.contract):
        return []
    return read_stored(opened.path)


def measure_rounding(
    original: nn.Module,
    held: Held | None,
    dtype: torch.dtype,
    collected: Sequence[Answers],
    interface: Interface,
    *,
    scores: bool | None,
) -> Rounding | None:
    """Compare the plain cases with the weights that were rounded.

    Args:
        original: The source with its float32 weights.
        held: The source as the file holds it; None for a float32 file.
        dtype: What the reference computes in.
        collected: What was run.
        interface: What the file takes and gives.
        scores: As in `validate`.
    """
    if held is None or not held.dtypes:
        return None
    runner = runner_of(original)
    reference, single = (runner(original, interface, d) for d in (dtype, torch.float32))
    bare = is_bare_layer(original)
    meter = CostMeter(interface, scores_of(interface, bare=bare, told=scores))
    for answers in collected:
        case, inputs = answers.case, answers.inputs
        plain = case.values == "normal" and case.way == "plain" and not case.ragged
        if plain and not case.chunk and answers.model is not None:
            with quiet_kernels():
                pair = reference(inputs, case), single(inputs, case)
            meter.add(str(case), *pair, answers.model)
    arithmetic = held.integers
    names = tuple(sorted(arithmetic.names)) if arithmetic else ()
    halves = isinstance(arithmetic, Halves)
    return Rounding(
        dtypes=held.dtypes,
        rounded=held.rounded,
        integers=() if halves else names,
        halves=names if halves else (),
        missing=held.missing,
        costs=meter.costs(),
    )
