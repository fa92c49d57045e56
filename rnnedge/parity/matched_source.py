"""What a file is compared with: the source, its open options settled, its weights rounded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from rnnedge.errors import ModelError, RefusedError, SourceError, WeightsWarning
from rnnedge.parity.cases import Case, default_cases
from rnnedge.parity.collect import Answers, Questioner
from rnnedge.parity.compare import (
    Tolerance,
    compare,
    widest_product,
)
from rnnedge.parity.diagnosis.frozen import accepted_cases
from rnnedge.parity.from_checkpoint import Fit, layer_in_file, settle
from rnnedge.parity.interface_matching import fit_layer, fit_module, frozen_axes
from rnnedge.parity.model_runner import ModelRunner
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.rounding.half_precision import Halves
from rnnedge.parity.rounding.matched_weights import Held, hold
from rnnedge.parity.rounding.quantized_weights import StoredWeight
from rnnedge.parity.rounding.rounding_report import read_stored_weights
from rnnedge.sources.load import Source, load_source, source_of_module
from rnnedge_exporters import is_bare_layer
from rnnedge_exporters.call_advice import not_a_module
from rnnedge_exporters.layers.weights import RecurrentLayer, read_layer
from rnnedge_runtime import RnnEdgeError
from rnnedge_runtime.contract import Contract, Interface


@dataclass(frozen=True, slots=True)
class MatchedSource:
    """What a file is compared with.

    Attributes:
        source: The source, as a checkpoint's open options were settled.
        module: The module with the weights that the file holds.
        held: How the file holds rounded weights, or None.
        layer: The weights, when the source is a bare layer.
        interface: The interface of the file, with the axes that the source has.
        notes: What the report says of it.
    """

    source: Source
    module: nn.Module
    held: Held | None
    layer: RecurrentLayer | None
    interface: Interface
    notes: list[str]

    def cases(
        self, given: Sequence[Case] | None, contract: Contract | None, *, quick: bool
    ) -> Sequence[Case]:
        """Return the cases that the caller gave, or the sweep that fits."""
        if given is not None:
            if not given:
                raise ModelError("cases: expected one or more, got none")
            return given
        cases = default_cases(
            self.interface,
            streams=not _hindered(contract, self.module),
            permute=self.layer is not None,
            quick=quick,
        )
        if self.held is None or not isinstance(self.held.integers, Halves):
            return cases
        self.notes.append("not run on extreme values: half ends at 65,504")
        return [case for case in cases if case.values != "extreme"]


def match_source(opened: OpenedModel, source: Source) -> MatchedSource:
    """Say what a file is compared with: the source, with the weights as the file holds them."""
    stored = read_stored_weights(opened)
    source, layer, interface, notes = _fit(opened, source, stored)
    if opened.engine != "onnxruntime":
        notes.append(f"run by the {opened.engine} engine")
    held = _held(source.module, stored, opened) if stored else None
    module = held.module if held else source.module
    layer = read_layer(module) if layer and held else layer  # type: ignore[arg-type]
    return MatchedSource(source, module, held, layer, interface, notes)


def _held(module: nn.Module, stored: Sequence[StoredWeight], opened: OpenedModel) -> Held:
    """Return the source as a file holds it, with activations rounded as its engine does."""
    return hold(module, stored, opened.calibrated, row_by_row=opened.engine == "native")


def _fit(
    opened: OpenedModel, source: Source, stored: Sequence[StoredWeight]
) -> tuple[Source, RecurrentLayer | None, Interface, list[str]]:
    """Say which inputs and outputs of the file are which, and settle what a checkpoint leaves open.

    Returns:
        The source, its weights when it is a bare layer, the interface with the axes that the source
        has, and notes.
    """
    layer, interface, notes = None, opened.interface, []
    if is_bare_layer(source.module):
        if source.untold:
            source, note = settle(source, lambda layer: _answers_like(opened, layer, stored))
            notes += [note] if note else []
        layer = read_layer(source.module)  # type: ignore[arg-type]  # it is still a bare layer
        interface = fit_layer(opened.path, opened.interface, source.origin, layer)
        notes += frozen_axes(opened.interface, interface)
        opened.pair_states(interface)
    elif opened.contract is None:
        interface = fit_module(opened.interface, source.module)
        notes += frozen_axes(opened.interface, interface)
    return source, layer, interface, [*source.notes, *notes]


def source_of(against: nn.Module | Source | str | os.PathLike[str], model: str) -> Source:
    """Return the source that `validate` is called with.

    Args:
        against: A live layer or module, or what the command line takes as SOURCE.
        model: The path of the file, whose layer is taken of a checkpoint with several.

    Raises:
        SourceError: When it is something else, or cannot be read.
    """
    if isinstance(against, Source):
        return against
    if isinstance(against, nn.Module):
        return source_of_module(against)
    if not isinstance(against, str | os.PathLike):
        raise SourceError(f"against: expected an nn.Module or a path, {not_a_module(against)}")
    return load_source(against, choose=partial(layer_in_file, model))


def _answers_like(
    opened: OpenedModel, layer: nn.RNNBase, stored: Sequence[StoredWeight]
) -> Fit | None:
    """Say whether a file answers what a bare layer does, at shapes that tell layouts apart.

    Returns:
        None when the file ends its process, as it would at every other try.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WeightsWarning)  # reported for the one that is kept
            face = fit_layer(opened.path, opened.interface, "", read_layer(layer))
        opened.pair_states(face)
        held = _held(layer, stored, opened) if stored else None
        module, integers = (held.module, held.integers) if held else (layer, None)
        ask = Questioner(face, ModelRunner(face, opened.session), module, torch.float64, integers)

        def fit(collected: Sequence[Answers]) -> Fit:
            results = compare(collected, face, Tolerance(), widest_product(layer))
            if all(results):
                return "values"
            return "" if any(result.problem for result in results) else "shapes"

        collected = []
        for case in (Case(3, 2), Case(2, 4)):
            collected.append(ask(case))
            if collected[-1].crash:
                return None
        if all(answers.model is not None for answers in collected):
            return fit(collected)
        # It has fixed an axis: right at one size of it is all that can be.
        taken = accepted_cases(opened.interface, face, _unless_crashed(ask))
        fitting = (fit([a]) for a in taken if a.case.time != a.case.batch)
        return "values" if "values" in fitting else ""
    except (RnnEdgeError, RefusedError):
        return ""


def _unless_crashed(ask: Questioner) -> Callable[[Case], Answers]:
    """Ask until the file ends its process; each more of that would cost a new one."""

    def once(case: Case) -> Answers:
        answers = ask(case)
        if answers.crash:
            raise RefusedError(answers.crash)
        return answers

    return once


def _hindered(contract: Contract | None, module: nn.Module) -> bool:
    """Whether chunks give something else than the whole sequence."""
    if contract is not None:
        return bool(contract.hindrances)
    return bool(getattr(module, "bidirectional", False))
