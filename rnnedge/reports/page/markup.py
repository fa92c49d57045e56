"""Elements of a page. Text goes in as text: escaping is the serializer's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.etree.ElementTree import Element

from rnnedge.reports.text import printable

Child: TypeAlias = "Element | str | None"

_INLINE = frozenset({"a", "b", "code", "i", "small", "span", "strong", "text"})
"""What stays on the line of the file that it is in."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: Heading.
        measured: What the numbers are, and against what; a second line of the heading.
        number: Whether it holds numbers, which align at the right.
    """

    title: str
    measured: str = ""
    number: bool = False


def tag(name: str, /, *children: Child, **attributes: str) -> Element:
    """Return an element.

    Args:
        name: Its name.
        children: Text and elements, in their order; None is left out.
        attributes: `class_` is `class`, and other underscores are hyphens.
    """
    element = Element(
        name, {key.rstrip("_").replace("_", "-"): printable(v) for key, v in attributes.items()}
    )
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child is not None and len(element):
            element[-1].tail = (element[-1].tail or "") + printable(child)
        elif child is not None:
            element.text = (element.text or "") + printable(child)
    if name not in _INLINE:
        element.tail = "\n"
    return element


def section(name: str, title: str, *children: Child) -> Element:
    """Return a section with its heading; `name` becomes its id."""
    heading = tag("h2", title, id=name)
    return tag("section", heading, *children, aria_labelledby=name)


def table(
    name: str,
    caption: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Child]],
    failed: Iterable[bool] = (),
) -> Element:
    """Return a table that scrolls sideways by itself where it is too wide.

    Args:
        name: Its id.
        caption: What it holds; read aloud, and shown to those who do not see the page.
        columns: The columns; the first one names the row.
        rows: One cell for each column; the last cell of a shorter row takes the columns left.
        failed: For each row, whether it is marked as failed.
    """
    head = [
        tag(
            "th",
            column.title,
            tag("small", column.measured) if column.measured else None,
            scope="col",
            **_numeric(column),
        )
        for column in columns
    ]
    marks = list(failed)
    body = []
    for number, row in enumerate(rows):
        cells = [tag("th", row[0], scope="row")]
        cells += [
            tag("td", cell, **_numeric(column))
            for column, cell in zip(columns[1:], row[1:], strict=False)
        ]
        if len(row) < len(columns):
            cells[-1].attrib = {"colspan": str(len(columns) - len(row) + 1)}
        mark = {"class_": "failed"} if marks and marks[number] else {}
        body.append(tag("tr", *cells, **mark))
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, id=name),
            tag("thead", tag("tr", *head)),
            tag("tbody", *body),
        ),
        class_="scroll",
        role="region",
        tabindex="0",
        aria_labelledby=name,
    )


def _numeric(column: Column) -> dict[str, str]:
    return {"class_": "number"} if column.number else {}


def facts(pairs: Mapping[str, Child]) -> Element:
    """Return names next to values; a pair whose value is None or empty is left out."""
    kept = [(key, value) for key, value in pairs.items() if value is not None and value != ""]
    return tag(
        "dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in kept), class_="facts"
    )


def mark(*, passed: bool, words: str) -> Element:
    """Return a verdict: a symbol, words and a colour."""
    symbol = tag("span", "✓" if passed else "✕", aria_hidden="true")
    return tag("span", symbol, f" {words}", class_="mark pass" if passed else "mark fail")
