"""What a notebook shows of a result: a sentence and a table, as HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rnnedge_runtime.printable import printable_line


def html_table(sentence: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a paragraph and a table.

    Args:
        sentence: What stands above the table.
        headings: One for each column.
        rows: The cells; what a model file names its parts is shown as text.
    """
    head = "".join(f"<th>{_text(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<p>{_text(sentence)}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _text(text: str) -> str:
    return escape(printable_line(text))
