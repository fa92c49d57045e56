"""What other runtimes make of the recurrent operators.

Each rule is a fact that was measured, or read in the runtime's source, for the version named; the
versions are those of November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from rnnedge.cuda_fallbacks import cuda_fallbacks
from rnnedge.doctor.findings import Finding, Severity
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import Cell
from rnnedge_exporters.onnx_model.nodes import label

Effect = Literal["refuses", "wrong", "slow"]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One runtime, the operators that it has trouble with, and what happens."""

    runtime: str
    applies: Callable[[Subject, Cell], bool]
    effect: Effect
    problem: str
    remedy: str


def _has(*operators: str) -> Callable[[Subject, Cell], bool]:
    return lambda subject, cell: cell.op in operators


def _lengths(subject: Subject, cell: Cell) -> bool:
    return bool(cell.lengths)


def _open_lengths(subject: Subject, cell: Cell) -> bool:
    return bool(cell.lengths) and not subject.file.is_constant(cell.lengths)


def _lengths_both_ways(subject: Subject, cell: Cell) -> bool:
    return _open_lengths(subject, cell) and cell.directions == 2


def _lengths_one_way(subject: Subject, cell: Cell) -> bool:
    return _open_lengths(subject, cell) and cell.directions == 1


def _half(subject: Subject, cell: Cell) -> bool:
    value = subject.file.constant(cell.tensor(1))
    return value is not None and value.dtype == "float16"


def _not_forward(subject: Subject, cell: Cell) -> bool:
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
        *("openvino", _lengths_both_ways, "wrong"),
        "bidirectional with sequence_lens is silently wrong, by 0.13 to 0.68 (2026.4)",
        _NO_LENGTHS,
    ),
    _Rule(
        *("openvino", _lengths_one_way, "wrong"),
        "sequence_lens leaves padding unlike zero (2026.4)",
        "mask the padding, or export without lengths",
    ),
    _Rule(
        *("tract", _open_lengths, "refuses", "sequence_lens only as a constant (0.23.9)"),
        _NO_LENGTHS,
    ),
    _Rule("emx-onnx-cgen", _not_forward, "refuses", "RNN and GRU forward only (1.4.0)", _ELSEWHERE),
    _Rule("onnx2c", _has("RNN", "GRU"), "refuses", "LSTM only, at fixed sizes", _ELSEWHERE),
    _Rule("ncnn", _open_lengths, "refuses", "no sequence_lens, and one row at a time", _NO_LENGTHS),
)
_NO_CONTRIB = ("openvino", "tract", "emx-onnx-cgen", "onnx2c", "ncnn")
_NO_SCAN = ("webgpu", "webnn", "coreml", "nnapi", "onnx2c", "ncnn")

RUNTIMES = tuple(dict.fromkeys([rule.runtime for rule in _RULES]))
"""The runtimes that there are rules for."""


def check_runtimes(subject: Subject, chosen: Collection[str] = ()) -> Iterator[Finding]:
    """Say what runtimes make of the recurrent parts, where they do not just run them.

    Args:
        subject: The model.
        chosen: Runtimes that the model is meant for, where what goes wrong is a warning or an
            error; empty for all of them, as notes.
    """
    for runtime, effect, nodes, problem, remedy in _troubles(subject):
        if chosen and runtime not in chosen:
            continue
        severity: Severity = "note"
        if chosen:
            severity = "warning" if effect == "slow" else "error"
        several = f"{nodes[0]} and {len(nodes) - 1} more" if len(nodes) > 1 else nodes[0]
        yield Finding("runtime", severity, runtime, f"{several}: {problem}", remedy)


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


def _left_to_the_cpu(subject: Subject) -> dict[str, list[str]]:
    """Return the nodes that cuDNN has no form for, by what it does not have."""
    found: dict[str, list[str]] = {}
    for cell in subject.cells:
        for fallback in cuda_fallbacks([cell.node]):
            found.setdefault(fallback.reason, []).append(cell.name)
    return found
