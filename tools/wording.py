"""Find retired phrases in messages, docstrings, comments and documents: `python tools/wording.py`.

The phrases are in `retired_phrases.toml`, each with what to write instead.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PHRASES = Path(__file__).with_name("retired_phrases.toml")
SUFFIXES = (".py", ".md", ".c", ".h", ".toml", ".yml", ".yaml", ".sh", ".html", ".css")
SKIPPED = (
    "tools/retired_phrases.toml",
    "tests/tools/test_wording.py",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)
"""The list itself, its tests, the glossary, and the history of released versions."""


@dataclass(frozen=True)
class Phrase:
    """A pattern, what to write instead, and the words that show what it is meant to find."""

    pattern: re.Pattern[str]
    instead: str
    example: str
    fine: str


@dataclass(frozen=True)
class Text:
    """A piece of prose with its white space made single, and the line that it begins at."""

    line: int
    words: str


@dataclass(frozen=True)
class Finding:
    """A retired phrase in a file."""

    path: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: write {self.instead}"


def phrases(path: Path = PHRASES) -> list[Phrase]:
    """Read the list of retired phrases."""
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["phrase"]
    return [
        Phrase(
            re.compile(entry["pattern"], re.IGNORECASE),
            entry["instead"],
            entry["example"],
            entry.get("fine", ""),
        )
        for entry in entries
    ]


def texts(content: str, suffix: str) -> Iterator[Text]:
    """Yield the prose of a file: strings and comments of Python, paragraphs of anything else."""
    if suffix == ".py":
        yield from _strings(content)
        yield from _comments(content)
    else:
        yield from _paragraphs(content)


def findings(path: str, content: str, known: list[Phrase]) -> Iterator[Finding]:
    """Yield every retired phrase in a file.

    Args:
        path: Its name, whose suffix decides how it is read.
        content: What is in it.
        known: The phrases to look for.
    """
    for text in texts(content, Path(path).suffix):
        if " " not in text.words:
            continue  # a key or an id
        for phrase in known:
            for match in phrase.pattern.finditer(text.words):
                around = text.words[max(0, match.start() - 20) : match.end() + 20]
                yield Finding(path, text.line, around, phrase.instead)


def _strings(content: str) -> Iterator[Text]:
    """Yield string literals; adjacent ones are one text, and values in f-strings become `{}`."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(child) for child in ast.walk(node)}
            parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            yield _text(node.lineno, "".join(map(str, parts)))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield _text(node.lineno, node.value)


def _comments(content: str) -> Iterator[Text]:
    """Yield comments; those of consecutive lines are one text."""
    begun, last, words = 0, -1, ""
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if line != last + 1 and words:
            yield _text(begun, words)
            words = ""
        begun = begun if words else line
        words, last = f"{words} {token.string.lstrip('#')}", line
    if words:
        yield _text(begun, words)


def _paragraphs(content: str) -> Iterator[Text]:
    """Yield blocks between empty lines, without the marks that begin lines of comments."""
    line = 1
    for block in re.split(r"(\n\s*\n)", content):
        yield _text(line, re.sub(r"^\s*(#+|\*|//|/\*+|>)", " ", block, flags=re.MULTILINE))
        line += block.count("\n")


def _text(line: int, words: str) -> Text:
    return Text(line, " ".join(words.split()))


def tracked(root: Path = ROOT) -> list[str]:
    """Return the files to read: those that git knows, or is about to."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        path
        for path in sorted(set(listed))
        if path.endswith(SUFFIXES) and path not in SKIPPED and (root / path).is_file()
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print what is found, one line each; return 1 when there is anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files to read [all that git knows]")
    given = parser.parse_args(arguments).paths
    known, count = phrases(), 0
    for path in given or tracked():
        for finding in findings(path, (ROOT / path).read_text("utf-8"), known):
            print(finding)
            count += 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
