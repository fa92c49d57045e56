"""Collecting what both sides answer, before anything is compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from rnnedge.errors import SourceError
from rnnedge.parity.cases import Case, Inputs, largest_index, make_inputs
from rnnedge.parity.runners import LayerRunner, ModelRunner, ModuleRunner, Outputs
from rnnedge_exporters import is_bare_layer
from rnnedge_runtime import RnnEdgeError, Session


@dataclass(frozen=True, slots=True)
class Answers:
    """What everybody answered in one case.

    Attributes:
        case: The case.
        sizes: Sizes that the named axes of the inputs had.
        reference: PyTorch's outputs in float64, by name.
        torch: PyTorch's outputs in float32, by name.
        model: The exported model's outputs by name, or None when it raised.
        failure: What the exported model raised, or None.
    """

    case: Case
    sizes: dict[str, int]
    reference: Outputs
    torch: Outputs
    model: Outputs | None
    failure: str | None


def collect(
    session: Session,
    module: nn.Module,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Answers], list[str]]:
    """Run every case on the exported model and, in float64 and float32, on its source.

    Args:
        session: The exported model.
        module: The source; it is copied, never changed.
        cases: What to run.
        progress: Called with the number of cases done and in all.

    Returns:
        The answers, and notes: which cases the source itself refuses, and in which dtype it ran.

    Raises:
        SourceError: When the source refuses every case, or answers less than the model.
    """
    face = session.interface
    runner = LayerRunner if is_bare_layer(module) else ModuleRunner
    model = ModelRunner(session)
    single = runner(module, face, torch.float32)
    indices = largest_index(module)
    collected: list[Answers] = []
    refused: dict[Case, str] = {}
    for dtype in (torch.float64, torch.float32):  # a forward may fix a dtype, and refuse float64
        reference = runner(module, face, dtype)
        refused = {}
        for done, case in enumerate(cases, 1):
            inputs = make_inputs(face, case, indices)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what PyTorch remarks on its own kernels
                    answers = (reference(inputs, case), single(inputs, case))
            except RnnEdgeError:
                raise
            except Exception as error:  # whatever the user's forward raises at this shape
                refused[case] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            else:
                outputs, failure = None, None
                try:
                    outputs = model(inputs, case)
                except RnnEdgeError as error:
                    failure = str(error)
                sizes = _sizes(session, inputs)
                collected.append(Answers(case, sizes, *answers, outputs, failure))
            if progress:
                progress(done, len(cases))
        if collected:
            break
    else:
        case, why = next(iter(refused.items()))
        raise SourceError(
            f"{type(module).__name__} refuses all {len(cases)} cases; at {case}: {why}"
        )
    unanswered = [s.name for s in face.outputs if s.name not in collected[0].reference]
    if unanswered:
        raise SourceError(
            f"{type(module).__name__} answers no {', '.join(unanswered)}, which the model does: "
            "validate against the module that was exported"
        )
    notes = [
        f"PyTorch itself refuses {len(refused)} of {len(cases)} cases, such as {case}: {why}"
        for case, why in list(refused.items())[:1]
    ]
    if dtype is torch.float32:
        notes.append("the reference is PyTorch float32: the module refuses float64")
    return collected, notes


def _sizes(session: Session, inputs: Inputs) -> dict[str, int]:
    return {
        axis: inputs[spec.name].shape[position]
        for spec in session.interface.inputs
        for position, axis in enumerate(spec.axes)
        if isinstance(axis, str)
    }
