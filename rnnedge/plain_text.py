"""A report as plain text: what `str` gives, and what stands in a log."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from rich.table import Table

from rnnedge.plain_console import PlainConsole

_WIDTH = 150


def plain_text(table: Table, lines: Iterable[str]) -> str:
    """Return a table, and lines under it that are not folded."""
    text = StringIO()
    console = PlainConsole(file=text, width=_WIDTH, color_system=None)
    console.print_table(table)
    for line in lines:
        console.print(line, soft_wrap=True)
    return text.getvalue().rstrip()
