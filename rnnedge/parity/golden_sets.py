"""Cases of a comparison that are kept: as golden vectors, or as a failure to look into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from rnnedge.parity.cases import Case, Inputs
from rnnedge.parity.collect import Answers
from rnnedge.parity.results import CaseResult
from rnnedge_runtime.array_file import write_arrays
from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.proof.golden import GoldenSet
from rnnedge_runtime.write_target import NPZ

_MOST = 16
_VALUES = 200_000
"""Numbers that the inputs and outputs of one set may hold, so that vectors stay small."""


def golden_sets(
    collected: Sequence[Answers],
    results: Sequence[CaseResult],
    moved: Callable[[Inputs, Case], Mapping[str, float]] | None = None,
    by_row: Callable[[Answers], Mapping[str, float]] | None = None,
) -> list[GoldenSet]:
    """Choose cases that a device can run by itself: one of each kind first, then larger ones.

    Args:
        collected: What was run.
        results: How each output compared.
        moved: Returns how far each output may move besides on a device with other threads.
        by_row: Returns how far each output may be off on an engine that rounds each row to int8
            over its own range.
    """
    allowed = {(result.case, result.output): result.allowed for result in results}
    sets = []
    for answers in _chosen(collected):
        outputs, errors = {}, {}
        further = moved(answers.inputs, answers.case) if moved else {}
        rows = by_row(answers) if by_row else None
        halves = {}
        for name, reference in answers.reference.items():
            dtype = answers.torch.get(name, reference).dtype
            outputs[name] = reference.astype(dtype)
            # Rounding the reference to the dtype of the model moves it by half a unit more.
            size = float(np.abs(outputs[name]).max(initial=0.0))
            half = float(np.spacing(np.asarray(size, dtype))) / 2 if dtype.kind == "f" else 0.0
            halves[name] = half
            errors[name] = allowed[answers.case, name] + half + further.get(name, 0.0)
        row_errors = rows and {name: rows[name] + half for name, half in halves.items()}
        case = str(answers.case)
        sets.append(GoldenSet(case, answers.inputs, outputs, errors, allowed_by_row=row_errors))
    return sets


def _chosen(collected: Sequence[Answers]) -> Iterator[Answers]:
    """Yield plain whole runs whose answers are finite."""
    kinds: dict[tuple[bool, bool, str, bool], list[Answers]] = {}
    for answers in collected:
        case = answers.case
        arrays = [*answers.inputs.values(), *(answers.torch or answers.reference).values()]
        small = sum(array.size for array in arrays) <= _VALUES
        finite = all(np.isfinite(array).all() for array in arrays)
        if case.way == "plain" and not case.chunk and small and finite:
            kind = case.random_state, case.ragged, case.values, bool(case.choice)
            kinds.setdefault(kind, []).append(answers)
    ordered = [sorted(alike, key=_size) for alike in kinds.values()]
    ranked = [[alike[place] for place in (0, -1, len(alike) // 2)] for alike in ordered]
    picked = {id(answers): answers for rank in zip(*ranked, strict=True) for answers in rank}
    yield from list(picked.values())[:_MOST]


def _size(answers: Answers) -> int:
    return answers.case.time * answers.case.batch


def save_failing(
    path: str | os.PathLike[str],
    answers: Answers,
    *,
    protected: Iterable[str | os.PathLike[str] | None] = (),
    force: bool = False,
) -> None:
    """Write a failing case so that it can be run again.

    The archive has the arrays `input/NAME`, `expected/NAME` (the reference's, of PyTorch in
    float64), and, where the model answered, `got/NAME`.

    Args:
        path: The `.npz` file.
        answers: The case.
        protected: Files that it must not replace.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
    """
    arrays = {f"input/{name}": array for name, array in answers.inputs.items()}
    arrays |= {f"expected/{name}": array for name, array in answers.reference.items()}
    arrays |= {f"got/{name}": array for name, array in (answers.model or {}).items()}
    with atomic_file(path, NPZ, protected=protected, force=force) as file:
        write_arrays(file, arrays)
