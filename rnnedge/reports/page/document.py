"""A page around its sections: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Protocol
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rnnedge.reports.page.markup import Child, tag

# With this policy, a browser cannot load anything: the page is proof of itself.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Judged(Protocol):
    """What passed or failed; truthy if it passed."""

    @property
    def word(self) -> str:
        """The first word of the verdict, such as `PASS`."""

    @property
    def verdict(self) -> str:
        """One sentence, which begins with the word."""


def heading(found: Judged, about: str, model: str, *details: Child) -> Element:
    """Return the top of a page, in the colour of its verdict.

    Args:
        found: What it is about.
        about: What was done, in a line.
        model: What it was done with.
        details: What follows the verdict; a part that is None is left out.
    """
    symbol = tag("span", "✓" if found else "✕", class_="symbol", aria_hidden="true")
    return tag(
        "header",
        tag("p", about, class_="eyebrow"),
        tag(
            "h1",
            tag("span", symbol, f" {found.word}", id="verdict"),
            " ",
            tag("span", model, class_="model"),
        ),
        tag("p", found.verdict.removeprefix(f"{found.word}: "), class_="sentence"),
        *details,
        class_="verdict pass" if found else "verdict fail",
    )


def page(title: str, *sections: Child) -> Element:
    """Return a page; a section that is None is left out."""
    sheets = ("rnnedge", "theme.css"), ("rnnedge.reports.page", "page.css")
    style = "\n".join(files(home).joinpath(name).read_text("utf-8") for home, name in sheets)
    return tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("link", rel="icon", href="data:,"),  # else a browser asks the server for one
            tag("title", title),
            tag("style", style),
        ),
        tag("body", tag("main", *sections)),
        lang="en",
    )


def page_text(root: Element) -> str:
    """Return a page as text."""
    text = ElementTree.tostring(root, encoding="unicode", method="html")
    return f"<!doctype html>\n{text}\n"
