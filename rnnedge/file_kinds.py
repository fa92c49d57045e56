"""The kinds of files that the toolkit reads and writes: of sources, reports and plots."""

from __future__ import annotations

import json
import os
from typing import BinaryIO, TypeGuard
from xml.etree import ElementTree

from rnnedge_runtime.write_target import Kinds

_BEGINNING = 1024
"""Bytes read from the start of a file."""


def is_onnx(source: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a source is an ONNX file, by its name."""
    return isinstance(source, str | os.PathLike) and os.fspath(source).lower().endswith(".onnx")


def is_html(file: BinaryIO) -> bool:
    """Whether a file is an HTML page."""
    start = file.read(_BEGINNING).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def is_json(file: BinaryIO) -> bool:
    """Whether a file is a JSON object or array."""
    try:
        return isinstance(json.loads(file.read()), dict | list)
    except (ValueError, RecursionError):
        return False


def is_junit(file: BinaryIO) -> bool:
    """Whether a file is JUnit XML; models of other frameworks are XML too."""
    return _root(file) in ("testsuites", "testsuite")


def is_svg(file: BinaryIO) -> bool:
    """Whether a file is an SVG picture."""
    return _root(file) == "{http://www.w3.org/2000/svg}svg"


def is_png(file: BinaryIO) -> bool:
    """Whether a file is a PNG picture."""
    return file.read(8) == b"\x89PNG\r\n\x1a\n"


def is_pdf(file: BinaryIO) -> bool:
    """Whether a file is a PDF document."""
    return file.read(5) == b"%PDF-"


def _root(file: BinaryIO) -> str:
    """Return the name of the outermost element of an XML file; empty for any other file."""
    try:
        _, element = next(ElementTree.iterparse(file, events=("start",)))
        return str(element.tag)
    except (ElementTree.ParseError, StopIteration, ValueError, LookupError):
        return ""


REPORTS: Kinds = {".html": is_html, ".json": is_json, ".xml": is_junit}
COMPARISONS: Kinds = {".html": is_html, ".json": is_json}
PLOTS: Kinds = {".png": is_png, ".svg": is_svg, ".pdf": is_pdf}
