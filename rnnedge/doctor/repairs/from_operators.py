"""A PyTorch layer out of `RNN`, `LSTM` and `GRU` nodes with nothing but movement around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge.doctor.findings import listing
from rnnedge.doctor.model_facts import Subject, trial_of
from rnnedge.doctor.reading.recurrence import RecurrentNode
from rnnedge.doctor.repairs.recovered import Recovered, Weights, recovered
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.movement import moved
from rnnedge_exporters.onnx_model.nodes import label
from rnnedge_exporters.onnx_model.recurrent_nodes import (
    CELLS,
    gates_to_pytorch,
    is_relu,
    peculiarities,
)


def layer_from_operators(subject: Subject) -> Recovered:
    """Read the layer that a stack of operator nodes computes.

    Raises:
        NotMendedError: When they are no such stack, or compute what no layer of PyTorch does.
    """
    file, cells = subject.file, subject.cells
    for cell in cells:
        _check_cell(cell, cells[0])
    stages = _stages(file, cells)
    _check_outputs(file, cells)
    values = _values(subject, [cell.tensor(i) for cell in cells for i in (1, 2, 3)])
    weights: Weights = {}
    for index, stage in enumerate(stages):
        walks = [(cell, row) for cell in stage for row in range(cell.directions)]
        for suffix, (cell, row) in zip(("", "_reverse"), walks, strict=False):
            w, r, b = (values[n][row] if n else None for n in map(cell.tensor, (1, 2, 3)))
            if w is None or r is None:
                raise NotMendedError(f"{cell.name} has no weights")
            weights[f"weight_ih_l{index}{suffix}"] = _in_order(cell.op, w)
            weights[f"weight_hh_l{index}{suffix}"] = _in_order(cell.op, r)
            if b is not None:
                of_input, of_state = np.split(b, 2)
                weights[f"bias_ih_l{index}{suffix}"] = _in_order(cell.op, of_input)
                weights[f"bias_hh_l{index}{suffix}"] = _in_order(cell.op, of_state)
    return recovered(
        subject,
        weights,
        f"W, R and B of {listing([cell.name for cell in cells])}",
        "relu" if is_relu(cells[0].node) else "tanh",
    )


def _check_cell(cell: RecurrentNode, first: RecurrentNode) -> None:
    reasons = [one.text for one in peculiarities(cell.node)]
    if cell.inner:
        reasons.append("it is inside a control-flow node")
    if cell.op != first.op:
        reasons.append(f"it is another operator than {first.name}")
    if cell.activations != first.activations and cell.directions == first.directions:
        reasons.append("it has other activations than the first")
    if reasons:
        raise NotMendedError(f"{cell.name}: {reasons[0]}, which no layer of PyTorch does")


def _stages(file: OnnxFile, cells: Sequence[RecurrentNode]) -> list[list[RecurrentNode]]:
    """Group the nodes into stacked layers: a node of both directions, or one for each."""
    stages: list[list[RecurrentNode]] = []
    sources: list[set[str]] = []
    made = {cell.output(0): cell for cell in cells}
    for cell in cells:
        source = set(_moved_from(file, cell.tensor(0), set(made)))
        if sources and source == sources[-1]:
            stages[-1].append(cell)
        else:
            stages.append([cell])
            sources.append(source)
    for index, stage in enumerate(stages):
        directions = [cell.direction for cell in stage]
        if directions not in (["forward"], ["bidirectional"], ["forward", "reverse"]):
            stage.sort(key=lambda cell: cell.direction)
            if [cell.direction for cell in stage] != ["forward", "reverse"]:
                raise NotMendedError(
                    f"{', '.join(cell.name for cell in stage)}: no layer of PyTorch runs "
                    f"{' and '.join(directions)}"
                )
        wanted = {cell.output(0) for cell in stages[index - 1]} if index else None
        if wanted is not None and sources[index] != wanted:
            raise NotMendedError(f"{stage[0].name} does not read the layer before it")
    if len({sum(cell.directions for cell in stage) for stage in stages}) != 1:
        raise NotMendedError("its layers do not all run in the same directions")
    return stages


def _check_outputs(file: OnnxFile, cells: Sequence[RecurrentNode]) -> None:
    made = {name for cell in cells for name in cell.node.output if name}
    for spec in file.outputs:
        sources = set(_moved_from(file, spec.name, made))
        if not sources <= made:
            raise NotMendedError(f"the output {spec.name} does not come from a recurrent layer")


def _moved_from(file: OnnxFile, name: str, stops: set[str]) -> Iterator[str]:
    """Yield what a tensor was moved from: one of `stops`, or a graph input.

    Raises:
        NotMendedError: When it was computed on the way.
    """
    node = file.producer.get(name)
    if name in stops or node is None:
        yield name
    elif not (before := moved(node)):
        raise NotMendedError(
            f"{label(node)} ({node.op_type}) is more than a recurrent layer: the file cannot be "
            "exported again without its source"
        )
    else:
        for source in before:
            yield from _moved_from(file, source, stops)


def _in_order(op: str, array: NDArray[Any]) -> NDArray[np.float32]:
    return gates_to_pytorch(CELLS[op], array.astype(np.float32))


def _values(subject: Subject, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the values of tensors: constants, or what the graph computes from constants."""
    file = subject.file
    values = {name: value for name in names if (value := file.constant(name)) is not None}
    missing = [name for name in names if name and name not in values]
    if not missing:
        return values
    inputs = {spec.name for spec in file.inputs}
    if inputs & file.ancestors(*missing):
        raise NotMendedError("the weights are computed from the inputs")
    if subject.behaviour is None or subject.behaviour.base is None:
        raise NotMendedError("the weights are computed in the graph, which did not run")
    with trial_of(file, subject.roles, subject.sandbox, missing) as trial:
        answer = trial.at(subject.behaviour.base)
    if not answer.ok:
        raise NotMendedError(f"the weights cannot be computed: {answer.trouble}")
    return values | {name: answer.outputs[name] for name in missing}
