"""Printing: tables in a terminal, plain text in a pipe, JSON when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from rnnedge.errors import ParityError
from rnnedge.plain_console import PlainConsole
from rnnedge.strict_json import finite

if TYPE_CHECKING:
    from rnnedge.parity import Report

_PIPE_WIDTH = 200
"""Characters; wide enough that no row of ours is folded where nobody looks at the width."""


def print_json(value: Any) -> None:
    """Print one JSON object on one line; NaN and infinity, which JSON does not have, are null."""
    click.echo(json.dumps(finite(value), default=str, allow_nan=False))


def print_lines(*parts: str | Table) -> None:
    """Print lines and tables on stdout."""
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=_PIPE_WIDTH, color_system=None)
    for part in parts:
        if isinstance(part, Table):
            console.print_table(part)
        else:
            console.print(part, soft_wrap=True)


def refuse_unequal(report: Report, *, as_json: bool) -> NoReturn:
    """Print a report that did not pass, of a file that is not written.

    Raises:
        ParityError: Always.
    """
    if as_json:
        print_json({"written": False, "report": report.to_dict()})
    else:
        print_lines(report.table())
    raise ParityError(f"{report.verdict}; nothing was written")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, when that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
