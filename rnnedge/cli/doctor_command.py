"""`rnnedge doctor model.onnx`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import OUTPUT, force_option, json_option
from rnnedge.cli.output import print_json, print_lines
from rnnedge.errors import UnhealthyError
from rnnedge_runtime.printable import printable_lines

if TYPE_CHECKING:
    from rnnedge.doctor import Examination, Finding, Treatment

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.command(
    cls=Command,
    short_help="Examine an ONNX file of any maker, and repair it.",
    examples=(
        "rnnedge doctor model.onnx",
        "rnnedge doctor model.onnx --runtime openvino --runtime webgpu",
        "rnnedge doctor model.onnx --for tract",
        "rnnedge doctor model.onnx --fix mended.onnx",
    ),
    extra="one MODEL is examined at a time; a repaired copy is --fix {extra}",
)
@click.argument("model", type=FILE)
@option(
    "--fix",
    "output",
    group=OUTPUT,
    type=FILE,
    help="Repair what can be proven, and write it to this .onnx file.",
)
@option(
    "--runtime",
    "runtimes",
    group="The examination",
    multiple=True,
    shown="all of them, as notes",
    callback=lambda context, option, given: _known(given),
    help="What the model is meant for, such as cuda, webgpu or openvino: what goes wrong there "
    "counts; may be given again. The model is run in those that are installed and can be run.",
)
@option(
    "--for",
    "intended",
    group="The examination",
    multiple=True,
    metavar="NAME",
    callback=lambda context, option, given: _intended(given),
    help="What will happen in this runtime, such as tract, mnn or rnnedge-wasm, from runs of like "
    "files, without running MODEL there; may be given again.",
)
@option(
    "--time-limit",
    group="The examination",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    help="Seconds that one run of MODEL may take.",
)
@force_option
@json_option
def doctor(
    model: str,
    output: str | None,
    runtimes: tuple[str, ...],
    intended: tuple[str, ...],
    time_limit: float,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Examine MODEL, an ONNX file of any maker, for what goes wrong on a device.

    It is read, and run in a separate process at several sizes. Exit code 3 when there is an
    error: in MODEL, or with --fix in the repaired file.
    """
    if intended and output is not None:
        raise click.UsageError("--for: cannot be combined with --fix: examine what it wrote")
    if output is None:
        from rnnedge.doctor import examine

        diagnosis = examine(model, runtimes=runtimes, intended=intended, time_limit=time_limit)
        if as_json:
            print_json(diagnosis.to_dict())
        else:
            _show(diagnosis)
    else:
        from rnnedge.doctor import fix

        found: list[Examination] = []
        try:
            treatment = fix(
                model,
                output,
                runtimes=runtimes,
                time_limit=time_limit,
                force=force,
                examined=found.append if as_json else _show,
            )
        except Exception:  # what was found is printed, whatever becomes of the repair
            if found:
                print_json(found[0].to_dict())
            raise
        diagnosis = treatment.after
        if as_json:
            print_json(treatment.to_dict())
        else:
            print_lines(*_told(treatment))
    if not diagnosis:
        raise UnhealthyError(diagnosis.verdict)
    if not as_json:
        print_lines(diagnosis.verdict)


def _known(given: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a runtime that there are no rules for; they load only when one is named."""
    if given:
        from rnnedge.doctor.checks.runtimes import RUNTIMES

        unknown = [name for name in given if name not in RUNTIMES]
        if unknown:
            raise click.BadParameter(f"expected one of {', '.join(RUNTIMES)}, got {unknown[0]!r}")
    return given


def _intended(given: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a runtime that nothing is known of."""
    if given:
        from rnnedge.doctor.checks.intended import known_runtimes

        known = known_runtimes()
        unknown = [name for name in given if name not in known]
        if unknown:
            raise click.BadParameter(f"expected one of {', '.join(known)}, got {unknown[0]!r}")
    return given


def _show(diagnosis: Examination) -> None:
    print_lines(*(f"{diagnosis.model}: {fact}" for fact in diagnosis.facts))
    if diagnosis.general:
        print_lines(_table(diagnosis.general))
        if any(finding.fixable for finding in diagnosis.general):
            print_lines(
                "--fix may mend what is marked so: it tries, proves the outcome, and writes"
            )
    if diagnosis.runtimes:
        table = Table(title="on other runtimes", title_justify="left")
        for heading in ("runtime", "what happens", "known from", "what to do"):
            table.add_column(heading)
        for finding in diagnosis.runtimes:
            style = _STYLES[finding.severity]
            where = Text(printable_lines(finding.where), style)
            table.add_row(where, finding.problem, finding.basis or "-", finding.remedy)
        print_lines(table)


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(title="findings", title_justify="left", show_lines=True)
    table.add_column("severity")
    table.add_column("where", max_width=30)
    table.add_column("what is wrong -> what to do")
    table.add_column("--fix")
    for finding in findings:
        table.add_row(
            Text(finding.severity, _STYLES[finding.severity]),
            finding.where,
            f"{finding.problem}\n-> {finding.remedy}",
            "may" if finding.fixable else "-",
        )
    return table


def _told(treatment: Treatment) -> Iterator[str]:
    for repair in treatment.repairs:
        yield f"repaired: {repair.name}"
        yield from (f"  {change}" for change in repair.changes)
        yield from (f"  proof: {proof}" for proof in repair.proofs)
    yield from (f"not done: {reason}" for reason in treatment.reasons)
    yield f"wrote {treatment.output} (sha256 {treatment.sha256[:12]})"
    yield from (
        f"  left: {finding.severity}: {finding.where}: {finding.problem} -> {finding.remedy}"
        for finding in treatment.after.general
    )
