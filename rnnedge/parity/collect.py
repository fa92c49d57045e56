"""Collecting what both sides answer, before anything is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnedge.errors import CrashError, RefusedError, SourceError, TimeLimitError
from rnnedge.parity.cases import Case, Inputs, Outputs, largest_index, make_inputs
from rnnedge.parity.coverage.wanted import Wanted
from rnnedge.parity.rounding.dynamic_quantization import Integers
from rnnedge.parity.runners import Runner, quiet_kernels, runner_like, runner_of
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.modules.repeatable import drawn, same_arrays, seeded
from rnnedge_runtime import RnnEdgeError
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.errors import one_line, pass_on_interruption

_SAMPLES, _MORE = 2, 6
"""How often weights are moved, and how often more where that may be what the model is off by."""
_DOUBT = (2.0, 50.0)
"""Between how many times the rounding an error may be one that the samples have missed."""
_SMALL = 1e-6
"""An error that nobody doubts."""
_CRASHES = 3
"""Crashes, each of which costs a new process, after which a sweep ends."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What everybody answered in one case.

    Attributes:
        case: The case.
        inputs: What was put in, by name.
        sizes: Sizes that the named axes of the inputs had.
        reference: PyTorch's outputs in float64, or those of the file that it is compared with.
        torch: PyTorch's outputs in float32, by name; empty where a file is the reference.
        moved: How far each output moves when every weight does by two units in the last place, and
            what a file rounds to integers is rounded up or down at random.
        model: The exported model's outputs by name, or None when it raised.
        failure: What the exported model raised, or None.
        crash: `crash` when the model ended its process, `never ends` when it took longer than the
            time limit, else empty.
    """

    case: Case
    inputs: Inputs
    sizes: dict[str, int]
    reference: Outputs
    torch: Outputs
    moved: dict[str, float]
    model: Outputs | None
    failure: str | None
    crash: str = ""


def collect(
    interface: Interface,
    model: Runner,
    module: nn.Module,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
    integers: Integers | None = None,
    wanted: Wanted | None = None,
) -> tuple[Questioner, list[Answers], list[str]]:
    """Run every case on the exported model and, in float64 and float32, on its source.

    Args:
        interface: What the model takes.
        model: Runs a case on the model.
        module: The source; it is copied, never changed.
        cases: What to run.
        progress: Called with the number of cases done and in all.
        integers: Which products the model makes of integers; None where it makes none.
        wanted: What the graph of the model asks of its inputs.

    Returns:
        What asks for more, the answers, and notes: which cases the source itself refuses, and in
        which dtype it ran.

    Raises:
        SourceError: When the source refuses every case, answers less than the model, or differs
            between two runs of one case.
    """
    collected: list[Answers] = []
    for dtype in (torch.float64, torch.float32):  # a forward may fix a dtype, and refuse float64
        ask = Questioner(interface, model, module, dtype, integers, wanted)
        refused: dict[Case, str] = {}
        fatal: list[str] = []
        for done, case in enumerate(cases, 1):
            try:
                collected.append(ask(case))
            except RefusedError as error:
                refused[case] = str(error)
            if progress:
                progress(done, len(cases))
            fatal = [answers.crash for answers in collected if answers.crash]
            if len(fatal) == _CRASHES or "never ends" in fatal:
                break
        if collected:
            break
    else:
        case, why = next(iter(refused.items()))
        raise SourceError(
            f"{type(module).__name__} refuses all {len(cases)} cases; at {case}: {why}"
        )
    unanswered = [s.name for s in interface.outputs if s.name not in collected[0].reference]
    if unanswered:
        raise SourceError(
            f"{type(module).__name__} answers no {', '.join(unanswered)}, which the model does: "
            "validate against the module that was exported"
        )
    notes = [f"stopped after case {done} of {len(cases)}: {fatal[-1]}"] if fatal else []
    notes += [
        f"PyTorch itself refuses {len(refused)} of {len(cases)} cases, such as {case}: {why}"
        for case, why in list(refused.items())[:1]
    ]
    if dtype is torch.float32:
        notes.append("the reference is PyTorch float32: the module refuses float64")
    return ask, collected, notes


def collect_more(ask: Questioner, cases: Sequence[Case]) -> list[Answers]:
    """Run further cases, without those that PyTorch refuses, up to a crash.

    Args:
        ask: Runs a case on all.
        cases: What to run.

    Returns:
        The answers.
    """
    collected: list[Answers] = []
    for case in cases:
        with suppress(RefusedError):
            collected.append(ask(case))
        if collected and collected[-1].crash:
            break
    return collected


class Questioner:
    """Asks the model and PyTorch the same.

    Args:
        interface: What the model takes.
        model: Runs a case on the model.
        module: The source; it is copied.
        dtype: What the reference computes in.
        integers: Which products the model makes of integers; None where it makes none.
        wanted: What the graph of the model asks of its inputs.

    Attributes:
        dtype: What the reference computes in.
    """

    def __init__(
        self,
        interface: Interface,
        model: Runner,
        module: nn.Module,
        dtype: torch.dtype,
        integers: Integers | None = None,
        wanted: Wanted | None = None,
    ) -> None:
        """Copy `module` for the reference, and for float32 as well."""
        self.dtype = dtype
        self._interface = interface
        self._model = model
        self._module = module
        self._integers = integers
        self._reference = runner_of(module)(module, interface, dtype, integers)
        self._single = runner_like(self._reference, module, torch.float32, integers)
        self._moved: list[Runner] = []
        self._trusted = False
        self._indices = largest_index(module)
        self._wanted = wanted

    def rounding_as(self, integers: Integers) -> Questioner:
        """Return what asks the same of a source that rounds other products, or otherwise."""
        return Questioner(
            self._interface, self._model, self._module, self.dtype, integers, self._wanted
        )

    def __call__(self, case: Case) -> Answers:
        """Run one case on all.

        Raises:
            RefusedError: When PyTorch does not take it.
        """
        inputs = make_inputs(self._interface, case, self._indices, self._wanted)
        try:
            with quiet_kernels():
                reference, single = self._repeated(inputs, case), self._single(inputs, case)
                moved = self._moves(reference, inputs, case, range(_SAMPLES))
        except RnnEdgeError:
            raise
        except Exception as error:  # whatever the user's forward raises at this shape
            pass_on_interruption(error)
            raise RefusedError(f"{type(error).__name__}: {one_line(error)}") from error
        outputs, failure, crash = None, None, ""
        try:
            outputs = self._model(inputs, case)
        except RnnEdgeError as error:
            failure = str(error)
            if isinstance(error, CrashError):
                crash = "never ends" if isinstance(error, TimeLimitError) else "crash"
        sizes = {
            axis: inputs[spec.name].shape[position]
            for spec in self._interface.inputs
            for position, axis in enumerate(spec.axes)
            if isinstance(axis, str)
        }
        if outputs is not None and _doubtful(outputs, reference, single, moved):
            with quiet_kernels():
                more = self._moves(reference, inputs, case, range(_SAMPLES, _SAMPLES + _MORE))
            moved = {name: max(far, more[name]) for name, far in moved.items()}
        return Answers(case, inputs, sizes, reference, single, moved, outputs, failure, crash)

    def _repeated(self, inputs: Inputs, case: Case) -> Outputs:
        """Answer with the reference, which must answer the same again.

        What a source draws at random looks like an error of the file, and would widen what is
        allowed of it. The first case is always repeated, others where random numbers were drawn.

        Raises:
            SourceError: When it answers otherwise the second time.
        """
        with seeded(0) as draws:
            first = self._reference(inputs, case)
        if self._trusted and not draws.sources:
            return first
        with seeded(1):
            again = self._reference(inputs, case)
        if not all(same_arrays(first[name], again[name]) for name in first):
            found = drawn(self._reference.source, lambda: self._reference(inputs, case))
            raise SourceError(
                f"{type(self._module).__name__} {found}, so that no file can be compared with it: "
                f"{found.remedy}"
            )
        self._trusted = True
        return first

    def _moves(
        self, reference: Outputs, inputs: Inputs, case: Case, samples: range
    ) -> dict[str, float]:
        """Return how far each output moves in samples of moved weights."""
        while len(self._moved) < samples.stop:
            seed = len(self._moved)
            twin, integers = _moved(self._module, seed), self._integers
            rounding = integers.sample(seed) if integers else None
            self._moved.append(runner_like(self._reference, twin, self.dtype, rounding))
        others = [self._moved[sample](inputs, case) for sample in samples]
        return {name: max(_distance(o[name], y) for o in others) for name, y in reference.items()}


def _doubtful(
    outputs: Outputs, reference: Outputs, single: Outputs, moved: dict[str, float]
) -> bool:
    """Whether an error is so near to the rounding of a case that it could be rounding."""
    for name, expected in reference.items():
        rounding = max(moved[name], _distance(single[name], expected))
        error = _distance(outputs[name], expected) if name in outputs else 0.0
        if _DOUBT[0] * rounding < error < _DOUBT[1] * rounding and error > _SMALL:
            return True
    return False


def _moved(module: nn.Module, seed: int) -> nn.Module:
    """Copy a module with every weight off by up to two units in the last place of a float32."""
    moved = private_copy(module, torch.float64)
    random = torch.Generator().manual_seed(seed)
    for parameter in moved.parameters():
        noise = torch.rand(parameter.shape, generator=random, dtype=torch.float64) * 2 - 1
        parameter.mul_(1 + noise * 2.0**-22)
    return moved


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    if one.dtype.kind != "f" or one.shape != other.shape or not one.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        distance = np.abs(one - other)
    return float(distance[np.isfinite(distance)].max(initial=0.0))
