"""What other runtimes make of the recurrent operators.

Each rule is a fact that was measured, or read in the runtime's source, for the version named; the
versions are those of November 2026. Where the model itself was run in a runtime, what it answered
is reported in place of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from rnnedge.cuda_fallbacks import cuda_fallbacks
from rnnedge.doctor.findings import Finding, Severity
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import RecurrentNode
from rnnedge.doctor.running.elsewhere import Elsewhere
from rnnedge_exporters.onnx_model.nodes import label
from rnnedge_exporters.sandbox.other_runtimes import RUNNABLE

Effect = Literal["refuses", "wrong", "slow"]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One runtime, the operators that it has trouble with, and what happens."""

    runtime: str
    applies: Callable[[Subject, RecurrentNode], bool]
    effect: Effect
    problem: str
    remedy: str


def _has(*operators: str) -> Callable[[Subject, RecurrentNode], bool]:
    return lambda subject, cell: cell.op in operators


def _lengths(subject: Subject, cell: RecurrentNode) -> bool:
    return bool(cell.lengths)


def _open_lengths(subject: Subject, cell: RecurrentNode) -> bool:
    return bool(cell.lengths) and not subject.file.is_constant(cell.lengths)


def _not_tanh(subject: Subject, cell: RecurrentNode) -> bool:
    return cell.op == "RNN" and {name.lower() for name in cell.activations} != {"tanh"}


def _half(subject: Subject, cell: RecurrentNode) -> bool:
    value = subject.file.constant(cell.tensor(1))
    return value is not None and value.dtype == "float16"


def _not_forward(subject: Subject, cell: RecurrentNode) -> bool:
    return cell.op in ("RNN", "GRU") and cell.direction != "forward"


_ELSEWHERE = "use the CPU there, or a runtime that has it"
_NO_LENGTHS = "export without lengths"
_TO_CPU = "no kernel: falls back to the CPU"
_ALL = _has("RNN", "LSTM", "GRU")
_RULES = (
    _Rule("cpu", _half, "slow", "float16 runs through casts to float32", "use float32 there"),
    _Rule(
        *("cuda", _lengths, "slow", "sequence_lens is copied to the host at each call"),
        "export without lengths where rows are full",
    ),
    _Rule("webgpu", _ALL, "slow", "no kernel: falls back to wasm", "use wasm"),
    _Rule("webnn", _has("RNN"), "slow", "no RNN: falls back to wasm", "use wasm"),
    _Rule(
        *("webnn", _open_lengths, "refuses", "sequence_lens only as a constant equal to time"),
        _NO_LENGTHS,
    ),
    _Rule("coreml", _ALL, "slow", _TO_CPU, "use the CPU provider"),
    _Rule("nnapi", _ALL, "slow", _TO_CPU, "use the CPU provider"),
    _Rule(
        *("openvino", _open_lengths, "wrong"),
        "silently wrong: sequence_lens is ignored, rows go on past their end, final states are "
        "those at the padding, off by 0.3 to 2 (2026.4.1)",
        _NO_LENGTHS,
    ),
    _Rule(
        *("mnn", _open_lengths, "wrong"),
        "silently wrong: sequence_lens is ignored, off by 1 to 2 (3.6.1)",
        _NO_LENGTHS,
    ),
    _Rule(
        *("onnx.reference", _open_lengths, "wrong"),
        "silently wrong: sequence_lens is ignored, off by 0.2 to 2 (1.23.2)",
        _NO_LENGTHS,
    ),
    _Rule(
        *(
            "onnx.reference",
            _not_tanh,
            "refuses",
            "other activations of an RNN than tanh (1.23.2)",
        ),
        _ELSEWHERE,
    ),
    _Rule(
        *(
            "tract",
            _not_tanh,
            "wrong",
            "silently wrong: activations of an RNN run as tanh, off by 0.7 (0.23.9)",
        ),
        "use tanh, or export with --target portable",
    ),
    _Rule(
        *("mnn", _not_tanh, "wrong"),
        "silently wrong: activations of an RNN run as tanh, off by 0.8 (3.6.1)",
        "use tanh, or export with --target portable",
    ),
    _Rule(
        *("tract", _open_lengths, "refuses", "sequence_lens only as a constant (0.23.9)"),
        _NO_LENGTHS,
    ),
    _Rule("emx-onnx-cgen", _not_forward, "refuses", "RNN and GRU forward only (1.4.0)", _ELSEWHERE),
    _Rule("onnx2c", _has("RNN", "GRU"), "refuses", "LSTM only, at fixed sizes", _ELSEWHERE),
    _Rule("ncnn", _open_lengths, "refuses", "sequence_lens (1.0.20261020)", _NO_LENGTHS),
    _Rule(
        *("ncnn", _not_tanh, "wrong"),
        "silently wrong: activations of an RNN run as tanh, off by 0.8 (1.0.20261020)",
        "use tanh, or export with --target portable",
    ),
)
_NO_CONTRIB = ("openvino", "tract", "onnx.reference", "emx-onnx-cgen", "onnx2c", "ncnn")
_CPU_ONLY = ("cuda", "webgpu", "webnn", "coreml", "nnapi")
"""Providers of ONNX Runtime that have no DynamicQuantizeLSTM, which the CPU's has."""
_NO_SCAN = ("webgpu", "webnn", "coreml", "nnapi", "onnx2c", "ncnn")

