"""`rnnedge compare a.onnx b.onnx DATA`."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import OPENED, OUTPUT, PROOF, force_option, json_option
from rnnedge.cli.output import print_json, print_lines, progress_bar
from rnnedge.errors import UnequalError

_RUNTIME = click.Choice(["auto", "onnxruntime", "native"])
_CORPUS = "The corpus"
_SOME_FAILED = 4
"""Exit code: rows of the corpus could not be scored."""


@click.command(
    cls=Command,
    short_help="Compare what two models answer to the rows of a corpus.",
    examples=(
        "rnnedge compare model.onnx small.onnx rows.npz",
        "rnnedge compare model.onnx small.onnx rows.npz --max-difference 1 -o c.html",
    ),
    extra="two models and one corpus are compared; the report is -o {extra}",
)
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.argument("data", type=FILE)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    type=FILE,
    help="A report to write: .html, one page, or .json, every number.",
)
@option(
    "--column",
    "columns",
    group=_CORPUS,
    shown="the input's own name",
    multiple=True,
    metavar="INPUT=COLUMN",
    callback=lambda context, option, given: _columns(given),
    help="The column of DATA that holds an input, such as input=frames; may be given again.",
)
@option(
    "--id",
    group=_CORPUS,
    metavar="COLUMN",
    shown="id, where there is one",
    help="The column with a name for each row.",
)
@option(
    "--reader",
    group=_CORPUS,
    metavar="FUNCTION",
    help="package.module:function that reads a file of one row.",
)
@option("--runtime-a", group=OPENED, type=_RUNTIME, default="auto", help="What runs A.")
@option("--runtime-b", group=OPENED, type=_RUNTIME, default="auto", help="What runs B.")
@option("--memory", group=OPENED, metavar="SIZE", default="512MB", help="What each side may use.")
@option(
    "--max-disagreement",
    group=PROOF,
    type=click.FloatRange(0, 1),
    help="The largest share of rows whose largest score may differ, from 0 to 1.",
)
@option(
    "--max-difference",
    group=PROOF,
    type=click.FloatRange(min=0),
    help="The largest absolute difference allowed.",
)
@force_option
@json_option
def compare(
    a: str,
    b: str,
    data: str,
    output: str | None,
    columns: dict[str, str],
    id: str | None,
    reader: str | None,
    runtime_a: Any,
    runtime_b: Any,
    memory: str,
    max_disagreement: float | None,
    max_difference: float | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Compare what two models answer to the rows of a corpus.

    A and B are .onnx files: float32 and int8, an old model and a new one, or one file with two
    engines. One of them may be a folder of answers that `rnnedge score --keep all` wrote, here or
    on another device. DATA is Parquet, Arrow, Feather or npz, or a folder of them or of npy files.

    The largest score of a row is that of its last step; differences are those of all steps. Exit
    code 3 when a limit is exceeded, 4 when a side could not score all rows of DATA.
    """
    from rnnedge.corpus.compare import compare as compare_corpus

    read = (a, b, data)
    if output is not None:
        from rnnedge.file_kinds import COMPARISONS
        from rnnedge.reports import check_report_path

        check_report_path(output, COMPARISONS, protected=read, force=force)
    with progress_bar("rows") as progress:
        found = compare_corpus(
            *read,
            columns=columns,
            id=id,
            reader=reader,
            runtimes=(runtime_a, runtime_b),
            budget=memory,
            max_disagreement=max_disagreement,
            max_difference=max_difference,
            progress=progress,
        )
    if output is not None:
        from rnnedge.corpus.page import write_comparison

        command = shlex.join(["rnnedge", *sys.argv[1:]])
        write_comparison(found, output, command=command, protected=read, force=force)
    if as_json:
        print_json({**found.to_dict(), "written": output})
    else:
        print_lines(found.table(), found.worst_table(), *found.lines())
        if output is not None:
            print_lines(f"wrote {output}")
    if not found:
        raise UnequalError(found.verdict)
    if not as_json:
        print_lines(found.verdict)
    if found.failed or found.one_sided:
        click.get_current_context().exit(_SOME_FAILED)


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    columns = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            meant = f", such as input={name}" if name and not equals else ""
            raise click.BadParameter(f"expected INPUT=COLUMN{meant}, got {text!r}")
        columns[name] = column
    return columns
