"""Draw `docs/architecture.svg` from the imports of the code: `python tools/draw_architecture.py`.

A box is a room: a folder of a package, or the modules directly in it, above and below its folders.
An arrow leads from a folder to one that two or more of its modules import, in functions too, and is
wider from four and from eight on. Modules without a folder have none. `--check` draws nothing, and
fails when the picture is not that of the code.
"""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = {
    "rnnedge": ("rnnedge", "the toolkit: sources, proof, the doctor, the command line"),
    "rnnedge_exporters": ("exporters/rnnedge_exporters", "PyTorch to ONNX"),
    "rnnedge_runtime": ("runtime/rnnedge_runtime", "the device: numpy and an engine"),
}
COLOURS = {"rnnedge": "#dbe7f6", "rnnedge_exporters": "#e3f1dc", "rnnedge_runtime": "#fbe9d2"}
PLACES: dict[str, tuple[tuple[str, ...], ...]] = {
    "rnnedge": (
        ("/above",),
        ("cli",),
        ("corpus", "triton", "app"),
        ("reports", "measuring", "doctor"),
        ("parity", "sources"),
        ("/below",),
    ),
    "rnnedge_exporters": (
        ("/above",),
        ("calibration", "c_source"),
        ("modules", "sandbox"),
        ("quantization",),
        ("lowerings",),
        ("layers", "onnx_model"),
        ("/below",),
    ),
    "rnnedge_runtime": (
        ("/above",),
        ("pool", "scoring", "decoding", "proof"),
        ("streaming", "foreign", "plan"),
        ("engine",),
        ("/below",),
    ),
}
"""Where each room is drawn, row by row: "/above" and "/below" are modules without a folder."""
PLACE_WORDS = {"above": "uses the folders", "below": "used by the folders"}
WIDTH, MARGIN, GAP, HEAD = 1100, 20, 16, 34
ROOM, WIDE, HIGH, LOW, BETWEEN = 215, 900, 74, 44, 34
SHOWN = 2
"""An arrow is drawn for so many importing modules or more."""
Graph = dict[str, set[str]]


def sources(root: Path = ROOT) -> dict[str, str]:
    """Return the source of every module by its dotted name; that of a package is its `__init__`."""
    found = {}
    for package, (folder, _) in PACKAGES.items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = path.read_text("utf-8")
    return found


def module_imports(known: Mapping[str, str]) -> Graph:
    """Return which modules each module imports, in functions too, but not for types alone."""
    return {name: set(_imports(ast.parse(text), known)) - {name} for name, text in known.items()}


def _imports(node: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name in known)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield from [name for name in (inner, child.module or "") if name in known][:1]
        else:
            yield from _imports(child, known)


def rooms(modules: Graph) -> dict[str, str]:
    """Return the room of each module.

    A module directly in a package is above its folders when it imports one of them, through others
    too, and below them when it does not.
    """
    folders = {name for name in modules if name.count(".") > 1}
    found = {name: ".".join(name.split(".")[:2]) for name in folders}
    for name in modules.keys() - folders:
        package = name.split(".")[0]
        if any(other.startswith(f"{name}.") for other in folders) and name != package:
            found[name] = name  # the __init__ of a folder
        else:
            inner = {m for m in reachable(modules, name) if m.startswith(f"{package}.")}
            found[name] = f"{package}/{'above' if inner & folders else 'below'}"
    return found


def reachable(graph: Graph, start: str) -> set[str]:
    """Return everything that `start` leads to."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph.get(waiting.pop(), set()) - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def counts(modules: Graph) -> dict[tuple[str, str], int]:
    """Return how many modules of one room import some of another, by (importer, imported)."""
    room = rooms(modules)
    found: dict[tuple[str, str], int] = defaultdict(int)
    for name, imported in modules.items():
        for other in {room[one] for one in imported} - {room[name]}:
            found[room[name], other] += 1
    return dict(found)


@dataclass(frozen=True)
class Box:
    """A drawn room: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float

    def edge(self, other: Box) -> tuple[float, float]:
        """Return where the line between two centres leaves this box."""
        (x, y), (a, b) = self.centre, other.centre
        across, down = a - x, b - y
        share = min(
            self.width / 2 / abs(across) if across else 9.0,
            self.height / 2 / abs(down) if down else 9.0,
        )
        return x + across * share, y + down * share

    @property
    def centre(self) -> tuple[float, float]:
        """The middle."""
        return self.x + self.width / 2, self.y + self.height / 2


