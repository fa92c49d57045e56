"""What rounding costs on the user's own sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from rnnedge.errors import SourceError
from rnnedge.parity.cases import Case, Inputs, Outputs
from rnnedge.parity.model_runner import ModelRunner
from rnnedge.parity.rounding.cost import CostMeter, OutputCost, scores_of
from rnnedge.parity.runners import Runner, quiet_kernels, runner_of
from rnnedge_exporters import is_bare_layer
from rnnedge_exporters.calibration.sequences import NamedSequence, given_to
from rnnedge_runtime.contract import Interface


class Calibration:
    """PyTorch's answers to sequences, which any number of files are compared with.

    Args:
        module: The source with its float32 weights.
        interface: What a file of it takes and gives.
        sequences: The sequences, one or more.
        scores: As in `validate`.

    Raises:
        SourceError: When PyTorch does not take a sequence.
    """

    def __init__(
        self,
        module: nn.Module,
        interface: Interface,
        sequences: Sequence[NamedSequence],
        *,
        scores: bool | None = None,
    ) -> None:
        """Run the source in float64, and in float32."""
        self._interface = interface
        self._scores = scores_of(interface, bare=is_bare_layer(module), told=scores)
        single = runner_of(module)(module, interface, torch.float32)
        reference: Runner = runner_of(module)(module, interface, torch.float64)
        self._answers: list[tuple[NamedSequence, Inputs, Outputs, Outputs]] = []
        for sequence in sequences:
            inputs, case = sequence.with_states(interface), Case(sequence.time, 1)
            with given_to(module, sequence, SourceError), quiet_kernels():
                answers = single(inputs, case)
                try:
                    exact = reference(inputs, case)
                except RuntimeError:  # a forward may fix a dtype, and refuse float64
                    reference, exact = single, answers
            self._answers.append((sequence, inputs, exact, answers))

    def costs(self, run: ModelRunner) -> tuple[OutputCost, ...]:
        """Return how far a file is from PyTorch, for each output.

        Raises:
            ModelError: When the file does not take a sequence.
        """
        meter = CostMeter(self._interface, self._scores)
        for sequence, inputs, exact, single in self._answers:
            given = run(inputs, Case(sequence.time, 1))
            meter.add(sequence.name, exact, single, given)
        return meter.costs()
