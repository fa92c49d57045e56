"""Links of the documents lead to a file of the repository, and to a heading that it has."""

import re
from pathlib import Path

import pytest
from doc_blocks import ROOT

DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *(
        path
        for folder in ("docs", "benchmarks", "examples")
        for path in sorted((ROOT / folder).rglob("*.md"))
    ),
    ROOT / "runtime" / "README.md",
    ROOT / "native" / "README.md",
]
GENERATED = {ROOT / "docs" / "reference" / name for name in ("command_line.md", "json.md")}
"""Pages that only the site has."""
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and the site make of the headings."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = (heading.lower() for heading in re.findall(r"^#+ (.*)", prose, re.M))
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if target in GENERATED:
            continue
        assert target.exists(), f"{link} in {path.relative_to(ROOT)}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_folders_that_contributing_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE)
    assert len(folders) >= 8
    for folder in folders:
        assert (ROOT / folder).is_dir()


def test_every_example_is_in_the_table() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    there = {path.parent.name for path in (ROOT / "examples").glob("*/README.md")}
    assert set(re.findall(r"^\| \[(\w+)\]", text, re.M)) == there
