"""The page in a real browser: on a phone and a desktop, in the light and in the dark, on paper."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browser import Browser

from rnnedge.reports import write_report

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
REPORTS = ("passing", "failing", "awkward")
COMBINATIONS = list(itertools.product(REPORTS, SIZES, ("light", "dark")))
_UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
_WIDTH = "document.scrollingElement.scrollWidth"
_VERDICT = """
(() => {
    const box = document.querySelector('#verdict').getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom];
})()
"""
# Every element with its own text, its colour, and the nearest background that is painted.
_COLOURS = """
(() => {
    const seen = {};
    for (const element of document.querySelectorAll('body *:not(svg *)')) {
        const own = [...element.childNodes].some(
            (node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!own) continue;
        let behind = element, color;
        do {
            color = getComputedStyle(behind).backgroundColor;
            behind = behind.parentElement;
        } while (color === 'rgba(0, 0, 0, 0)' && behind);
        const pair = getComputedStyle(element).color + ' on ' + color;
        seen[pair] = element.tagName + ': ' + element.textContent.slice(0, 40);
    }
    return seen;
})()
"""
_VARIABLES = """
(() => {
    const style = getComputedStyle(document.documentElement);
    const named = {};
    for (const name of %s) named[name] = style.getPropertyValue('--' + name).trim();
    return named;
})()
"""
_HEAT = [f"{kind}-{level}" for kind in ("heat", "heat-ink") for level in range(8)]
_NAMES = ["page", "blank", "alarm", "model", "torch", "limit", *_HEAT]


@dataclass(frozen=True)
class Seen:
    """What a browser made of one page.

    Attributes:
        address: Where the page is.
        width: Width of the window in CSS pixels.
        height: Height of the window.
        dark: Whether it was dark.
        requests: Every address asked for.
        complaints: What the console said.
        wide: Width of what can be scrolled to, all folded and all unfolded.
        verdict: Left, top, right and bottom of the verdict, before any scrolling.
        colours: `colour on background`, with an element that has them.
        variables: Colours of the pictures.
    """

    address: str
    width: int
    height: int
    dark: bool
    requests: list[str]
    complaints: list[str]
    wide: tuple[int, int]
    verdict: list[float]
    colours: dict[str, str]
    variables: dict[str, str]


@pytest.fixture(scope="module")
def address(folder: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    def write(name: str) -> str:
        path = folder / f"{name}.html"
        if not path.exists():
            write_report(request.getfixturevalue(name), path, command="rnnedge validate x.onnx")
        return path.as_uri()

    return write


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def seen(request: pytest.FixtureRequest, chromium: Browser, address: Callable[[str], str]) -> Seen:
    name, size, scheme = request.param
    width, height = SIZES[size]
    with chromium.open(address(name), width=width, height=height, scheme=scheme) as page:
        verdict, folded = page.evaluate(_VERDICT), page.evaluate(_WIDTH)
        page.evaluate(_UNFOLD)
        return Seen(
            address=address(name),
            width=width,
            height=height,
            dark=scheme == "dark",
            requests=page.requests,
            complaints=page.complaints,
            wide=(folded, page.evaluate(_WIDTH)),
            verdict=verdict,
            colours=page.evaluate(_COLOURS),
            variables=page.evaluate(_VARIABLES % _NAMES),
        )


def contrast(colour: str, other: str) -> float:
    """Return the contrast of WCAG 2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    brighter, darker = sorted((_luminance(colour), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    if colour.startswith("#"):
        parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        parts = [int(part) for part in re.findall(r"\d+", colour)]
        assert len(parts) == 3, f"{colour} is seen through"
    shares = [part / 255 for part in parts]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * s for weight, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_it_asks_for_nothing_but_itself(seen: Seen) -> None:
    assert [one for one in seen.requests if not one.startswith("data:")] == [seen.address]


def test_console_says_nothing(seen: Seen) -> None:
    assert seen.complaints == []


def test_page_is_no_wider_than_the_window(seen: Seen) -> None:
    assert seen.wide == (seen.width, seen.width)


def test_verdict_is_seen_without_scrolling(seen: Seen) -> None:
    left, top, right, bottom = seen.verdict
    assert 0 <= left < right <= seen.width
    assert 0 <= top < bottom <= seen.height


def test_text_can_be_read(seen: Seen) -> None:
    pairs = {pair: contrast(*pair.split(" on ")) for pair in seen.colours}
    assert len(pairs) > 3
    assert {seen.colours[pair]: ratio for pair, ratio in pairs.items() if ratio < 4.5} == {}


def test_page_is_dark_in_the_dark(seen: Seen) -> None:
    assert (_luminance(seen.variables["page"]) < 0.05) is seen.dark


@pytest.mark.parametrize("level", range(8))
def test_numbers_in_the_map_can_be_read(level: int, seen: Seen) -> None:
    inside = seen.variables[f"heat-{level}"], seen.variables[f"heat-ink-{level}"]
    assert contrast(*inside) >= 4.5


def test_words_in_the_map_can_be_read(seen: Seen) -> None:
    assert contrast(seen.variables["blank"], seen.variables["alarm"]) >= 4.5


@pytest.mark.parametrize("line", ["model", "torch", "limit", "alarm"])
def test_lines_can_be_seen(line: str, seen: Seen) -> None:
    assert contrast(seen.variables[line], seen.variables["page"]) >= 3


def test_paper_holds_what_is_folded(chromium: Browser, address: Callable[[str], str]) -> None:
    visible = "document.querySelector('#cases-table').closest('table').checkVisibility()"
    with chromium.open(address("failing"), width=720, height=1000) as page:
        assert page.evaluate(visible) is False
    with chromium.open(address("failing"), width=720, height=1000, media="print") as page:
        assert page.evaluate(visible) is True
        assert page.evaluate(_WIDTH) == 720


def test_paper_is_white_in_the_dark(chromium: Browser, address: Callable[[str], str]) -> None:
    with chromium.open(
        address("failing"), width=720, height=1000, scheme="dark", media="print"
    ) as page:
        colours: dict[str, Any] = page.evaluate(_VARIABLES % ["page"])
    assert colours == {"page": "#ffffff"}


def test_the_checks_above_can_fail(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><meta name='viewport' content='width=device-width'>"
        "<img src='http://127.0.0.1:9/x.png'><div style='width: 2000px'>wide</div>"
        "<p style='color: #777; background: #888'>faint</p>"
        "<script>console.error('said'); throw new Error('thrown')</script>"
    )
    with chromium.open(path.as_uri(), width=390, height=844) as page:
        assert page.requests == [path.as_uri(), "http://127.0.0.1:9/x.png"]
        assert page.evaluate(_WIDTH) >= 2000
        assert any("said" in complaint for complaint in page.complaints)
        assert any("Uncaught" in complaint for complaint in page.complaints)
        faint = [pair for pair in page.evaluate(_COLOURS) if "119" in pair]
    assert [contrast(*pair.split(" on ")) for pair in faint] == [pytest.approx(1.26, abs=0.01)]
