"""Everything that is known of a model before anything is said about it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from rnnedge.doctor.reading.recurrence import Chain, RecurrentNode, find_cells, find_chains
from rnnedge.doctor.reading.roles import Roles, Shapes, find_roles, unrolled_steps
from rnnedge.doctor.running.behaviour import Behaviour, empty_sizes, study
from rnnedge.doctor.running.find_working_sizes import with_all_axes
from rnnedge.doctor.running.probe_runs import ProbeRuns, Sizes
from rnnedge_exporters.onnx_model.axis_names import relabel
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.serialize import save_model
from rnnedge_exporters.sandbox.onnx_runtime import Answer, Arrays, Sandbox
from rnnedge_runtime.contract import BATCH, TIME

_SHAPING = ("Reshape", "Expand", "ConstantOfShape", "Slice", "Split", "Tile")
"""Operators whose constants may hold the example's length."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, read and run.

    Attributes:
        file: What was read.
        cells: Its recurrent operators.
        chains: Its unrolled recurrences.
        shapes: The shapes of its tensors, as far as they were inferred.
        roles: Which axes of its inputs are batch and time.
        unrolled: Steps of the longest recurrence that was unrolled over time; 0 for none.
        opened: What ONNX Runtime said when it opened the file; None when that was not tried.
        why_not_run: Why it was not run; empty when it was.
        behaviour: What it did when it ran; None when it was not run.
        empties: What an empty batch, and no time steps, did.
        seen: Every size that was run, with the answer.
        sandbox: Where it ran, and can run again.
    """

    file: OnnxFile
    cells: tuple[RecurrentNode, ...]
    chains: tuple[Chain, ...]
    shapes: Shapes
    roles: Roles
    unrolled: int
    opened: Answer | None
    why_not_run: str
    behaviour: Behaviour | None
    empties: tuple[tuple[str, Answer], ...]
    seen: tuple[tuple[Sizes, Answer], ...]
    sandbox: Sandbox

    @property
    def timed_inputs(self) -> list[str]:
        """Names of the inputs with a time axis."""
        return [spec.name for spec in self.roles.inputs if TIME in spec.axes]


def observe(path: str | os.PathLike[str], sandbox: Sandbox) -> Subject:
    """Read a model and run it.

    Args:
        path: The `.onnx` file.
        sandbox: Where to run it.

    Raises:
        ModelError: When it is missing, not ONNX, or cut short.
    """
    file = OnnxFile(path)
    cells, chains, shapes = find_cells(file), find_chains(file), file.symbolic_shapes()

    def run(feeds: Arrays) -> Arrays | None:
        answer = sandbox.run(file.path, feeds)
        return answer.outputs if answer.ok else None

    roles = with_all_axes(find_roles(file, cells, chains, shapes, run), file.inputs)
    unrolled = unrolled_steps(chains, roles, shapes)
    opened, why_not, behaviour = None, _why_not_run(file), None
    empties: tuple[tuple[str, Answer], ...] = ()
    seen: tuple[tuple[Sizes, Answer], ...] = ()
    if not file.broken_data:
        opened = sandbox.run(file.path, None)
        if not opened.ok:
            why_not = "ONNX Runtime does not open it"
    if not why_not:
        with trial_of(file, roles, sandbox) as trial:
            behaviour = study(trial, declared_sizes(file, roles), _hints(file), unrolled)
            seen = tuple(trial.seen())
            empties = tuple(empty_sizes(behaviour, trial))
    return Subject(
        *(file, cells, chains, shapes, roles, unrolled, opened),
        *(why_not, behaviour, empties, seen, sandbox),
    )


@contextmanager
def trial_of(
    file: OnnxFile, roles: Roles, sandbox: Sandbox, probes: Sequence[str] = ()
) -> Iterator[ProbeRuns]:
    """Give a trial of a copy of the model whose batch and time axes are open.

    Args:
        file: The model.
        roles: Which axes those are.
        sandbox: Where to run it.
        probes: Tensors inside the graph that are outputs of the copy too.
    """
    model = onnx.ModelProto()
    model.CopyFrom(file.proto)
    relabel(model, {spec.name: spec.axes for spec in roles.inputs})
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in probes)
    with tempfile.TemporaryDirectory(prefix="rnnedge-") as folder:
        path = Path(folder) / "model.onnx"
        save_model(model, path)
        yield ProbeRuns(sandbox, path, roles)


def declared_sizes(file: OnnxFile, roles: Roles) -> Sizes:
    """Return the sizes of time and batch that the inputs declare; 0 where they declare none."""

    def size(axis: str) -> int:
        return next((n for _, _, n in roles.declared(file, axis) if isinstance(n, int)), 0)

    return Sizes(size(TIME), size(BATCH))


def _hints(file: OnnxFile) -> list[int]:
    """Return the numbers that a size may have been fixed at, likeliest first."""
    hints = [axis for spec in file.outputs for axis in spec.axes if isinstance(axis, int)]
    rest: list[int] = []
    for node in file.proto.graph.node:
        for name in node.input:
            value = file.constant(name) if name else None
            if value is None or value.dtype != np.int64 or value.size > 8:
                continue
            numbers = [int(number) for number in value.reshape(-1)]
            if node.op_type == "Reshape":
                numbers.append(math.prod(number for number in numbers if number > 0))
            (hints if node.op_type in _SHAPING else rest).extend(numbers)
    rest += [number + 1 for number in rest]
    return list(dict.fromkeys(number for number in [*hints, *rest] if number > 0))


def _why_not_run(file: OnnxFile) -> str:
    if file.broken_data:
        return "its external data is not there"
    unknown = [spec.name for spec in file.inputs if spec.dtype not in _FEEDABLE]
    if unknown:
        return f"no numbers can be made up for the input {unknown[0]}"
    return ""


_FEEDABLE = {
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
}
