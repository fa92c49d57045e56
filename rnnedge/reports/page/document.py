"""A page around its sections: one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from importlib.resources import files
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rnnedge.reports.page.markup import Child, tag

# With this policy, a browser cannot load anything: the page is proof of itself.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, *sections: Child) -> Element:
    """Return a page; a section that is None is left out."""
    style = files("rnnedge.reports.page").joinpath("page.css").read_text("utf-8")
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
