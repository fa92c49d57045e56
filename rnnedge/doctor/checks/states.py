"""Whether a unidirectional model can be streamed: its states have to go in and come out."""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge.doctor.findings import Finding, listing
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import RecurrentNode, follow_back
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.movement import is_movement
from rnnedge_runtime.contract import Contract


def check_states(subject: Subject) -> Iterator[Finding]:
    """Look at the states of recurrent operators that walk forward in time, and of a single step."""
    yield from _lost_by_a_step(subject)
    cells = subject.cells
    if not cells or any(cell.direction != "forward" for cell in cells):
        return  # what reads the future is not streamed
    hidden = [cell for cell in cells if not cell.inner and is_hidden(subject.file, cell)]
    if not hidden:
        return
    yield from _half_hidden(subject, hidden)
    starts = sorted({_start(subject.file, cell) for cell in hidden})
    lost = [cell for cell in hidden if not comes_out(subject.file, cell)]
    problem = f"starts from {' or '.join(starts)} at each call"
    if lost:
        problem += ", and its final state is not an output"
    yield Finding(
        "states-hidden",
        "note",
        listing([cell.name for cell in hidden]),
        f"{problem}: the model runs whole sequences, and cannot be streamed in chunks",
        _remedy(subject.file.contract),
    )


def _lost_by_a_step(subject: Subject) -> Iterator[Finding]:
    """Name the states that a step takes and does not hand on."""
    for name in subject.step_cell.lost if subject.step_cell else ():
        yield Finding(
            "state-lost",
            "warning",
            name,
            "is used as a cell state is, and no output is the next one: a stream loses it at each "
            "call",
            "make the new cell state an output of the step",
        )


def _half_hidden(subject: Subject, hidden: list[RecurrentNode]) -> Iterator[Finding]:
    """Name the operators that a stream would hand one state on to, and not the other."""
    for cell in hidden:
        given = [_is_input(subject.file, name) for name in cell.initial]
        if any(given) and not all(given):
            kept, lost = ("initial_h", "initial_c") if given[0] else ("initial_c", "initial_h")
            yield Finding(
                "state-lost",
                "warning",
                cell.name,
                f"{kept} is an input and {lost} is not: a stream that hands on the one state loses "
                "the other at each call",
                _remedy(subject.file.contract),
            )


def _remedy(contract: Contract | None) -> str:
    if contract is None:
        return (
            "export with the states as inputs and outputs: rnnedge export does, where chunks give "
            "what the whole sequence gives"
        )
    if contract.hindrances:
        return f"run whole sequences: {'; '.join(contract.hindrances)}"
    return "export it again with states=True (--states)"


def is_hidden(file: OnnxFile, cell: RecurrentNode) -> bool:
    """Whether a state of `cell` does not go in, or does not come out.

    One that the model computes itself, as a decoder's from its encoder, is not hidden.
    """
    goes_in = all(_is_input(file, name) for name in cell.initial)
    computed = any(
        name and not _is_input(file, name) and _depends_on_input(file, name)
        for name in cell.initial
    )
    return not computed and not (goes_in and comes_out(file, cell))


def comes_out(file: OnnxFile, cell: RecurrentNode) -> bool:
    """Whether every final state of `cell` reaches a graph output as it is."""
    return all(name and _reaches_output(file, name) for name in cell.final)


def _start(file: OnnxFile, cell: RecurrentNode) -> str:
    constants = [file.constant(name) for name in cell.initial if name]
    if any(value is not None and value.any() for value in constants):
        return "constants"
    return "an input" if all(_is_input(file, name) for name in cell.initial) else "zeros"


def _is_input(file: OnnxFile, name: str) -> bool:
    """Whether a tensor is a graph input, moved at most."""
    names = [spec.name for spec in file.inputs]
    return bool(name) and any(moved in names for moved, _ in follow_back(file, name))


def _depends_on_input(file: OnnxFile, name: str) -> bool:
    before = file.ancestors(name)
    return any(spec.name in before for spec in file.inputs)


def _reaches_output(file: OnnxFile, name: str) -> bool:
    outputs = {spec.name for spec in file.outputs}
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if name in outputs:
            return True
        seen.add(name)
        for node in file.consumers.get(name, []):
            if is_movement(node):
                waiting += [made for made in node.output if made not in seen]
    return False
