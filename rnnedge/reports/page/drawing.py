"""A matplotlib figure as SVG inside a page: in the colours of its theme, with its own ids.

Colours are set in matplotlib as stand-ins, and become variables of the page's style sheet, so that
one picture serves light, dark and paper. Text stays text, in the page's font.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rnnedge.matplotlib_check import check_matplotlib
from rnnedge.reports.page.markup import tag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, MODEL, TORCH, LIMIT, ALARM, BLANK = (f"#0101{n:02x}" for n in range(7))
HEAT = tuple(f"#0102{n:02x}" for n in range(8))
HEAT_INK = tuple(f"#0103{n:02x}" for n in range(8))
_THEME = {
    INK: "currentColor",
    **{
        stand_in: f"var(--{name})"
        for stand_in, name in zip(
            (GRID, MODEL, TORCH, LIMIT, ALARM, BLANK),
            ("grid", "model", "torch", "limit", "alarm", "blank"),
            strict=True,
        )
    },
    **{stand_in: f"var(--heat-{n})" for n, stand_in in enumerate(HEAT)},
    **{stand_in: f"var(--heat-ink-{n})" for n, stand_in in enumerate(HEAT_INK)},
}
_STAND_IN = re.compile("#010[123][0-9a-f]{2}")
_REFERENCE = re.compile(r"#([\w.-]+)")
_POINTS = 72
"""Units of a picture in an inch of matplotlib's."""


def draw(
    name: str, description: str, size: tuple[float, float], paint: Callable[[Figure], None]
) -> Element:
    """Return a picture, without changing matplotlib's settings or backend.

    Args:
        name: What its ids begin with; one picture of the page has it.
        description: What it shows, for those who do not see it.
        size: Width and height in units in which text is 11 high.
        paint: Draws into an empty figure; takes its colours from this module.

    Raises:
        MissingPackageError: When matplotlib is not installed.
    """
    check_matplotlib("an HTML report")
    import matplotlib
    from matplotlib.figure import Figure

    # A user's own matplotlibrc, with TeX or a dark style in it, is for the user's own pictures.
    defaults = matplotlib.rcParamsDefault.items()
    settings: dict[Any, Any] = {k: v for k, v in defaults if not k.startswith("backend")}
    settings |= {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11}
    text = StringIO()
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(size[0] / _POINTS, size[1] / _POINTS))
        paint(figure)
        unsigned = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=unsigned)
    return _adopt(ElementTree.fromstring(text.getvalue()), name, description)


def axes_of(figure: Figure, box: tuple[float, float, float, float], x: str, y: str) -> Axes:
    """Return calm axes: named, with faint lines across.

    Args:
        figure: Where to draw.
        box: Left, bottom, width and height, as parts of the figure.
        x: Name and unit of the horizontal axis.
        y: Name and unit of the vertical axis.
    """
    axes = figure.add_axes(box)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, length=0, pad=5)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GRID)
    return axes


def _adopt(root: Element, name: str, description: str) -> Element:
    """Make matplotlib's SVG a part of the page."""
    used = set()
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.tail = None
        values = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update(values)
        used |= {found for value in values.values() for found in _REFERENCE.findall(value)}
    for element in root.iter():
        _adopt_one(element, name, used)
    for defs in root.findall("defs"):
        for style in defs.findall("style"):
            defs.remove(style)  # it is for every element of a document, and this is not one
    return tag(
        "svg",
        tag("title", description, id=f"{name}-title"),
        *root,
        viewBox=root.attrib["viewBox"],
        role="img",
        aria_labelledby=f"{name}-title",
    )


def _adopt_one(element: Element, name: str, used: set[str]) -> None:
    given = element.attrib
    if given.get("id") in used:
        given["id"] = f"{name}-{given['id']}"
    else:
        given.pop("id", None)
    for key in ("href", "clip-path"):
        if key in given:
            given[key] = _REFERENCE.sub(rf"#{name}-\1", given[key])
    if "d" in given:
        given["d"] = " ".join(given["d"].split())
    if "style" in given:
        kept = (one for one in given["style"].split("; ") if not one.startswith("font"))
        given["style"] = _STAND_IN.sub(lambda found: _THEME[found[0]], "; ".join(kept))
