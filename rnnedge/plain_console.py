"""A console that shows text as it is: what a model file names its parts is no markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from rnnedge_runtime.printable import printable_lines


class PlainConsole(Console):
    """A console of `rich` without markup, whose control characters are spelled out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Render text, in a table's cells too."""
        return super().render_str(printable_lines(text), **options)
