"""Sizes: axes that are not what the file declares them to be."""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge.doctor.findings import Finding, Kind
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.running.behaviour import Axes
from rnnedge.doctor.running.probe_runs import Sizes
from rnnedge_exporters.onnx_model.nodes import label
from rnnedge_runtime.contract import BATCH, TIME, Axis

_KINDS: dict[str, tuple[Kind, Kind, Kind]] = {
    TIME: ("declared-time", "some-time", "frozen-time"),
    BATCH: ("declared-batch", "some-batch", "frozen-batch"),
}
_AGAIN = "export it again with rnnedge, which keeps batch and time open"


def check_axes(subject: Subject) -> Iterator[Finding]:
    """Compare the declared axes with those that running showed."""
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        return
    yield from _inputs(subject, TIME, behaviour.time)
    yield from _inputs(subject, BATCH, behaviour.batch)
    yield from _outputs(subject)


def _inputs(subject: Subject, axis: str, seen: Axes) -> Iterator[Finding]:
    places = list(subject.roles.declared(subject.file, axis))
    if not places:
        return
    name, position, declared = next(
        (place for place in places if isinstance(place[2], int)), places[0]
    )
    where = f"{name} axis {position}"
    only_declared, some, frozen = _KINDS[axis]
    if seen.status == "open":
        if isinstance(declared, int):
            yield Finding(
                only_declared,
                "warning",
                where,
                f"{axis} is declared as {declared}, and the graph takes any: only the declaration "
                "keeps other sizes out",
                "declare the axis open",
            )
        return
    if seen.status == "multiples":
        yield Finding(
            "multiples-of-time",
            "note",
            where,
            f"takes {seen.evidence}, and no other sizes of {axis}",
            "send such sizes; pad or collect what is shorter",
        )
        return
    if seen.status == "some":
        yield Finding(
            some,
            "warning",
            where,
            f"takes only some sizes of {axis}: {seen.evidence}",
            "check what the device will send",
        )
        return
    holder = _holder(subject, seen.size)
    by = f" ({holder})" if holder else ""
    if isinstance(declared, int):
        yield Finding(
            frozen,
            "warning",
            where,
            f"{axis} is fixed at {seen.size}{by}",
            f"feed that size only, or {_AGAIN}",
        )
        return
    mixed = "; rows and columns are confused" if "rows for" in seen.evidence else ""
    yield Finding(
        frozen,
        "error",
        where,
        f"{axis} is declared open ({declared}), and only {seen.size} works: {seen.evidence}"
        f"{mixed}{by}",
        _AGAIN,
    )


def _holder(subject: Subject, size: int) -> str:
    """Name the node that holds the size as a constant."""
    if size == subject.unrolled:
        return f"the recurrence is written out in {size} steps"
    for node in subject.file.proto.graph.node:
        if node.op_type in ("Reshape", "Expand") and len(node.input) > 1:
            value = subject.file.constant(node.input[1])
            if value is not None and size in value.reshape(-1)[:-1].tolist():
                return f"{label(node)} holds {value.tolist()}"
    for cell in subject.cells:
        for name in cell.initial:
            value = subject.file.constant(name) if name else None
            if value is not None and value.ndim == 3 and value.shape[1] == size:
                return f"the initial state of {cell.name} is a constant {list(value.shape)}"
    return ""


def _outputs(subject: Subject) -> Iterator[Finding]:
    """Compare the declared shape of each output with those that came."""
    assert subject.behaviour is not None
    for spec in subject.file.outputs:
        for sizes in subject.behaviour.right:
            answer = next(answer for at, answer in subject.seen if at == sizes)
            if spec.name not in answer.outputs:
                continue
            shape = answer.outputs[spec.name].shape
            if not _fits(subject, spec.axes, shape, sizes):
                yield Finding(
                    "declared-shape",
                    "warning",
                    spec.name,
                    f"is declared as [{', '.join(map(str, spec.axes))}], and comes as "
                    f"{list(shape)} at {sizes}",
                    "declare the real axes: runtimes that plan memory by them will fail",
                )
                break


def _fits(
    subject: Subject, declared: tuple[Axis, ...], shape: tuple[int, ...], sizes: Sizes
) -> bool:
    if len(declared) != len(shape):
        return not declared  # nothing declared at all is nothing wrong
    known: dict[Axis, int] = {}
    for axis, size in ((TIME, sizes.time), (BATCH, sizes.batch)):
        for _, _, name in subject.roles.declared(subject.file, axis):
            if isinstance(name, str):
                known[name] = size
            elif name != size:
                return True  # run at a size that the file does not claim to take
    return all(
        axis == size if isinstance(axis, int) else known.get(axis, size) == size
        for axis, size in zip(declared, shape, strict=True)
    )
