"""Why a file does not compute what another does, as far as that can be found.

Layers of two files are matched by the numbers in their weights, in whatever order: names, layouts
and the order of gates are each exporter's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from rnnedge.parity.collect import Answers
from rnnedge.parity.compare import Tolerance, errors_of
from rnnedge.parity.onnx_reference.interface_matching import NamedFile
from rnnedge.parity.onnx_reference.model_under_test import Array, OpenedFile
from rnnedge.parity.results import UNKNOWN, CaseResult, Diagnosis
from rnnedge_exporters.onnx_model.nodes import label
from rnnedge_exporters.onnx_model.recurrent_nodes import OPERATORS, B
from rnnedge_exporters.onnx_model.serialize import serialize_model
from rnnedge_exporters.quantization.onnx_file.reading import read_model
from rnnedge_exporters.sandbox.onnx_runtime import Sandbox
from rnnedge_runtime.errors import RnnEdgeError

_REMEDIES = {
    "never ends": "look for a Loop whose condition never becomes false, or raise the time limit",
    "crash": "run `rnnedge doctor`, which says what ONNX Runtime does not survive",
    "refuses inputs": "export it with the axes dynamic that are dynamic in the original",
    "other weights": "export both files from the same weights",
    "a layer differs": "compare the attributes and biases of the two nodes, and what feeds them",
}
_SURE = 10.0
"""How many times the rounding of a layer is a difference that its inputs do not explain."""


@dataclass(frozen=True, slots=True)
class _LayerWeights:
    """A node with a weight.

    Attributes:
        name: What the node is called.
        weight: Name of the weight.
        digest: Of the numbers in the weight, whatever their order.
        output: Name of the first output of the node.
        terms: Terms of its sums, at most.
    """

    name: str
    weight: str
    digest: bytes
    output: str
    terms: int


def diagnose(collected: Sequence[Answers], results: Sequence[CaseResult]) -> Diagnosis:
    """Say what is wrong with a file that fails, from what it answered alone.

    Args:
        collected: What both files answered.
        results: How they compare; one failed at least.
    """
    failed = [result for result in results if not result]
    smallest = min(failed, key=lambda result: result.case.time * result.case.batch)
    answers = next(answers for answers in collected if answers.case == smallest.case)
    cause = answers.crash or ("refuses inputs" if answers.failure else UNKNOWN)
    return Diagnosis(
        cause=cause,
        place="",
        evidence=answers.failure or "",
        smallest=smallest.case,
        first="" if answers.failure else f"{smallest.output}{smallest.where}",
        remedy=_REMEDIES.get(cause, ""),
    )


def look_inside(
    sandbox: Sandbox,
    named: NamedFile,
    paths: tuple[str | os.PathLike[str], str | os.PathLike[str]],
    answers: Answers,
    tolerance: Tolerance,
    found: Diagnosis,
) -> Diagnosis:
    """Say which weight, or which layer, is the first to differ in two files in float32.

    Args:
        sandbox: Where both run.
        named: The file that is checked.
        paths: That file, and the original.
        answers: The case to look at.
        tolerance: How far an output may be off.
        found: What is known; given back where nothing more is found.
    """

    def say(cause: str, place: str, evidence: str) -> Diagnosis:
        case, first = found.smallest, found.first
        return Diagnosis(cause, place, evidence, case, first, _REMEDIES[cause])

    try:
        file, original = (read_model(Path(path)) for path in paths)
        mine, theirs = list(_layers(file)), list(_layers(original))
        known = {layer.digest: layer for layer in mine}
        absent = [layer for layer in theirs if layer.digest not in known]
        if absent:
            evidence = (
                f"its numbers are in no weight of the file; those of {len(theirs) - len(absent)} "
                f"of {len(theirs)} weights of the original are"
            )
            return say("other weights", f"{absent[0].weight} of {absent[0].name}", evidence)
        pairs = [(known[layer.digest], layer) for layer in theirs]
        ours = OpenedFile(sandbox, _tapped(file, [layer.output for layer, _ in pairs]))
        right = OpenedFile(sandbox, _tapped(original, [layer.output for _, layer in pairs]))
        given = ours.run(named.feeds(answers.inputs))
        wanted = right.run(answers.inputs)
    except RnnEdgeError:  # a graph that cannot be read or tapped is not looked into
        return found
    alike = 0
    for layer, other in pairs:
        one, two = (np.squeeze(a[n.output]) for a, n in ((given, layer), (wanted, other)))
        if one.shape != two.shape:
            continue
        error = float(errors_of(one, two).max(initial=0.0))
        if error > _SURE * tolerance.floor(layer.terms) * max(1.0, _size(two)):
            before = f"; {alike} layers before it agree" if alike else ""
            same = f"the same weights as {other.name} of the original"
            return say("a layer differs", layer.name, f"off by {error:.1e}, with {same}{before}")
        alike += 1
    return found


def _layers(model: ir.Model) -> Iterator[_LayerWeights]:
    """Yield the nodes of the outermost graph with weights, in order, once for each weight."""
    for node in model.graph:
        for place, value in enumerate(node.inputs):
            tensor = value.const_value if value is not None else None
            if value is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
                continue
            if len(tensor.shape) < 2 or (node.op_type in OPERATORS and place == B):
                continue  # biases are added up by exporters
            array = tensor.numpy()
            output = next((v.name for v in node.outputs if v.name), "") or ""
            numbers = hashlib.sha256(np.sort(array, axis=None).tobytes()).digest()
            yield _LayerWeights(label(node), value.name or "", numbers, output, max(array.shape))


def _tapped(model: ir.Model, names: Sequence[str]) -> bytes:
    outputs = {value.name for value in model.graph.outputs}
    made = {v.name: v for node in model.graph for v in node.outputs if v.name}
    for name in dict.fromkeys(names):
        if name in made and name not in outputs:
            model.graph.outputs.append(made[name])
    return serialize_model(model)


def _size(array: Array) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))
