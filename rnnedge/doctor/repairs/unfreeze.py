"""Taking the example's sizes out of a graph: out of `Reshape` constants and zero states.

A `Reshape` whose constant repeats the size of an axis that its input has in the same place gets a 0
there, which copies the axis; an initial state of zeros is left out, which means zeros.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from rnnedge.doctor.model_facts import Subject, trial_of
from rnnedge.doctor.reading.recurrence import find_cells, find_chains
from rnnedge.doctor.reading.roles import Roles, Shapes, find_roles
from rnnedge.doctor.repairs.base import MadeRepair, Mended, Repair, difference, listed, told
from rnnedge.doctor.running.behaviour import Behaviour, study
from rnnedge.doctor.running.probe_runs import ProbeRuns, Sizes
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.movement import moved
from rnnedge_exporters.onnx_model.nodes import array_of, attributes, drop_unused, label
from rnnedge_exporters.onnx_model.recurrent_nodes import is_recurrent
from rnnedge_exporters.onnx_model.serialize import save_model
from rnnedge_exporters.sandbox.onnx_runtime import Arrays
from rnnedge_runtime.contract import BATCH, TIME


def _unfreeze(subject: Subject, folder: Path) -> Mended:
    """Take the example's sizes out of the graph.

    Args:
        subject: The model.
        folder: Where to put the new file.

    Raises:
        NotMendedError: When no constant holds a size, or the proof fails.
    """
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        raise NotMendedError("it does not run, so nothing can be proven")
    path = folder / "unfrozen.onnx"
    changes = _change(subject, path)
    if not changes:
        raise NotMendedError("no constant that can be taken out holds the example's size")
    return Mended(path, MadeRepair("sizes taken out", tuple(changes), tuple(_prove(subject, path))))


def _may(subject: Subject) -> bool:
    """Whether a constant holds a size, as far as can be seen without proof."""
    file = subject.file
    return any(
        _freed(file, node, subject.shapes, subject.roles) is not None
        for node in file.proto.graph.node
    ) or (
        subject.behaviour is not None
        and subject.behaviour.batch.status == "fixed"
        and any(name and is_zero(file, name) for cell in subject.cells for name in cell.initial)
    )


def _change(subject: Subject, path: Path) -> list[str]:
    """Write the changed model to `path`; what one change frees may show the next."""
    changes: list[str] = []
    model = onnx.ModelProto()
    model.CopyFrom(subject.file.proto)
    assert subject.behaviour is not None
    for node in model.graph.node if subject.behaviour.batch.status == "fixed" else ():
        if not is_recurrent(node):
            continue
        zeros = [i for i in (5, 6) if len(node.input) > i and is_zero(subject.file, node.input[i])]
        for position in zeros:
            node.input[position] = ""
        if zeros:
            changes.append(f"{label(node)}: the initial state of zeros is left out")
    drop_unused(model.graph)
    save_model(model, path)
    while True:
        file = OnnxFile(path)
        shapes = file.symbolic_shapes()
        roles = find_roles(file, find_cells(file), find_chains(file), shapes)
        change = _free_one(file, shapes, roles)
        if change is None:
            return changes
        changes.append(change)
        save_model(file.proto, path)


def _free_one(file: OnnxFile, shapes: Shapes, roles: Roles) -> str | None:
    """Free the first `Reshape` that holds a size, in place; say which."""
    for index, node in enumerate(file.proto.graph.node):
        freed = _freed(file, node, shapes, roles)
        if freed is None:
            continue
        name = f"{node.output[0]}/shape"
        file.proto.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(freed, np.int64), name)
        )
        before = file.constant(node.input[1])
        assert before is not None
        replaced = onnx.helper.make_node(
            "Reshape", [node.input[0], name], list(node.output), node.name, allowzero=0
        )
        if file.opset < 14:
            del replaced.attribute[:]  # allowzero is of opset 14; before it a 0 always copies
        file.proto.graph.node[index].CopyFrom(replaced)
        return f"{node.name or node.output[0]}: {before.tolist()} is now {freed}"
    return None


def _freed(file: OnnxFile, node: onnx.NodeProto, shapes: Shapes, roles: Roles) -> list[int] | None:
    """Return the shape of a `Reshape` with its batch and time copied; None when it holds none."""
    if node.op_type != "Reshape" or not file.is_constant(node.input[1]):
        return None
    held, given = file.constant(node.input[1]), shapes.get(node.input[0])
    if held is None or given is None or 0 in held.reshape(-1):
        return None
    moving = {
        f"{spec.name}.{position}"
        for spec in roles.inputs
        for position, role in enumerate(spec.axes)
        if role in (BATCH, TIME)
    }
    freed = [int(number) for number in held.reshape(-1)]
    for position, number in enumerate(freed):
        if number > 0 and position < len(given) and given[position] in moving:
            freed[position] = 0
    return freed if 0 in freed else None


def is_zero(file: OnnxFile, name: str) -> bool:
    """Whether a tensor can be seen to be nothing but zeros, of whatever shape."""
    value = file.constant(name)
    if value is not None:
        return not value.any()
    node = file.producer.get(name)
    if node is None:
        return False
    if node.op_type == "ConstantOfShape":
        filled = attributes(node).get("value")
        value = None if filled is None else array_of(filled)
        return filled is None or (value is not None and not value.any())
    before = moved(node)
    return bool(before) and all(is_zero(file, name) for name in before)


def _prove(subject: Subject, path: Path) -> list[str]:
    """Compare with the file where that is right, and with what can be known beyond."""
    old = subject.behaviour
    assert old is not None
    assert old.base is not None
    file = OnnxFile(path)
    with trial_of(file, subject.roles, subject.sandbox) as trial:
        new = study(trial, Sizes(0, 0), [])
        still = [
            f"{axis} is still fixed: {seen.evidence}"
            for axis, before, seen in (
                ("time", old.time, new.time),
                ("batch", old.batch, new.batch),
            )
            if before.status in ("fixed", "some") and seen.status != "open"
        ]
        if new.base is None:
            raise NotMendedError(f"the new file does not run: {new.trouble}")
        if still:
            raise NotMendedError("; ".join(still))
        largest = 0.0
        answers = dict(subject.seen)
        for sizes in old.right:
            before = answers[sizes].outputs
            largest = max(largest, difference(before, trial.at(sizes).outputs, before))
        independent = "" if new.coupled else "; its rows are independent"
        return [
            f"answers as before at {listed(old.right)}: {told(largest)}",
            f"runs at any time and batch, tried at {len(new.right)} sizes{independent}",
            _beyond(subject, old, new, trial),
        ]


def _beyond(subject: Subject, old: Behaviour, new: Behaviour, trial: ProbeRuns) -> str:
    """Prove the answers at sizes that the file itself does not answer correctly.

    Where it answers in a wrong shape, its numbers are right in their order. Elsewhere the first
    steps of a longer sequence, and the first rows of a larger batch, are what it answers alone.

    Raises:
        NotMendedError: When neither can be had, or it differs.
    """
    assert old.base is not None
    answers = dict(subject.seen)
    mixed = [sizes for sizes, a in answers.items() if a.ok and sizes not in old.right]
    if mixed and all(_same_in_order(answers[s].outputs, trial.at(s).outputs) for s in mixed):
        return (
            f"has the same numbers in their order where the file answers in a wrong shape, at "
            f"{listed(mixed)}"
        )
    time_froze = old.time.status in ("fixed", "some")
    if time_froze and any(cell.direction != "forward" for cell in subject.cells):
        raise NotMendedError("it reads the future, so what is right at other lengths is unknown")
    larger = Sizes(
        old.base.time * (2 if time_froze else 1),
        old.base.batch * (2 if old.batch.status in ("fixed", "some") else 1),
    )
    after, before = trial.at(larger), answers[old.base].outputs
    if not after.ok:
        raise NotMendedError(f"at {larger} the new file is refused: {after.trouble}")
    compared = [name for name, axes in new.output_axes.items() if TIME in axes or not time_froze]
    if not compared:
        raise NotMendedError(
            "no output has a time axis, so what is right at other lengths is unknown"
        )
    parts = {
        name: after.outputs[name][
            tuple(
                slice({TIME: old.base.time, BATCH: old.base.batch}.get(str(axis)))
                for axis in new.output_axes[name]
            )
        ]
        for name in compared
    }
    error = difference(before, parts, compared)
    return f"begins at {larger} as the file answers at {old.base}: {told(error)}"


def _same_in_order(one: Arrays, other: Arrays) -> bool:
    try:
        flat = {name: value.reshape(-1) for name, value in one.items()}
        difference(flat, {name: value.reshape(-1) for name, value in other.items()}, flat)
    except NotMendedError:
        return False
    return True


TAKE_SIZES_OUT = Repair(
    "take sizes out",
    frozenset({"frozen-time", "frozen-batch", "some-time", "some-batch"}),
    may=_may,
    apply=_unfreeze,
)
