"""`examine`: export one random module, and compare the file with PyTorch in float64.

Nothing here leans on what the product says of itself, but for the names of inputs and states, and
which axes it says are fixed: the file runs in plain ONNX Runtime.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from random_modules.compare import difference, is_chaotic
from random_modules.generate import Generated
from random_modules.in_torch import DoesNotRunError, Reference, load, make_inputs, nested
from random_modules.onnx_file import EngineRefusesError, OnnxFile, wrong_axes, zero_states
from random_modules.pools import pool_faults
from random_modules.streams import stream_faults
from torch import nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.exporter import ExportResult, export

Array = NDArray[Any]

SHAPES_COMPARED = 5


@dataclass
class Verdict:
    """What came of a module.

    Attributes:
        seed: Its seed.
        outcome: `right`, `refused`, `wrong`, or `invalid` where the module does not run in PyTorch.
        faults: What is wrong, a line each.
        reason: The message of a refusal.
        contains: Names of the pieces in the module.
        shapes: Sizes at which the file was compared.
        fixed: Axes that the export said were fixed.
        streamed: Ways of cutting in which streams were compared.
        hindrances: Why there are no streams, where the file says so.
        seconds: Time that the export took, and all of it.
    """

    seed: int
    outcome: str
    faults: list[str] = field(default_factory=list)
    reason: str = ""
    contains: list[str] = field(default_factory=list)
    shapes: list[list[int]] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    streamed: list[str] = field(default_factory=list)
    hindrances: list[str] = field(default_factory=list)
    chaotic: bool = False
    seconds: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for a line of JSON."""
        return asdict(self)


def examine(generated: Generated, folder: Path) -> Verdict:
    """Export the module of `generated` into `folder`, and prove the file right or find faults."""
    start = time.perf_counter()
    verdict = Verdict(generated.seed, "invalid", contains=list(generated.contains))
    module = load(generated, folder)
    reference = Reference(module, generated.groups)
    example = make_inputs(generated.inputs, generated.sizes, generated.seed)
    try:
        reference(example), reference(example, double=False)
    except DoesNotRunError as error:
        verdict.reason = str(error)
        return verdict
    path = folder / f"random_module_{generated.seed}.onnx"
    try:
        result = export_quietly(module, path, nested(example, generated.groups))
    except ExportError as error:
        verdict.outcome, verdict.reason = "refused", str(error)
        verdict.faults += ["a refused export left a file behind"] if path.exists() else []
    except Exception as error:
        verdict.faults.append(f"export raised {type(error).__name__}: {str(error)[:400]}")
    else:
        verdict.seconds.append(round(time.perf_counter() - start, 2))
        judge(verdict, generated, reference, path, result)
    if verdict.faults:
        verdict.outcome = "wrong"
    elif verdict.outcome == "invalid":
        verdict.outcome = "right"
    verdict.seconds.append(round(time.perf_counter() - start, 2))
    return verdict


