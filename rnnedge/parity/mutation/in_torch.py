"""Whether a proof against PyTorch fails for a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from rnnedge.errors import RefusedError
from rnnedge.parity.collect import Answers, Questioner
from rnnedge.parity.compare import Tolerance, compare, widest_product
from rnnedge.parity.model_runner import ModelRunner
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.rounding.matched_weights import Held, hold
from rnnedge.parity.rounding.rounding_report import read_stored_weights
from rnnedge.parity.rounding.widened import compare_unrounded
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.engine.options import EngineName
from rnnedge_runtime.errors import RnnEdgeError


@dataclass(frozen=True, slots=True)
class TorchProof:
    """A proof that passed, to be made again of other files.

    Attributes:
        original: The source, with its own weights.
        interface: What the file takes and gives.
        dtype: What the reference computes in.
        tolerance: What counts as equal.
        collected: What was run, and answered.
        worker: The process that files run in; None for this one.
        device: Where they run.
        engine: What runs them.
    """

    original: nn.Module
    interface: Interface
    dtype: torch.dtype
    tolerance: Tolerance
    collected: Sequence[Answers]
    worker: Worker | None
    device: str
    engine: EngineName

    def fails(self, path: str) -> bool:
        """Whether the file at a path is refused, or answers something else in a case."""
        try:
            file = OpenedModel(path, device=self.device, worker=self.worker, engine=self.engine)
            file.pair_states(self.interface)
            stored = read_stored_weights(file)
            held = hold(self.original, stored, file.calibrated) if stored else None
            terms = widest_product(self.original)
            same = all(
                all(compare([answers], self.interface, self.tolerance, terms))
                for answers in self._asked(file, held)
            )
            return not (same and self._same_unrounded(path, held))
        except RnnEdgeError:
            return True
        finally:
            if self.worker is not None:
                self.worker.call("close", path)

    def _same_unrounded(self, path: str, held: Held | None) -> bool:
        if held is None:
            return True
        given = self.interface, self.dtype, self.tolerance, self.collected, self.worker
        return all(compare_unrounded(path, held, *given)[0])

    def _asked(self, file: OpenedModel, held: Held | None) -> Iterator[Answers]:
        """Run the cases again, the smallest first; the reference too, where it has its weights."""
        runner = ModelRunner(self.interface, file.session)
        ordered = sorted(self.collected, key=lambda a: a.case.time * a.case.batch)
        if held is None:
            for answers in ordered:
                outputs = runner(answers.inputs, answers.case)
                yield replace(answers, model=outputs, failure=None, crash="")
            return
        ask = Questioner(self.interface, runner, held.module, self.dtype, held.integers)
        for answers in ordered:
            try:
                yield ask(answers.case)
            except RefusedError:  # as PyTorch itself does
                continue
