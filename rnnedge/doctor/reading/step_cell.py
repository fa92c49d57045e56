"""One step of a cell whose gates are single operators: no recurrent operator, but states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rnnedge_exporters.onnx_model.axis_names import interface_of
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_runtime.contract import StatePair

_GATES = ("Sigmoid", "HardSigmoid")


@dataclass(frozen=True, slots=True)
class StepCell:
    """One step of a recurrence, which the caller repeats.

    Attributes:
        states: The states that go in and come out.
        lost: Inputs that are used as a cell state is, and that no output hands on.
    """

    states: tuple[StatePair, ...]
    lost: tuple[str, ...]


def find_step_cell(file: OnnxFile) -> StepCell | None:
    """Return the cell that a model is one step of, by what its graph does with inputs.

    Args:
        file: A model without recurrent operators, unrolled recurrences, `Scan` or `Loop`.

    Returns:
        None where no state goes in and comes out.
    """
    states = interface_of(file.proto).states
    if not states:
        return None
    paired = {pair.input for pair in states}
    shapes = {spec.axes for spec in file.inputs if spec.name in paired}
    lost = tuple(
        spec.name
        for spec in file.inputs
        if spec.name not in paired and spec.axes in shapes and _is_kept(file, spec.name)
    )
    return StepCell(states, lost)


def _is_kept(file: OnnxFile, name: str) -> bool:
    """Whether an input is multiplied by a gate, and something added: `f*c + i*g`."""
    return any(
        after.op_type == "Add"
        for gated in _gated(file, name)
        for after in file.consumers.get(gated, [])
    )


def _gated(file: OnnxFile, name: str) -> Iterator[str]:
    for node in file.consumers.get(name, []):
        others = [file.producer.get(other) for other in node.input if other != name]
        if node.op_type == "Mul" and any(o is not None and o.op_type in _GATES for o in others):
            yield from node.output
