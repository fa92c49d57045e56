"""What PyTorch answers at the shapes that are timed, and whether somebody else answers the same."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import nn

from rnnedge.errors import RefusedError, RnnEdgeError, SourceError, WeightsWarning
from rnnedge.measuring.shapes import Shape
from rnnedge.parity.cases import Case, Inputs, Outputs
from rnnedge.parity.collect import Answers, Questioner
from rnnedge.parity.compare import Tolerance, compare, widest_product
from rnnedge.parity.from_checkpoint import settle
from rnnedge.parity.interface_matching import fit_layer, fit_module
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.rounding.dynamic_quantization import Integers
from rnnedge.parity.rounding.matched_weights import hold
from rnnedge.parity.rounding.rounding_report import read_stored_weights
from rnnedge.sources.load import Source
from rnnedge_exporters import is_bare_layer
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_runtime.contract import Interface

_TELLING = (Shape(3, 2), Shape(2, 4))
"""Shapes at which a layer that takes batch for time answers something else."""


class TorchOutputs:
    """PyTorch's answers, in float64 where the module takes it.

    Args:
        interface: What a model of the source takes and gives.
        module: The source; it is copied.
        integers: Which products the model makes of integers; None where it makes none.

    Attributes:
        interface: What a model of the source takes and gives.
        module: The source.
    """

    def __init__(
        self, interface: Interface, module: nn.Module, integers: Integers | None = None
    ) -> None:
        """Copy the module."""
        self.interface = interface
        self.module = module
        self._integers = integers
        self._ask = Questioner(interface, _nobody, module, torch.float64, integers)

    def answers(self, shape: Shape) -> Answers:
        """Return the inputs of a shape and what PyTorch answers; initial states are zeros.

        Raises:
            SourceError: When PyTorch does not take the shape.
        """
        try:
            return self._ask(Case(shape.time, shape.batch))
        except RefusedError as error:
            if self._ask.dtype is torch.float32:
                name = type(self.module).__name__
                raise SourceError(f"{name} does not take {shape}: {error}") from error
        # A forward may fix a dtype, and refuse float64.
        self._ask = Questioner(self.interface, _nobody, self.module, torch.float32, self._integers)
        return self.answers(shape)

    def data(self, answers: Answers) -> Inputs:
        """Return the inputs that are neither a state nor the lengths."""
        return {spec.name: answers.inputs[spec.name] for spec in self.interface.data_inputs}

    def fault(self, answers: Answers, outputs: Outputs) -> str | None:
        """Say how outputs differ from PyTorch's, by the tolerance of `rnnedge.validate`.

        Args:
            answers: PyTorch's.
            outputs: By name; final states may be left out.

        Returns:
            None when they do not.
        """
        needed = {spec.name for spec in self.interface.data_outputs} | set(outputs)
        extra = sorted(needed - set(answers.reference))
        if extra:
            return f"{extra[0]}: the source has no such output"
        reference = {n: y for n, y in answers.reference.items() if n in needed}
        answered = replace(answers, model=outputs, reference=reference)
        results = compare([answered], self.interface, Tolerance(), widest_product(self.module))
        wrong = [result for result in results if not result]
        if not wrong:
            return None
        worst = max(wrong, key=lambda result: result.badness)
        if worst.problem:
            return f"{worst.output}: {worst.problem}"
        return f"{worst.output} off by {worst.error:.1e}, {worst.allowed:.1e} allowed"

    def held_by(self, opened: OpenedModel) -> TorchOutputs:
        """Return what a file has to answer: the source with the weights that the file holds."""
        stored = read_stored_weights(opened)
        if not stored:
            return self
        held = hold(self.module, stored, opened.calibrated)
        return TorchOutputs(self.interface, held.module, held.integers)


def open_beside(model: str, source: Source) -> tuple[OpenedModel, TorchOutputs]:
    """Open a model in this process, and say which of its inputs are which by its source.

    What a checkpoint does not say (nonlinearity, batch_first) is what the model answers.

    Raises:
        ModelError: When the model cannot be opened.
        SourceError: When the source takes other inputs than the model.
    """
    opened = OpenedModel(model, device="cpu", worker=None)
    module = source.module
    if is_bare_layer(module):
        if source.untold:
            source, _ = settle(source, lambda layer: "values" if _fits(opened, layer) else "")
            module = source.module
        return opened, _beside_layer(opened, source.origin, module)
    face = opened.interface
    return opened, TorchOutputs(face if opened.contract else fit_module(face, module), module)


def _beside_layer(opened: OpenedModel, origin: str, layer: nn.Module) -> TorchOutputs:
    face = fit_layer(opened.path, opened.interface, origin, read_layer(layer))  # type: ignore[arg-type]
    opened.pair_states(face)
    return TorchOutputs(face, layer)


def _fits(opened: OpenedModel, layer: nn.Module) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsWarning)  # reported for the one that is kept
            reference = _beside_layer(opened, "", layer).held_by(opened)
        for shape in _TELLING:
            answers = reference.answers(shape)
            outputs = opened.session().run(reference.data(answers)).outputs
            if reference.fault(answers, outputs):
                return False
    except RnnEdgeError:  # it refuses the shape
        return False
    return True


def _nobody(inputs: Inputs, case: Case) -> Outputs:
    """Answer nothing: what answers is asked in addition to PyTorch, not by it."""
    return {}
