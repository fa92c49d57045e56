"""Declaring the axes as they are: open where the graph takes any size, and outputs as they come.

Nothing that computes is touched.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.repairs.base import MadeRepair, Mended, Repair, difference, listed, runs, told
from rnnedge.doctor.running.behaviour import Behaviour
from rnnedge.doctor.running.probe_runs import ProbeRuns
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.axis_names import relabel
from rnnedge_exporters.onnx_model.serialize import save_model
from rnnedge_runtime.contract import BATCH, TIME, Axis


def _reopen_axes(subject: Subject, folder: Path) -> Mended:
    """Declare the axes of inputs and outputs as running showed them.

    Args:
        subject: The model.
        folder: Where to put the new file.

    Raises:
        NotMendedError: When the declarations are right, or the proof fails.
    """
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        raise NotMendedError("it does not run, so its axes are not known")
    axes = real_axes(subject, behaviour)
    declared = {spec.name: spec.axes for spec in (*subject.file.inputs, *subject.file.outputs)}
    changes = [
        f"{name}: {_shown(declared[name])} is now {_shown(real)}"
        for name, real in axes.items()
        if _lies(declared[name], real)
    ]
    if not changes:
        raise NotMendedError("its axes are declared as they are")
    model = onnx.ModelProto()
    model.CopyFrom(subject.file.proto)
    relabel(model, axes)
    path = folder / "reopened.onnx"
    save_model(model, path)
    answers = dict(subject.seen)
    largest = 0.0
    trial = ProbeRuns(subject.sandbox, path, subject.roles)
    for sizes in behaviour.right:
        after = trial.at(sizes)
        if not after.ok:
            raise NotMendedError(f"at {sizes} the new file is refused: {after.trouble}")
        before = answers[sizes].outputs
        largest = max(largest, difference(before, after.outputs, before))
    rows = (
        "; its rows are independent" if subject.roles.has(BATCH) and not behaviour.coupled else ""
    )
    proof = f"answers as before at {listed(behaviour.right)}: {told(largest)}{rows}"
    return Mended(path, MadeRepair("axes declared as they are", tuple(changes), (proof,)))


def real_axes(subject: Subject, behaviour: Behaviour) -> dict[str, tuple[Axis, ...]]:
    """Return the axes of every input and output as running showed them; empty names are open."""
    names = {
        axis: _name(subject, axis)
        for axis, seen in ((BATCH, behaviour.batch), (TIME, behaviour.time))
        if seen.status == "open"
    }
    axes: dict[str, tuple[Axis, ...]] = {}
    meant: dict[Axis, Axis] = {}
    for spec, roles in zip(subject.file.inputs, subject.roles.inputs, strict=True):
        own = [_written(spec.name, position, told) for position, told in enumerate(spec.axes)]
        axes[spec.name] = tuple(
            names.get(str(role), told) if isinstance(told, int) or not told else told
            for role, told in zip(roles.axes, own, strict=True)
        )
        meant |= dict(zip(own, roles.axes, strict=True))
    for spec in subject.file.outputs:
        seen = behaviour.output_axes.get(spec.name, spec.axes)
        own = [_written(spec.name, position, told) for position, told in enumerate(spec.axes)]
        if len(own) != len(seen):
            own = [""] * len(seen)
        axes[spec.name] = tuple(
            # A name that no input has, or has for this, may stay.
            told
            if told and isinstance(told, str) and meant.get(told, real) == real
            else names.get(str(real), real)
            for told, real in zip(own, seen, strict=True)
        )
    return axes


def _name(subject: Subject, axis: str) -> str:
    """Return the name that the file has for an axis, or ours."""
    named = (
        told
        for name, position, told in subject.roles.declared(subject.file, axis)
        if isinstance(told, str) and told != f"{name}.{position}"
    )
    return next(named, axis)


def _written(name: str, position: int, axis: Axis) -> Axis:
    """Return an axis as the file has it: what has no name there gets none."""
    return "" if axis == f"{name}.{position}" else axis


def _lies(declared: tuple[Axis, ...], real: tuple[Axis, ...]) -> bool:
    """Whether a size is declared that is not the size, or none where there is one."""
    if len(declared) != len(real):
        return True
    pairs = zip(declared, real, strict=True)
    return any(
        one != other for one, other in pairs if isinstance(one, int) or isinstance(other, int)
    )


def _shown(axes: tuple[Axis, ...]) -> str:
    return f"[{', '.join(str(axis) or '?' for axis in axes)}]"


DECLARE_AXES = Repair(
    "declare axes",
    frozenset({"declared-time", "declared-batch", "declared-shape"}),
    may=runs,
    apply=_reopen_axes,
)
