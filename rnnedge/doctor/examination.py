"""`examine`: what will go wrong with a model on a device, found by reading and by running it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import replace

from rnnedge.doctor.checks import CHECKS
from rnnedge.doctor.checks.intended import check_intended, known_runtimes
from rnnedge.doctor.checks.runtimes import RUNTIMES, check_runtimes
from rnnedge.doctor.findings import Examination
from rnnedge.doctor.model_facts import Subject, observe
from rnnedge.doctor.repairs.fixable import mendable_kinds
from rnnedge.doctor.running.elsewhere import run_elsewhere
from rnnedge.doctor.running.probe_runs import Sizes
from rnnedge_exporters.sandbox.onnx_runtime import TIME_LIMIT, Sandbox
from rnnedge_runtime.errors import InputError


def examine(
    model: str | os.PathLike[str],
    *,
    runtimes: Collection[str] = (),
    intended: Collection[str] = (),
    time_limit: float = TIME_LIMIT,
) -> Examination:
    """Examine an ONNX model with recurrent layers, whoever made it.

    The model runs in a child process, at sizes it declares and at others, so that one that ends
    its process, or never ends, is a finding.

    Args:
        model: The `.onnx` file.
        runtimes: Runtimes that it is meant for, out of `RUNTIMES`: what goes wrong there is a
            warning or an error, and it is run in those of `RUNNABLE` that are installed; empty for
            all of them, as notes, from what is documented.
        intended: Runtimes that it is meant for and not run in, out of `known_runtimes()`: what the
            runs of like files in `docs/runtimes.md` gave there, right or not.
        time_limit: Seconds that opening it, or one run, may take; above 0.

    Returns:
        A diagnosis that is truthy when nothing is an error.

    Raises:
        ModelError: When the file is missing, not ONNX, or cut short.
        InputError: When a runtime is unknown, or the time limit is not above 0.
        MissingPackageError: When onnxruntime is not installed.
    """
    check_arguments(runtimes, time_limit)
    known = known_runtimes() if intended else ()
    unknown = sorted(set(intended) - set(known))
    if unknown:
        raise InputError(f"intended: expected some of {', '.join(known)}, got {unknown[0]!r}")
    with Sandbox(time_limit) as sandbox:
        return diagnose(observe(model, sandbox), os.fspath(model), runtimes, time_limit, intended)


def check_arguments(runtimes: Collection[str], time_limit: float) -> None:
    """Refuse what `examine` and `fix` cannot take.

    Raises:
        InputError: When a runtime is unknown, or the time limit is not above 0.
    """
    unknown = sorted(set(runtimes) - set(RUNTIMES))
    if unknown:
        raise InputError(f"runtimes: expected some of {', '.join(RUNTIMES)}, got {unknown[0]!r}")
    if not time_limit > 0:
        raise InputError(f"time_limit: expected above 0 seconds, got {time_limit!r}")


def diagnose(
    subject: Subject,
    model: str,
    runtimes: Collection[str] = (),
    time_limit: float = TIME_LIMIT,
    intended: Collection[str] = (),
) -> Examination:
    """Say what is wrong with what was observed.

    Args:
        subject: What was observed.
        model: What to call it.
        runtimes: As for `examine`.
        time_limit: Seconds that one run in another runtime may take.
        intended: As for `examine`; the other runtimes are left out unless `runtimes` names some.
    """
    found = [finding for check in CHECKS for finding in check(subject)]
    mendable = mendable_kinds(subject, [finding.kind for finding in found])
    findings = [replace(finding, fixable=finding.kind in mendable) for finding in found]
    runs = list(run_elsewhere(subject, runtimes, time_limit))
    findings += check_intended(subject, intended)
    if runtimes or not intended:
        findings += check_runtimes(subject, runtimes, runs)
    return Examination.of(model, findings, _facts(subject))


def _facts(subject: Subject) -> Iterator[str]:
    proto = subject.file.proto
    producer = f"{proto.producer_name} {proto.producer_version}".strip() or "nobody it names"
    yield f"opset {subject.file.opset}, IR version {proto.ir_version}, made by {producer}"
    yield f"recurrent layers: {', '.join(_layers(subject)) or 'none found'}"
    behaviour = subject.behaviour
    if behaviour is None:
        yield f"not run: {subject.why_not_run}"
        return
    right = sorted(behaviour.right, key=lambda sizes: (sizes.time, sizes.batch))
    tried = [answer for _, answer in subject.seen if not answer.untried]
    yield f"run at {len(tried)} size(s), well at {len(right)}" + (
        f": {'; '.join(map(str, _few(right)))}" if right else ""
    )


def _few(sizes: list[Sizes]) -> list[Sizes]:
    return sizes if len(sizes) <= 3 else [sizes[0], sizes[len(sizes) // 2], sizes[-1]]


def _layers(subject: Subject) -> Iterator[str]:
    kinds: dict[str, int] = {}
    for cell in subject.cells:
        kind = f"{cell.op} ({cell.direction})"
        kinds[kind] = kinds.get(kind, 0) + 1
    for node in subject.file.nodes():
        if node.op_type in ("Scan", "Loop", "DynamicQuantizeLSTM"):
            kinds[node.op_type] = kinds.get(node.op_type, 0) + 1
    if subject.chains:
        kinds[f"unrolled over {max(chain.steps for chain in subject.chains)} steps"] = len(
            subject.chains
        )
    for kind, number in kinds.items():
        yield f"{number} {kind}"
    if subject.step_cell is not None:
        states = ", ".join(f"{pair.input} to {pair.output}" for pair in subject.step_cell.states)
        yield f"one step of a cell in single operators, with the states {states}"
