"""`ScoringPlan`: which rows of which files are scored with which model, cut into parts.

Whoever makes it of the same model, options and files gets the same plan, with the same digest:
that is how a job goes on where it stopped, and how many machines share one without talking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rnnedge_runtime.errors import InputError, OptionError
from rnnedge_runtime.json_record import parse
from rnnedge_runtime.scoring.sources import RowGroup

FORMAT = 1
LONGEST = 1 << 28
"""Characters of a plan file: some 200 for each file of DATA."""
_LEAST_PART, _MOST_PART = 2 << 20, 64 << 20
"""Bytes of input of a part, but for part_rows and for rows that are larger."""
_PARTS = 32
"""Parts of a corpus that is neither small nor large: few are lost when a job stops."""
_MOST_PARTS = 100_000
"""Each is a file, and an entry of the plan."""
_PARTS_OF_GROUP = 16
"""A group of rows is read from its start for each part of it."""
_SAMPLED = 1 << 20
_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows, which are answered in one file.

    Attributes:
        number: Counts from 0.
        start: The first row, counted through all files.
        stop: The row after the last one.
        bytes: How much there is to read.
    """

    number: int
    start: int
    stop: int
    bytes: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of rows.

    Attributes:
        name: Its path in the folder of data.
        rows: Its rows.
        digest: `sha256:` of its content, or of samples of it and its size.
    """

    name: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """What is scored.

    Attributes:
        model: `sha256:` of the model file.
        options: What decides the answers, by name.
        files: The files, in the order of their rows.
        parts: The parts, in the order of their rows.
    """

    model: str
    options: Mapping[str, Any]
    files: tuple[DataFile, ...]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return self.parts[-1].stop

    @property
    def digest(self) -> str:
        """`sha256:` of all that is in it."""
        return f"sha256:{sha256(self._json().encode()).hexdigest()}"

    def to_json(self) -> str:
        """Return the content of a plan file."""
        head = {"format": FORMAT, "plan": self.digest}
        return json.dumps({**head, **json.loads(self._json())}, indent=1) + "\n"

    def _json(self) -> str:
        return json.dumps(
            {
                "model": self.model,
                "options": dict(self.options),
                "files": [asdict(file) for file in self.files],
                "parts": [asdict(part) for part in self.parts],
            },
            sort_keys=True,
        )

    def differs_from(self, text: str) -> str:
        """Return what is different in another plan, in words; nothing where they are the same.

        Args:
            text: The content of the other plan's file.

        Raises:
            ValueError: If it is not a plan.
        """
        other = parse(text, longest=LONGEST)
        if not isinstance(other, dict) or "plan" not in other:
            raise ValueError("it is not a plan")
        if other["plan"] == self.digest and other.get("format") == FORMAT:
            return ""
        mine = json.loads(self._json())
        if mine["model"] != other.get("model"):
            return "the model"
        given, options = mine["options"], other.get("options")
        if given != options:
            known = options if isinstance(options, dict) else {}
            names = [name for name in given if given[name] != known.get(name)]
            return f"the options ({', '.join(names)})" if names else "the options"
        return "the data" if mine["files"] != other.get("files") else "how it is cut into parts"


def in_turn(parts: Sequence[Part]) -> list[Part]:
    """Return parts in the order in which they are done: longest first, so that none ends late."""
    return sorted(parts, key=lambda part: (-part.bytes, part.number))


def share_of(parts: Sequence[Part], only: tuple[int, int] | None) -> list[Part]:
    """Return the parts of one share of several.

    Args:
        parts: The parts.
        only: Which share, from 1, and of how many; None is all.
    """
    ordered = in_turn(parts)
    return ordered if only is None else ordered[only[0] - 1 :: only[1]]


def cut(groups: Sequence[RowGroup], part_rows: int | None) -> tuple[Part, ...]:
    """Cut rows into parts.

    Args:
        groups: The groups of rows of all files, in order.
        part_rows: Rows of a part; None cuts by bytes.

    Returns:
        One part or more, in the order of the rows.

    Raises:
        OptionError: If they become too many parts.
    """
    total = sum(group.rows for group in groups)
    if not total:
        return (Part(0, 0, 0, 0),)
    if part_rows is not None and total > part_rows * _MOST_PARTS:
        raise OptionError(
            f"part_rows: {total:,} rows become more than {_MOST_PARTS:,} parts, got {part_rows}"
        )
    edges = [0]
    size = sum(group.bytes for group in groups)
    wanted = min(max(size // _PARTS, _LEAST_PART), _MOST_PART)
    start, waiting = 0, 0.0
    sizes: list[float] = [0.0]
    for group in groups:
        each = group.bytes / max(1, group.rows)
        per_part = max(wanted, group.bytes / _PARTS_OF_GROUP)
        at = 0
        while at < group.rows:
            room = (per_part - waiting) / each if each else group.rows
            if part_rows is not None:
                room = part_rows - (start + at - edges[-1])
            count = min(group.rows - at, max(1, int(room)))
            at += count
            waiting += count * each
            full = waiting + each > per_part if part_rows is None else False
            if full or (part_rows is not None and start + at - edges[-1] == part_rows):
                edges.append(start + at)
                sizes.append(waiting)
                waiting = 0.0
        start += group.rows
    if edges[-1] < total:
        edges.append(total)
        sizes.append(waiting)
    return tuple(
        Part(number, edges[number], edges[number + 1], int(sizes[number + 1]))
        for number in range(len(edges) - 1)
    )


def stat_digest(path: Path) -> str:
    """Return `sha256:` of a file's size and time of change, for one of very many files.

    Raises:
        InputError: If there is no such file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return content_digest(f"{found.st_size}:{found.st_mtime_ns}".encode())


def file_digest(path: Path) -> str:
    """Return `sha256:` of a file's size and content; of samples where it is large.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            made = sha256(f"{size}:".encode())
            step = _SAMPLED if size <= _SAMPLED * _SAMPLES else (size - _SAMPLED) // (_SAMPLES - 1)
            for at in range(0, size, step):
                file.seek(at)
                made.update(file.read(_SAMPLED))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return f"sha256:{made.hexdigest()}"


def content_digest(content: bytes) -> str:
    """Return `sha256:` of bytes."""
    return f"sha256:{sha256(content).hexdigest()}"
