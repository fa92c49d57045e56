"""Making the states of recurrent operators inputs and outputs, so that chunks can be streamed.

A single operator gets `h_0` and `h_n` (`c_0`, `c_n`); several have their node's name in front.
These are the names that `rnnedge_runtime.Session` pairs by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rnnedge.doctor.checks.states import is_hidden
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import RecurrentNode
from rnnedge.doctor.repairs.base import MadeRepair, Mended, Repair, difference, listed, runs, told
from rnnedge.doctor.repairs.unfreeze import is_zero
from rnnedge.doctor.running.behaviour import Behaviour
from rnnedge.doctor.running.probe_runs import Sizes, make_feeds
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.axis_names import interface_of
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.nodes import drop_unused
from rnnedge_exporters.onnx_model.serialize import save_model
from rnnedge_exporters.sandbox.onnx_runtime import Arrays
from rnnedge_runtime.chunking import cut, join, pieces
from rnnedge_runtime.contract import BATCH


@dataclass(frozen=True, slots=True)
class _State:
    """A state that was exposed: [1, batch, `size`] of `dtype`, by the names of both ends."""

    input: str
    output: str
    size: int
    dtype: np.dtype[Any]


_States = list[_State]


def _expose_states(subject: Subject, folder: Path) -> Mended:
    """Make the states of every hidden recurrent operator inputs and outputs.

    Args:
        subject: The model.
        folder: Where to put the new file.

    Raises:
        NotMendedError: When there is none that can be, or chunks do not give what the whole gives.
    """
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        raise NotMendedError("it does not run, so nothing can be proven")
    cells = _exposable(subject)
    if behaviour.time.status != "open":
        raise NotMendedError("time is not open, so there are no chunks")
    model, states = _exposed(subject, cells)
    drop_unused(model.graph)
    path = folder / "exposed.onnx"
    save_model(model, path)
    proofs = (
        _same_from_zeros(subject, behaviour, states, path),
        _same_in_chunks(subject, behaviour, states, path),
    )
    changes = tuple(f"{s.input}: new input, fed by the output {s.output}" for s in states)
    return Mended(path, MadeRepair("states exposed", changes, proofs))


def _exposable(subject: Subject) -> list[RecurrentNode]:
    """Return the operators whose states can be made inputs and outputs.

    Raises:
        NotMendedError: When there are none, or one reads the future, or is out of reach.
    """
    for cell in subject.cells:
        if cell.direction != "forward":
            raise NotMendedError(f"{cell.name} reads the future: the model cannot be streamed")
        if cell.inner:
            raise NotMendedError(f"{cell.name} is inside a control-flow node")
    cells = [cell for cell in subject.cells if is_hidden(subject.file, cell)]
    if not cells:
        raise NotMendedError("it has no hidden states")
    for cell in cells:
        for name in cell.initial:
            if name and not is_zero(subject.file, name):
                raise NotMendedError(f"{cell.name} does not start from zeros")
        if _size_and_dtype(subject.file, cell)[0] == 0:
            raise NotMendedError(f"the weights of {cell.name} are not constants")
    return cells


def _exposed(subject: Subject, cells: list[RecurrentNode]) -> tuple[onnx.ModelProto, _States]:
    """Return a model with the states exposed, under names that the runtime pairs by itself."""
    plain = [re.sub(r"\W+", ".", cell.node.name).strip(".") or cell.op.lower() for cell in cells]
    numbered = [f"{name}.{index}" for index, name in enumerate(plain)]
    for names in ([""] if len(cells) == 1 else [], plain, numbered):
        if not names or len(set(names)) != len(names):
            continue
        model = onnx.ModelProto()
        model.CopyFrom(subject.file.proto)
        states = _expose(model, subject, cells, [f"{name}." if name else "" for name in names])
        if states is not None:
            pairs = {(pair.input, pair.output) for pair in interface_of(model).states}
            if all((state.input, state.output) in pairs for state in states):
                return model, states
    raise NotMendedError("no free names for its states")


def _expose(
    model: onnx.ModelProto, subject: Subject, cells: list[RecurrentNode], prefixes: list[str]
) -> _States | None:
    """Rewire the nodes, in place; None when a name is taken."""
    declared = (told for _, _, told in subject.roles.declared(subject.file, BATCH))
    batch = next(declared, 1)  # a model without a batch axis has one row
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    taken |= {info.name for info in model.graph.input}
    outputs = {info.name for info in model.graph.output}
    nodes = {tuple(node.output): node for node in model.graph.node}
    states: _States = []
    info = onnx.helper.make_tensor_value_info
    for cell, prefix in zip(cells, prefixes, strict=True):
        node = nodes[tuple(cell.node.output)]
        size, dtype = _size_and_dtype(subject.file, cell)
        kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
        for order, letter in enumerate("hc"[: len(cell.initial)]):
            before, after = f"{prefix}{letter}_0", f"{prefix}{letter}_n"
            node.input.extend([""] * (6 + order - len(node.input)))
            node.output.extend([""] * (2 + order - len(node.output)))
            made = node.output[1 + order]
            is_there = made == after and after in outputs
            if before in taken or (after in taken and not is_there):
                return None
            node.input[5 + order] = before
            model.graph.input.append(info(before, kind, [1, batch, size]))
            if not made:
                node.output[1 + order] = after
            elif not is_there:
                model.graph.node.append(onnx.helper.make_node("Identity", [made], [after], after))
            if not is_there:
                model.graph.output.append(info(after, kind, [1, batch, size]))
            states.append(_State(before, after, size, dtype))
    return states


def _size_and_dtype(file: OnnxFile, cell: RecurrentNode) -> tuple[int, np.dtype[Any]]:
    """Return the hidden size and the dtype of an operator; a size of 0 when it is unknown."""
    value = file.constant(cell.tensor(2))
    if value is None:
        return int(cell.options.get("hidden_size", 0)), np.dtype(np.float32)
    return int(value.shape[2]), value.dtype


def _same_from_zeros(subject: Subject, behaviour: Behaviour, states: _States, path: Path) -> str:
    """Compare with the file itself, from states of zeros."""
    largest = 0.0
    answers = dict(subject.seen)
    for sizes in behaviour.right:
        feeds = make_feeds(subject.roles, sizes)
        after = subject.sandbox.run(path, feeds | _initial(states, sizes.batch, seed=None))
        if not after.ok:
            raise NotMendedError(f"at {sizes} the new file is refused: {after.trouble}")
        before = answers[sizes].outputs
        largest = max(largest, difference(before, after.outputs, before))
    return f"from zero states, answers as before at {listed(behaviour.right)}: {told(largest)}"


def _initial(states: _States, batch: int, seed: int | None) -> Arrays:
    """Make initial states: zeros without a seed."""
    random = np.random.default_rng(seed)
    made: Arrays = {}
    for state in states:
        shape = (1, batch or 1, state.size)  # a model without a batch axis has one row
        values = np.zeros(shape) if seed is None else random.standard_normal(shape)
        made[state.input] = values.astype(state.dtype)
    return made


def _same_in_chunks(subject: Subject, behaviour: Behaviour, states: _States, path: Path) -> str:
    """Compare chunks that hand their states on with the whole, from random states."""
    assert behaviour.base is not None
    sizes = Sizes(max(behaviour.base.time, 7), behaviour.base.batch)
    feeds = make_feeds(subject.roles, sizes)
    start = _initial(states, sizes.batch, seed=0)
    whole = subject.sandbox.run(path, feeds | start)
    if not whole.ok:
        raise NotMendedError(f"at {sizes} the new file is refused: {whole.trouble}")
    state, answers = dict(start), []
    axes = {spec.name: spec.axes for spec in subject.roles.inputs}
    for piece in pieces((3, 1, sizes.time - 4)):
        chunk = cut(feeds, axes, piece)
        steps = piece.stop - piece.start
        for name in subject.roles.lengths:
            chunk[name] = np.full_like(feeds[name], steps)
        answer = subject.sandbox.run(path, chunk | state)
        if not answer.ok:
            raise NotMendedError(f"a chunk of {steps} steps is refused: {answer.trouble}")
        state = {each.input: answer.outputs[each.output] for each in states}
        answers.append(answer.outputs)
    try:
        joined = join(answers, behaviour.output_axes)
        error = difference(whole.outputs, joined, whole.outputs)
    except (NotMendedError, ValueError) as reason:  # numpy joins no pieces of other widths
        raise NotMendedError(
            f"something else looks across time, since chunks do not give what the whole gives: "
            f"{reason}"
        ) from reason
    return f"chunks of 3, 1 and {sizes.time - 4} steps give what the whole gives: {told(error)}"


def _may(subject: Subject) -> bool:
    try:
        _exposable(subject)
    except NotMendedError:
        return False
    return runs(subject)


EXPOSE_STATES = Repair(
    "expose states", frozenset({"states-hidden"}), may=_may, apply=_expose_states
)
