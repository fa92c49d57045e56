"""What the doctor says: findings, and the diagnosis that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from rnnedge_runtime.notebook import html_table

Severity = Literal["error", "warning", "note"]
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}


Kind: TypeAlias = Literal[
    "external-data",
    "opset",
    "versions",
    "ir-version",
    "domain",
    "invalid",
    "local-paths",
    "refused",
    "crash",
    "endless",
    "no-run",
    "row-coupling",
    "nondeterministic",
    "empty-crash",
    "hides-nan",
    "frozen-time",
    "frozen-batch",
    "declared-time",
    "declared-batch",
    "declared-shape",
    "some-time",
    "multiples-of-time",
    "some-batch",
    "unrolled",
    "not-pytorch",
    "fixed-lengths",
    "layout",
    "dropout",
    "training",
    "random",
    "bad-weights",
    "duplicate-weights",
    "states-hidden",
    "state-lost",
    "runtime",
]


Basis: TypeAlias = Literal["", "run here", "runs of like files", "documented only", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that goes wrong on a device, or may.

    Attributes:
        kind: What it is.
        severity: `error` when the model answers wrongly, or not at all, where it says it does;
            `warning` when it does not work for some uses; `note` when it is good to know.
        where: The node, tensor or axis, or the runtime for findings of kind `runtime`.
        problem: What is wrong, with what was expected and what came.
        remedy: What to do.
        fixable: Whether `fix` can mend it: for `examine`, whether it may, which only trying tells;
            in what `fix` returns, whether it did.
        basis: What a finding of kind `runtime` rests on: `run here`, `runs of like files`,
            `documented only` or `unknown`; empty for the others.
    """

    kind: Kind
    severity: Severity
    where: str
    problem: str
    remedy: str
    fixable: bool = False
    basis: Basis = ""


def listing(names: Sequence[str]) -> str:
    """Name four at most, and say how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


@dataclass(frozen=True, slots=True)
class Examination:
    """What `examine` found: truthy when nothing is an error.

    Attributes:
        model: The file.
        findings: The findings, errors first.
        facts: What was looked at, one line each.
    """

    model: str
    findings: tuple[Finding, ...]
    facts: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, findings: Iterable[Finding], facts: Iterable[str]) -> Examination:
        """Put findings in order."""
        ordered = sorted(findings, key=lambda finding: _ORDER[finding.severity])
        return cls(model, tuple(ordered), tuple(facts))

    def __bool__(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def general(self) -> tuple[Finding, ...]:
        """The findings that hold wherever the model runs."""
        return tuple(finding for finding in self.findings if finding.kind != "runtime")

    @property
    def runtimes(self) -> tuple[Finding, ...]:
        """The findings about one runtime each."""
        return tuple(finding for finding in self.findings if finding.kind == "runtime")

    @property
    def verdict(self) -> str:
        """One line: how many of each severity, or that nothing was found.

        What other runtimes do is not counted, unless the model is meant for them.
        """
        counted = [f for f in self.findings if f.kind != "runtime" or f.severity != "note"]
        counts = [(sum(f.severity == severity for f in counted), severity) for severity in _ORDER]
        found = [f"{n} {severity}{'s' * (n != 1)}" for n, severity in counts if n]
        if not found:
            return f"{self.model}: nothing found"
        worst = self.findings[0]
        first = f"; first: {worst.where}: {worst.problem}" if worst.severity == "error" else ""
        return f"{self.model}: {', '.join(found)}{first}"

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"Examination({self.verdict})"

    def __str__(self) -> str:
        """Return what was looked at, each finding with what to do, and the verdict."""
        found = [f"{f.severity}: {f.where}: {f.problem} -> {f.remedy}" for f in self.findings]
        return "\n".join([*(f"{self.model}: {fact}" for fact in self.facts), *found, self.verdict])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict, and each finding with what to do."""
        headings = ("severity", "where", "what is wrong", "what to do")
        rows = [(f.severity, f.where, f.problem, f.remedy) for f in self.findings]
        return html_table(self.verdict, headings, rows)

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {"healthy": bool(self), **asdict(self)}
