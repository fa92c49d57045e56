"""What went wrong when the model ran: refusals, crashes, mixed rows, chance."""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge.doctor.findings import Finding, Kind
from rnnedge.doctor.model_facts import Subject

_SCALED_BY_BATCH = (
    *("DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"),
    "MatMulIntegerToFloat",
)
"""Operators that choose the scale of 8 bits by all the numbers that they get."""
_ROUNDING = 0.1
"""What such rounding may change in a row; mixed rows change more."""


def check_running(subject: Subject) -> Iterator[Finding]:
    """Look at how it opened and ran."""
    batch_first = any(cell.options.get("layout") for cell in subject.cells)  # reported elsewhere
    if subject.opened is not None and not subject.opened.ok and not batch_first:
        yield from _not_opened(subject)
    behaviour = subject.behaviour
    if behaviour is None:
        return
    for death, sizes in behaviour.deaths.items():
        ends = death.startswith("did not end")
        yield Finding(
            "endless" if ends else "crash",
            "error",
            str(sizes),
            f"the model {death}" if ends else f"ONNX Runtime ends the process: {death}",
            "look for a Loop without an end" if ends else "keep such inputs from the model",
        )
    if behaviour.base is None and not behaviour.deaths:
        yield Finding(
            "no-run",
            "error",
            "the model",
            f"it ran at none of {len(subject.seen)} sizes; first: {behaviour.trouble[:300]}",
            "check its inputs; export it again",
        )
    scaled = any(node.op_type in _SCALED_BY_BATCH for node in subject.file.nodes())
    for name, difference in behaviour.coupled.items():
        if scaled and difference < _ROUNDING:
            yield Finding(
                "row-coupling",
                "note",
                name,
                "activations are rounded with one scale for the whole batch: a row differs by "
                f"{difference:.1e} from the same row alone",
                "send the rows one by one where that matters",
            )
            continue
        yield Finding(
            "row-coupling",
            "error",
            name,
            f"a row's answer depends on the other rows of its batch: it differs by "
            f"{difference:.1e} from the same row alone",
            "look for a norm in training mode, or an operation over the batch axis; export in "
            "eval mode",
        )
    for name in behaviour.random:
        yield Finding(
            "nondeterministic",
            "warning",
            name,
            "two runs on the same inputs give different answers",
            "export in eval mode; make noise an input",
        )
    yield from _empties(subject)
    if behaviour.hides_nan:
        yield Finding(
            "hides-nan",
            "note",
            ", ".join(subject.timed_inputs),
            "a NaN in the input comes out as plausible numbers (ONNX Runtime's CPU kernels)",
            "check the data before the model sees it",
        )


def _not_opened(subject: Subject) -> Iterator[Finding]:
    assert subject.opened is not None
    float64 = [
        cell.name
        for cell in subject.cells
        if (value := subject.file.constant(cell.tensor(1))) is not None and value.dtype == "float64"
    ]
    remedy = "export it again; ONNX Runtime's recurrent kernels on the CPU are float32 only"
    kind: Kind = "refused"
    problem = f"ONNX Runtime refuses the file: {subject.opened.trouble[:300]}"
    if subject.opened.death:
        kind = "endless" if subject.opened.endless else "crash"
        problem = f"opening it ends the process: {subject.opened.death}"
    again = "export it again, or with another opset"
    yield Finding(kind, "error", "the file", problem, remedy if float64 else again)


def _empties(subject: Subject) -> Iterator[Finding]:
    killed = [(what, answer.death) for what, answer in subject.empties if answer.death]
    if not killed:
        return
    said = " or ".join(f"{what} ({death})" for what, death in killed)
    cells = ", ".join(dict.fromkeys(cell.op for cell in subject.cells))
    yield Finding(
        "empty-crash",
        "note" if subject.file.ours else "warning",
        cells or "the model",
        f"{said} ends the whole process: no exception can be caught",
        "check sizes first; rnnedge_runtime.Session does, and "
        + ("answers as PyTorch" if subject.file.ours else "raises an error"),
    )