def export_quietly(module: nn.Module, path: Path, example: Mapping[str, Any]) -> ExportResult:
    """Export as a user does, without the remarks of the libraries."""
    inputs = torch.utils._pytree.tree_map(lambda array: torch.from_numpy(array.copy()), example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export(module, path, example_inputs=inputs)


def judge(
    verdict: Verdict, generated: Generated, reference: Reference, path: Path, result: ExportResult
) -> None:
    """Compare a written file with the module, and add what is wrong to the verdict."""
    verdict.hindrances = list(result.contract.hindrances)
    try:
        file = OnnxFile(path)
        _compare_shapes(verdict, generated, reference, file, result)
        if not verdict.faults and result.contract.interface.states and not verdict.hindrances:
            ways, faults = stream_faults(generated, reference, file, path, result)
            verdict.streamed = ways
            if ways and not faults:
                faults = pool_faults(generated, reference, path, result)
            verdict.faults += faults
    except EngineRefusesError as error:
        verdict.faults.append(f"ONNX Runtime refuses the file: {error}")
    else:
        verdict.faults += [f"ONNX Runtime warns: {text}" for text in file.complaints]


def _compare_shapes(
    verdict: Verdict,
    generated: Generated,
    reference: Reference,
    file: OnnxFile,
    result: ExportResult,
) -> None:
    held = _fixed_axes(verdict, generated, reference, file, result)
    for number, sizes in enumerate(other_sizes(generated.sizes)):
        sizes = sizes | held
        key = [sizes["batch"], sizes["time"], sizes["time_1"]]
        if len(verdict.shapes) == SHAPES_COMPARED or key in verdict.shapes:
            continue
        inputs = make_inputs(generated.inputs, sizes, generated.seed + number + 1)
        try:
            expected, single = reference(inputs), reference(inputs, double=False)
        except DoesNotRunError:
            continue
        verdict.shapes.append(key)
        verdict.chaotic |= any(is_chaotic(expected[name], single[name]) for name in expected)
        fed = inputs | zero_states(file, inputs)
        try:
            given = file(fed)
        except EngineRefusesError as error:
            verdict.faults.append(f"{sizes}: ONNX Runtime fails: {error}")
            continue
        named: dict[str, int] = {}
        seen = {name: fed[name] for name in file.inputs}
        wrong = wrong_axes(file.inputs, seen, named) + wrong_axes(file.outputs, given, named)
        verdict.faults += [f"{sizes}: {text}" for text in wrong]
        answers = own_answers(given, result, expected)
        if answers is None:
            verdict.faults.append(f"outputs {list(given)} for the results {list(expected)}")
            return
        for name, value in answers.items():
            told = difference(value, expected[name], single[name])
            if told:
                verdict.faults.append(f"{sizes}: {name}: {told}")
    if not verdict.shapes and not verdict.faults:
        verdict.faults.append("no other shape could be compared")


def other_sizes(example: Mapping[str, int]) -> list[dict[str, int]]:
    """Return sizes that a module is not exported with: a batch of 1, longer, shorter, one step."""
    batch, time, more = example["batch"], example["time"], example["time_1"]
    other = batch + 2
    rows = [
        (1, time + 3, more + 2),
        (other, 3 * time, 3 * more + 1),
        (batch + 1, time - 3, more - 2),
        (other, time + 1, more + 1),
        (batch + 3, 2, 3),
        (1, 1, 1),
        (7, 2 * time, more),
        (2 if batch != 2 else 5, time - 2, more + 3),
        (other, 2 * time - 1, 2 * more),
    ]
    return [dict(zip(("batch", "time", "time_1"), row, strict=True)) for row in rows]


def _fixed_axes(
    verdict: Verdict,
    generated: Generated,
    reference: Reference,
    file: OnnxFile,
    result: ExportResult,
) -> dict[str, int]:
    """Return the sizes that the file fixed; one that was not reported is a fault."""
    held: dict[str, int] = {}
    for name, spec in generated.inputs.items():
        for axis, size in enumerate(spec.axes):
            fixed = file.inputs.get(name, [None] * len(spec.axes))[axis]
            if isinstance(size, str) and isinstance(fixed, int) and size not in held:
                held[size] = fixed
                text = f"axis {axis} ({size}) of {name} is fixed to {fixed}"
                if _is_told(result, name, axis, size):
                    verdict.fixed.append(text)
                elif _runs_elsewhere(generated, reference, size):
                    verdict.faults.append(f"silently fixed: {text}")
    return held


def _is_told(result: ExportResult, name: str, axis: int, size: str) -> bool:
    kind = size.split("_")[0]
    wanted = rf"\b({re.escape(name)}|{kind})\b.*\bfixed\b|\bfixed\b.*\b({re.escape(name)}|{kind})\b"
    return any(re.search(wanted, note) for note in result.notes)


def _runs_elsewhere(generated: Generated, reference: Reference, size: str) -> bool:
    for other in other_sizes(generated.sizes):
        try:
            sizes = generated.sizes | {size: other[size]}
            reference(make_inputs(generated.inputs, sizes, generated.seed))
        except DoesNotRunError:
            continue
        return True
    return False


def own_answers(
    given: Mapping[str, Array], result: ExportResult, expected: Mapping[str, Array]
) -> dict[str, Array] | None:
    """Return a file's answers by the names of the module's results; None where they do not fit.

    Results come first, in order, and final states that the module does not return come last.
    """
    finals = {pair.output for pair in result.contract.interface.states}
    names = list(given)[: len(expected)]
    added = list(given)[len(expected) :]
    named = [(key, name) for key, name in zip(expected, names, strict=False) if key.isidentifier()]
    if len(names) < len(expected) or not finals.issuperset(added):
        return None
    if any(not name.startswith(key) for key, name in named):
        return None
    return {key: given[name] for key, name in zip(expected, names, strict=True)}
