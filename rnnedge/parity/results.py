"""What a comparison found of an output, a case, a step and a cause: the parts of a report."""

from __future__ import annotations

from dataclasses import dataclass

from rnnedge.parity.cases import Case

UNKNOWN = "unknown"
"""The cause of a failure that was not found."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One output in one case.

    Attributes:
        case: The case.
        output: Name of the output, or of a layer that is compared for itself.
        error: Largest absolute error against the reference; infinite when there is a problem.
        relative: `error` relative to the largest magnitude of the output in this case.
        ulps: `error` in float32 units in the last place at that magnitude.
        allowed: Absolute error that is inside tolerance.
        torch_error: Largest absolute error of PyTorch itself in float32; None where the reference
            is another file.
        rounding: The largest of `torch_error`, of what two units in the last place of every weight
            change, and of 2^-24 of the largest final state.
        at: Where the error is largest, one index for each axis, or None.
        problem: What is wrong besides the values (a shape, an exception), or None.
        remark: What is right and still worth saying, such as NaN on both sides, or None.
    """

    case: Case
    output: str
    error: float
    relative: float
    ulps: float
    allowed: float
    torch_error: float | None
    rounding: float
    at: tuple[int, ...] | None
    problem: str | None = None
    remark: str | None = None

    def __bool__(self) -> bool:
        """Whether the output was inside tolerance."""
        return self.problem is None and self.error <= self.allowed

    @property
    def badness(self) -> float:
        """Error in units of what is allowed."""
        return float("inf") if self.problem else self.error / self.allowed

    @property
    def where(self) -> str:
        """`, at [index]`, or nothing."""
        return "" if self.at is None else f", at [{', '.join(map(str, self.at))}]"


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values were off by how many units in the last place.

    Attributes:
        edges: Edges of the bins in ulps; the first and the last bin hold what is beyond them too.
        model: Values of the model in each bin.
        torch: Values of PyTorch in float32 in each bin; zeros where it was not run.
    """

    edges: tuple[float, ...]
    model: tuple[int, ...]
    torch: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Largest absolute error at each step of one case, against the reference.

    Attributes:
        name: Name of an output, or of a layer inside.
        case: The case.
        model: Error of the model at each step.
        torch: Error of PyTorch in float32 at each step; empty where it was not measured.
    """

    name: str
    case: Case
    model: tuple[float, ...]
    torch: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong with a model that fails, as far as it could be found.

    Attributes:
        cause: The mistake in two or three words, such as `gate order`, or `UNKNOWN`.
        place: Where: a layer and direction, a tensor, an axis; empty when it is everywhere.
        evidence: What shows it: which numbers agree with what.
        smallest: The smallest case that still fails.
        first: The first place where a number is off: layer, step, row.
        remedy: What to do.
        unfinished: Searches that ran out of time, and how far each got.
    """

    cause: str
    place: str
    evidence: str
    smallest: Case
    first: str
    remedy: str
    unfinished: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what is known, one thing a line."""
        known = {
            "cause": f"{self.cause} ({self.place})" if self.place else self.cause,
            "evidence": self.evidence,
            "first wrong": self.first,
            "smallest case": str(self.smallest),
            "to do": self.remedy,
            "not finished": "; ".join(self.unfinished),
        }
        return [f"{name:14} {text}" for name, text in known.items() if text]

    def __str__(self) -> str:
        """Return `lines` joined."""
        return "\n".join(self.lines())


@dataclass(frozen=True, slots=True)
class Timing:
    """Median milliseconds of one call at a shape, one thread.

    Attributes:
        time: Steps.
        batch: Rows.
        model: The model in its engine.
        torch: PyTorch eager in float32.
    """

    time: int
    batch: int
    model: float
    torch: float


@dataclass(frozen=True, slots=True)
class OutputReport:
    """One output over all cases; the numbers are those of its worst case.

    The worst case is the one that comes nearest to its tolerance, or goes furthest beyond.

    Attributes:
        name: Name of the output.
        cases: Cases run.
        failed: Cases outside tolerance.
        max_abs: Largest absolute error against the reference.
        max_rel: That error relative to the largest magnitude of the output.
        max_ulps: That error in float32 units in the last place at that magnitude.
        tolerance: Absolute error allowed.
        torch_abs: Largest absolute error of PyTorch itself in float32; None as in `CaseResult`.
        worst: The worst case, and the index where it was.
        problem: What is wrong besides the values (a shape, an exception), or None.
        histogram: Errors of all values in all cases.
    """

    name: str
    cases: int
    failed: int
    max_abs: float
    max_rel: float
    max_ulps: float
    tolerance: float
    torch_abs: float | None
    worst: str
    problem: str | None
    histogram: Histogram

    def __bool__(self) -> bool:
        """Whether every case was inside tolerance."""
        return self.failed == 0
