"""What a repair is and gives, and how two files are compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnedge.doctor.findings import Kind
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.running.probe_runs import Sizes
from rnnedge.errors import NotMendedError
from rnnedge_exporters.sandbox.onnx_runtime import Arrays

TOLERANCE = 1e-5
"""Largest difference allowed, relative to the largest magnitude where that is above 1."""


@dataclass(frozen=True, slots=True)
class MadeRepair:
    """One repair that was made and proven.

    Attributes:
        name: What was done, such as `exported again`.
        changes: What is different in the new file, one line each.
        proofs: What was compared, and how far apart it was, one line each.
    """

    name: str
    changes: tuple[str, ...]
    proofs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mended:
    """A repaired file in a temporary folder."""

    path: Path
    repair: MadeRepair


@dataclass(frozen=True, slots=True)
class Repair:
    """A way to repair a file.

    Attributes:
        name: What to call it where it could not be made.
        kinds: Kinds of findings that it may repair.
        may: Whether it may repair a model, as far as can be seen without trying.
        apply: Writes a repaired file into a folder, with its proof; raises `NotMendedError` with
            the reason where it cannot.
        called_for_by: The kinds that it is tried for; all of `kinds` where it is None.
    """

    name: str
    kinds: frozenset[Kind]
    may: Callable[[Subject], bool]
    apply: Callable[[Subject, Path], Mended]
    called_for_by: frozenset[Kind] | None = None

    def is_called_for(self, found: Collection[Kind]) -> bool:
        """Whether one of the kinds that were found is worth trying it."""
        kinds = self.kinds if self.called_for_by is None else self.called_for_by
        return not kinds.isdisjoint(found)


def runs(subject: Subject) -> bool:
    """Whether a model runs at some sizes, so that something can be proven of it."""
    return subject.behaviour is not None and subject.behaviour.base is not None


def difference(before: Arrays, after: Arrays, names: Iterable[str]) -> float:
    """Return the largest difference between outputs, 0 when they are the same to the bit.

    Raises:
        NotMendedError: When a shape differs, or a difference is above `TOLERANCE`.
    """
    largest = 0.0
    for name in names:
        one, other = before[name], after.get(name)
        if other is None or one.shape != other.shape or one.dtype != other.dtype:
            got = "no such output" if other is None else f"{other.dtype}{list(other.shape)}"
            raise NotMendedError(f"{name} was {one.dtype}{list(one.shape)}, and came as {got}")
        if one.dtype.kind != "f":
            if not np.array_equal(one, other):
                raise NotMendedError(f"{name} has other values than before")
            continue
        error = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
        scale = max(1.0, float(np.abs(one).max(initial=0.0)))
        if not error <= TOLERANCE * scale:
            raise NotMendedError(f"{name} differs from before by {error:.1e}")
        largest = max(largest, float(error))
    return largest


def told(error: float) -> str:
    """Say a difference."""
    return f"largest difference {error:.1e}" if error else "the same to the bit"


def listed(sizes: Sequence[Sizes]) -> str:
    """Say sizes: three at most, and how many more."""
    shown = "; ".join(map(str, sizes[:3]))
    return f"{shown} and {len(sizes) - 3} more" if len(sizes) > 3 else shown