def layout() -> tuple[dict[str, Box], dict[str, Box], float]:
    """Return the boxes of the rooms, those of the packages, and the height of the picture."""
    placed, bands, y = {}, {}, float(MARGIN)
    for package, rows in PLACES.items():
        top, y = y, y + HEAD
        for row in rows:
            space = (WIDTH - 2 * MARGIN) / len(row)
            height = HIGH if "/" not in row[0] else LOW
            for at, name in enumerate(row):
                width = min(WIDE if "/" in name else ROOM, space - GAP)
                left = MARGIN + space * at + (space - width) / 2
                full = f"{package}{name}" if "/" in name else f"{package}.{name}"
                placed[full] = Box(left, y, width, height)
            y += height + BETWEEN
        bands[package] = Box(MARGIN, top, WIDTH - 2 * MARGIN, y - top - BETWEEN + GAP)
        y += GAP * 2
    return placed, bands, y - GAP


def draw(root: Path = ROOT) -> str:
    """Return the picture as SVG.

    Raises:
        KeyError: When a room has no place in `PLACES`.
    """
    known = sources(root)
    modules = module_imports(known)
    placed, bands, height = layout()
    room = rooms(modules)
    missing = set(room.values()) ^ placed.keys()
    if missing:
        raise KeyError(f"PLACES of {Path(__file__).name}: {', '.join(sorted(missing))}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" '
        'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        '<path d="M0 0L8 4L0 8z" fill="#445"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
    ]
    for package, band in bands.items():
        lines += _band(package, band)
    lines += _arrows(counts(modules), placed)
    for name, box in placed.items():
        lines += _room(name, box, _words(name, known, room))
    return "\n".join([*lines, "</svg>", ""])


def _band(package: str, box: Box) -> Iterator[str]:
    folder, words = PACKAGES[package]
    yield _rect(box, COLOURS[package], "none", 10)
    yield (
        f'<text x="{box.x + 14:.0f}" y="{box.y + 22:.0f}">'
        f'<tspan font-weight="bold">{folder}/</tspan>'
        f'<tspan dx="10" fill="#445">{escape(words)}</tspan></text>'
    )


def _arrows(found: Mapping[tuple[str, str], int], placed: Mapping[str, Box]) -> Iterator[str]:
    """Yield a line for each pair of folders; both ends have a tip where both import each other."""
    for (importer, imported), count in sorted(found.items()):
        back = found.get((imported, importer), 0)
        drawn = count >= SHOWN and "/" not in importer + imported
        if not drawn or (back >= SHOWN and importer > imported):
            continue
        start = placed[importer].edge(placed[imported])
        end = placed[imported].edge(placed[importer])
        both = ' marker-start="url(#tip)"' if back >= SHOWN else ""
        yield (
            f'<path d="M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}" '
            f'stroke="#445" fill="none" opacity="0.75" '
            f'stroke-width="{1 + (count >= 4) + (count >= 8)}" marker-end="url(#tip)"{both}>'
            f"<title>{importer} to {imported}</title></path>"
        )


def _words(name: str, known: Mapping[str, str], room: Mapping[str, str]) -> list[str]:
    """Return what is written in a box: its title, and what is in it."""
    package, _, place = name.partition("/")
    if not place:
        words = textwrap.wrap(first_sentence(known[name]), 33, max_lines=3, placeholder=" ...")
        return [f"{name.split('.')[1]}/", *words]
    inside = sorted(one.split(".")[1] for one in room if room[one] == name and one != package)
    return [PLACE_WORDS[place], *textwrap.wrap(", ".join(inside), 165)]


def _room(name: str, box: Box, words: list[str]) -> Iterator[str]:
    x, _ = box.centre
    title, *rest = words
    yield _rect(box, "white", "#778", 6)
    yield (
        f'<text x="{x:.0f}" y="{box.y + 17:.0f}" text-anchor="middle" '
        f'font-weight="bold">{title}</text>'
    )
    for at, line in enumerate(rest):
        yield (
            f'<text x="{x:.0f}" y="{box.y + 33 + 14 * at:.0f}" text-anchor="middle" font-size="11" '
            f'fill="#333">{escape(line)}</text>'
        )


def first_sentence(source: str) -> str:
    """Return the first sentence of a module's docstring, without marks of code."""
    text = " ".join((ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0].split())
    return text.split(". ")[0].rstrip(".:").replace("`", "")


def _rect(box: Box, fill: str, stroke: str, round_by: int) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{round_by}" fill="{fill}" stroke="{stroke}"/>'
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the picture, or with `--check` return 1 when the one that is there differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args(arguments).check
    picture = draw()
    if not check:
        PICTURE.write_text(picture, encoding="utf-8")
    elif not PICTURE.exists() or PICTURE.read_text("utf-8") != picture:
        print(f"{PICTURE.name} is not the picture of this code: python tools/{Path(__file__).name}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
