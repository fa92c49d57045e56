"""Reads the code blocks of a page, and what has to be true before they run.

A fenced block may stand under a comment:

    <!-- not run: needs a microphone -->    it is left out, for this reason
    <!-- setup                              Python that prepares the folder; readers do not see it
    ...
    -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_PIECE = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^(?:<!-- not run: (?P<reason>[^\n]*?) -->\n\n?)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block, or a setup.

    Attributes:
        page: Path in the repository.
        line: Where its text begins.
        language: `python`, `console`, ...; `setup` for a comment that prepares the folder.
        text: The code.
        reason: Why it is not run; empty when it is.
        before: The text of the page between the block before and this one.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str = ""
    before: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A line of a console block after `$`, and the output that the page shows, if any."""

    words: str
    shown: str

    @property
    def exit_code(self) -> int:
        """What the command ends with, as the last line of its output tells."""
        last = self.shown.rstrip().rpartition("\n")[2]
        errors = [line for line in self.shown.splitlines() if line.startswith("rnnedge: ")]
        if not errors:
            return 0
        return 3 if "FAIL" in last or "FAIL" in errors[-1] else 1


def read_blocks(path: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = path.read_text(encoding="utf-8")
    page = path.relative_to(ROOT).as_posix()
    blocks, end = [], 0
    for found in _PIECE.finditer(text):
        setup, before = found["setup"], text[end : found.start()]
        line = text.count("\n", 0, found.start("text" if setup is None else "setup")) + 1
        end = found.end()
        if setup is not None:
            blocks.append(Block(page, line, "setup", setup))
        else:
            code = re.sub(rf"(?m)^{found['indent']}", "", found["text"])
            blocks.append(Block(page, line, found["language"], code, found["reason"] or "", before))
    return blocks


def read_commands(block: Block) -> list[Command]:
    """Return the commands of a console block; a line that ends in a backslash goes on."""
    joined = block.text.replace("\\\n", " ")
    commands: list[Command] = []
    for part in re.split(r"(?m)^\$ ", joined)[1:]:
        words, _, shown = part.partition("\n")
        commands.append(Command(re.sub(r"\s+# .*", "", words), shown))
    return commands


def pages() -> list[Path]:
    """Return the documents with blocks to run; the README is run by its own test."""
    return sorted((ROOT / "docs").rglob("*.md"))