RUNTIMES = tuple(dict.fromkeys([*(rule.runtime for rule in _RULES), *RUNNABLE]))
"""The runtimes that there are rules for, or that a model can be run in here."""


def check_runtimes(
    subject: Subject, chosen: Collection[str] = (), runs: Collection[Elsewhere] = ()
) -> Iterator[Finding]:
    """Say what runtimes make of the recurrent parts, where they do not just run them.

    Args:
        subject: The model.
        chosen: Runtimes that the model is meant for, where what goes wrong is a warning or an
            error; empty for all of them, as notes.
        runs: What runtimes made of it here: no rule is asked about those that ran it.
    """
    for run in runs:
        yield from _as_run(run)
    ran = {run.runtime for run in runs if run.runs}
    for runtime, effect, nodes, problem, remedy in _troubles(subject):
        if runtime in ran or (chosen and runtime not in chosen):
            continue
        severity: Severity = "note"
        if chosen:
            severity = "warning" if effect == "slow" else "error"
        several = f"{nodes[0]} and {len(nodes) - 1} more" if len(nodes) > 1 else nodes[0]
        yield Finding(
            *("runtime", severity, runtime, f"{several}: {problem}", remedy),
            basis="documented only",
        )


def _as_run(run: Elsewhere) -> Iterator[Finding]:
    """Say what a runtime made of the model here."""

    def finding(severity: Severity, problem: str, remedy: str) -> Finding:
        return Finding("runtime", severity, run.runtime, problem, remedy, basis="run here")

    if not run.version:
        remedy = f"{run.install}, and run the doctor again"
        yield Finding("runtime", "note", run.runtime, "not installed here, so not run", remedy)
        return
    named = f"{run.runtime} {run.version}"
    if not run.runs:
        yield Finding("runtime", "note", run.runtime, "not run: ONNX Runtime ran it nowhere", "-")
        return
    if run.wrong:
        number = run.runs - run.right - run.refusals
        problem = f"{named} answers wrongly in {number} of {run.runs} runs: {run.wrong}"
        yield finding("error", problem, "use another runtime, or export for target portable")
    if run.refusals:
        problem = f"{named} refuses {run.refusals} of {run.runs} runs, {run.refused}"
        yield finding("error", problem, "use another runtime, or export for target portable")
    if run.right:
        problem = f"{named} answers as ONNX Runtime in {run.right} of {run.runs} runs, off by at "
        yield finding("note", f"{problem}most {run.largest:.1e}", "-")


def _troubles(subject: Subject) -> Iterator[tuple[str, Effect, list[str], str, str]]:
    for rule in _RULES:
        cells = [cell.name for cell in subject.cells if rule.applies(subject, cell)]
        if cells:
            yield rule.runtime, rule.effect, cells, rule.problem, rule.remedy
    for reason, cells in _left_to_the_cpu(subject).items():
        problem = f"falls back to the CPU: {reason}"
        yield "cuda", "slow", cells, problem, "rnnedge export --target cuda"
    loops = [label(node) for node in subject.file.nodes() if node.op_type in ("Scan", "Loop")]
    if loops:
        for runtime in _NO_SCAN:
            yield runtime, "refuses", loops, "no Scan or Loop", _ELSEWHERE
        yield "cuda", "slow", loops, "Scan and Loop rule out CUDA graphs", "do without those"
    own = [label(n) for n in subject.file.nodes() if n.op_type == "DynamicQuantizeLSTM"]
    if own:
        for runtime in _NO_CONTRIB:
            yield runtime, "refuses", own, "DynamicQuantizeLSTM is ONNX Runtime's own", "keep float"
        for runtime in _CPU_ONLY:
            problem = "DynamicQuantizeLSTM has a kernel on the CPU alone: falls back to it"
            yield runtime, "slow", own, problem, "keep float there"


def _left_to_the_cpu(subject: Subject) -> dict[str, list[str]]:
    """Return the nodes that cuDNN has no form for, by what it does not have."""
    found: dict[str, list[str]] = {}
    for cell in subject.cells:
        for fallback in cuda_fallbacks([cell.node]):
            found.setdefault(fallback.reason, []).append(cell.name)
    return found
