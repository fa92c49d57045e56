"""What a diagnosis knows of a model that was compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from rnnedge.errors import RefusedError
from rnnedge.parity.cases import Case
from rnnedge.parity.collect import Answers, Questioner
from rnnedge.parity.compare import Tolerance
from rnnedge.parity.results import CaseResult
from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime.contract import Interface


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """A model that was compared.

    Attributes:
        path: The file.
        module: The source.
        layer: Its weights, when it is a bare layer.
        declared: The interface that the file declares.
        fitted: The same with the axes that the source has.
        ask: Runs one more case.
        judge: Compares one case.
        worker: The process to look inside the model in; None looks from this one.
        tolerance: What counts as equal.
        terms: Terms in the widest product of the cell.
    """

    path: str
    module: nn.Module
    layer: RecurrentLayer | None
    declared: Interface
    fitted: Interface
    ask: Questioner
    judge: Callable[[Answers], Sequence[CaseResult]]
    worker: Worker | None
    tolerance: Tolerance
    terms: int

    def try_case(self, case: Case) -> Answers | None:
        """Run one more case; None when PyTorch refuses it."""
        try:
            return self.ask(case)
        except RefusedError:
            return None

    def right(self, answers: Answers) -> bool:
        """Whether every output is inside tolerance."""
        return all(self.judge(answers))
