"""What an engine may be off by that rounds each row to int8 over its own range.

The expected outputs of golden vectors are those of the file, which rounds all rows of a batch over
one range. The native engine rounds each row by itself: it is compared with PyTorch that does the
same, and how far the two answers of PyTorch lie apart is allowed besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rnnedge.errors import GoldenError
from rnnedge.parity.collect import Answers, Questioner
from rnnedge.parity.results import CaseResult
from rnnedge.parity.rounding.dynamic_quantization import Integers
from rnnedge.parity.rounding.half_precision import Halves
from rnnedge.parity.rounding.row_quantization import RowIntegers, by_row


def row_tolerance(
    ask: Questioner,
    judge: Callable[[Answers], Sequence[CaseResult]],
    integers: Integers | None,
) -> Callable[[Answers], Mapping[str, float]] | None:
    """Return what says how far each output may be off by rows; None for a file without int8.

    Args:
        ask: Runs a case as the file rounds.
        judge: Compares one case.
        integers: Which products the file makes of integers.

    Raises:
        GoldenError: When the answers were rounded by rows, and are not those of the file.
    """
    if integers is None or isinstance(integers, Halves):
        return None
    if isinstance(integers, RowIntegers):
        raise GoldenError(
            "golden: expected engine 'onnxruntime' for a file that computes in int8, got 'native', "
            "which rounds differently from the file: write them with the former, check with both"
        )
    ask_rows = ask.rounding_as(by_row(integers))

    def allowed(answers: Answers) -> Mapping[str, float]:
        rows = ask_rows(answers.case)
        apart = {
            name: float(np.abs(expected - rows.reference[name]).max(initial=0.0))
            for name, expected in answers.reference.items()
        }
        return {result.output: result.allowed + apart[result.output] for result in judge(rows)}

    return allowed
