"""What the tested table of runtimes says about a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rnnedge.doctor.checks.runtimes import RUNTIMES, check_runtimes
from rnnedge.doctor.findings import Finding, Severity
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.runtime_table import Form, Result, RuntimeTable, forms_of, load_table

_REMEDIES = {
    "right": "-",
    "some sizes refused": "run it there at your sizes, or use another runtime",
    "refused": "use another runtime, or export for target portable",
    "wrong": "use another runtime, or export for target portable without lengths",
}
_SEVERITIES: dict[str, Severity] = {"right": "note", "some sizes refused": "warning"}


def known_runtimes() -> tuple[str, ...]:
    """Return the runtimes that something is known of, by runs or from documents.

    Returns:
        Their names.
    """
    return tuple(dict.fromkeys([*load_table().versions, *RUNTIMES]))


def check_intended(subject: Subject, intended: Collection[str]) -> Iterator[Finding]:
    """Say what will happen to a model in the runtimes that it is meant for, without running it.

    Args:
        subject: The model.
        intended: Names out of `known_runtimes`.

    Yields:
        What runs of like files gave, or what is documented, or that nothing is known.
    """
    table = load_table()
    for name in dict.fromkeys(intended):
        if name in table.versions:
            yield _from_table(table, name, forms_of(subject))
            continue
        found = list(check_runtimes(subject, [name]))
        yield from found
        if not found:
            yield _unknown(name, "no file was run there, and nothing is documented against it")


def _from_table(table: RuntimeTable, name: str, forms: Collection[Form]) -> Finding:
    result = table.expect(name, forms)
    if result is None:
        listed = "; ".join(map(str, dict.fromkeys(forms))) or "no recurrent layer"
        return _unknown(name, f"the table has no run of {listed}")
    runtime = f"{name} {table.versions[name]}"
    return Finding(
        *("runtime", _SEVERITIES.get(result.status, "error"), name),
        *(f"{runtime}: {_said(result)} ({table.date})", _REMEDIES[result.status]),
        basis="runs of like files",
    )


def _said(result: Result) -> str:
    if result.status == "right":
        return f"right, within {result.error:.1e}: {result.form}"
    if result.status == "wrong":
        return f"silently wrong, off by {result.error:.1g}: {result.form}"
    return f"{result.status}: {result.form}: {result.said}"


def _unknown(name: str, problem: str) -> Finding:
    remedy = f"rnnedge doctor --runtime {name}, where it can be run" if name in RUNTIMES else "-"
    return Finding("runtime", "note", name, f"unknown: {problem}", remedy, basis="unknown")
