"""A console that shows text as it is: what a model file names its parts is not markup."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from rnnedge_runtime.printable import printable_lines

_READABLE = 14
"""Characters of a column of text that may be folded to fewer than its longest line."""
_LONG_WORD = 20
"""Characters up to which a word of text, such as a path, is not folded; numbers never are."""
_UNBOUNDED = 10_000


class PlainConsole(Console):
    """A console of `rich` without markup, whose control characters are spelled out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render text, in a table's cells too."""
        return super().render_str(printable_lines(text), **options)

    def print_table(self, table: Table) -> None:
        """Print a table whose numbers are shown whole, whatever the width.

        Where the columns do not fit side by side, each row is a record: a line for each column.

        Args:
            table: The table; its columns get the widths that fit.
        """
        if not self.is_terminal:
            table.box = box.ASCII2  # a file or a pipe may not be UTF-8
        widths = self._widths(table)
        if widths is None:
            self._print_records(table)
            return
        for column, width in zip(table.columns, widths, strict=True):
            column.width, column.overflow = width, "fold"
        self.print(table)

    def _widths(self, table: Table) -> list[int] | None:
        """Return a width for each column, or None where they do not fit."""
        ranges = [self._range(column) for column in table.columns]
        left = self.width - sum(least for least, _ in ranges) - 3 * len(ranges) - 1
        if left < 0:
            return None
        widths = [least for least, _ in ranges]
        # What is left goes to the narrowest columns that could use it, a character at a time.
        while left:
            narrow = [n for n, (_, most) in enumerate(ranges) if widths[n] < most]
            if not narrow:
                break
            widths[min(narrow, key=widths.__getitem__)] += 1
            left -= 1
        return widths

    def _range(self, column: Column) -> tuple[int, int]:
        """Return the least and the most characters that a column can use."""
        options = self.options.update(width=_UNBOUNDED)
        cells = [Measurement.get(self, options, cell) for cell in (column.header, *column.cells)]
        word = max(cell.minimum for cell in cells)
        line = min(max(cell.maximum for cell in cells), column.max_width or _UNBOUNDED)
        if column.justify == "right":
            return word, max(word, line)
        return min(line, max(_READABLE, min(word, _LONG_WORD))), line

    def _print_records(self, table: Table) -> None:
        """Print a table as a block of lines for each row."""
        if table.title is not None:
            self.print(table.title, style="table.title", soft_wrap=True)
        rows = zip(*(column.cells for column in table.columns), strict=True)
        for cells, row in zip(rows, table.rows, strict=True):
            grid = Table.grid(padding=(0, 2))
            grid.add_column(overflow="fold", max_width=max(self.width // 3, _READABLE))
            grid.add_column(overflow="fold")
            for number, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
                header = column.header or ("" if number else "-")
                indented = f"{'  ' * bool(number)}{header}"
                grid.add_row(indented, cell)
            self.print(grid, style=row.style or "")
