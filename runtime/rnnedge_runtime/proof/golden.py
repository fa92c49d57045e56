"""Golden vectors: inputs of a model, and the outputs of its PyTorch source for them.

They lie next to a copy of the model in the layout of ONNX's own tests, which other programs read:

    model.onnx
    test_data_set_0/input_0.pb, input_1.pb, …, output_0.pb, …
    test_data_set_1/…
    golden.json                            their source, and the allowed error of each output

`golden.json` is written by rnnedge only. The toolkit writes vectors
(`rnnedge.golden_vectors`), and `rnnedge_runtime.proof.golden_check` checks a model against
them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rnnedge_runtime.atomic_file import restore_folder
from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import GoldenError
from rnnedge_runtime.json_record import parse
from rnnedge_runtime.missing_file import no_such_file
from rnnedge_runtime.tensor_file import read_tensor

RECORD = "golden.json"
MODEL = "model.onnx"
SET = "test_data_set_"
FORMAT_VERSION = 1
"""The newest format of the record that this version reads and writes."""

_LONGEST_RECORD = 1 << 22
"""Characters of the record: it has some 200 for each set."""

_T = TypeVar("_T")


def position(index: int) -> str:
    """Return the replacement for the name of a tensor without one, at `index` from 0."""
    return f"#{index}"


@dataclass(frozen=True, slots=True, eq=False)
class GoldenSet:
    """One call of the model.

    Attributes:
        case: A description, such as `time 5, batch 2, random state`; may be empty.
        inputs: Every graph input by name, including lengths and states, with the dtype and axes of
            the model; a tensor without a name by its `position`.
        outputs: Every expected graph output, likewise.
        allowed: The absolute error allowed in each output, 0 or more; None if it is not known.
        directory: Name of its folder, `test_data_set_0`; empty before it is written.
        allowed_by_row: The same as `allowed` for an engine that rounds each row of a file that
            computes in int8 over its own range, and not all rows over one; None for other files.
    """

    case: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    allowed: Mapping[str, float] | None = None
    directory: str = ""
    allowed_by_row: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """Raise a `GoldenError` if the set has no outputs, or `allowed` does not fit it."""
        if not self.case.isprintable():
            raise GoldenError(f"case: expected one line of printable text, got {self.case!r}")
        if not self.outputs:
            raise GoldenError(f"{self}: expected one output or more, got none")
        for allowed in (self.allowed, self.allowed_by_row):
            if allowed is not None:
                self._check(allowed)

    def _check(self, allowed: Mapping[str, float]) -> None:
        if set(allowed) != set(self.outputs):
            raise GoldenError(
                f"{self}: expected the allowed error of {', '.join(self.outputs)}, "
                f"got that of {', '.join(allowed) or 'none'}"
            )
        for name, error in allowed.items():
            if not 0 <= error < math.inf:
                raise GoldenError(
                    f"{self}: allowed error of {name}: expected 0 or more and finite, got {error}"
                )

    def to_record(self) -> dict[str, Any]:
        """Return what the record has of the set."""
        record = {
            "directory": self.directory,
            "case": self.case,
            "allowed": dict(self.allowed or {}),
        }
        if self.allowed_by_row is not None:
            record["allowed_by_row"] = dict(self.allowed_by_row)
        return record

    def __str__(self) -> str:
        """Return the folder and the case."""
        return f"{self.directory or 'set'} ({self.case})" if self.case else self.directory or "set"


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """All vectors of one folder.

    Attributes:
        sets: One or more.
        reference: The source of the expected outputs, such as `PyTorch 2.13.0 float64`; None
            without a `golden.json`, like the digest.
        model_sha256: Digest of the model file that the vectors were made with, 64 hexadecimal
            digits.
        versions: Package name to version, of the packages that wrote the vectors.
        made: When, on which processor, by which command and from which source they were made, by
            name; empty where that is not known.
    """

    sets: tuple[GoldenSet, ...]
    reference: str | None = None
    model_sha256: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise a `GoldenError` if a text has the wrong form."""
        if not (self.reference or "").isprintable():
            raise GoldenError(
                f"reference: expected one line of printable text, got {self.reference!r}"
            )
        if self.model_sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.model_sha256):
            raise GoldenError(
                f"model_sha256: expected 64 hexadecimal digits, got {self.model_sha256!r}"
            )

    def to_json(self) -> str:
        """Return the text of `golden.json`, which depends only on the values."""
        record = {
            "format": FORMAT_VERSION,
            "model": MODEL,
            "model_sha256": self.model_sha256,
            "reference": self.reference,
            "versions": dict(self.versions),
            "made": dict(self.made),
            "sets": [vectors.to_record() for vectors in self.sets],
        }
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def read_golden(directory: str | os.PathLike[str]) -> Golden:
    """Read the vectors in a folder.

    Args:
        directory: A folder with `test_data_set_0` and any others, and `golden.json` if rnnedge
            wrote them.

    Returns:
        All sets.

    Raises:
        GoldenError: If there are none, a file is missing, cut off or has the wrong content, or
            `golden.json` has a newer format or lists other folders.
    """
    folder = Path(directory)
    restore_folder(folder)
    try:
        if not folder.is_dir():
            missing = no_such_file(
                folder, what="folder", meant=lambda path: (path / f"{SET}0").is_dir()
            )
            raise GoldenError(f"{folder}: expected a folder with {SET}0, {missing}")
        names = [path.name for path in folder.iterdir() if path.is_dir()]
        names = [name for name in names if re.fullmatch(f"{SET}[0-9]+", name)]
        if not names:
            raise GoldenError(f"{folder}: expected a folder {SET}0 in it, as ONNX's tests have")
        names.sort(key=lambda name: (int(name.removeprefix(SET)), name))
        if (folder / RECORD).exists():
            return _with_record(folder, names)
        return Golden(tuple(_read_set(folder, name, "") for name in names))
    except OSError as error:
        raise GoldenError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _with_record(folder: Path, names: list[str]) -> Golden:
    path = folder / RECORD
    with path.open(encoding="utf-8") as file:
        try:
            values = parse(file.read(_LONGEST_RECORD + 1), longest=_LONGEST_RECORD)
            version = values["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise GoldenError(
                f"{path} is not a readable record of golden vectors: write or copy them again"
            ) from error
    if type(version) is not int or version > FORMAT_VERSION:
        raise GoldenError(
            f"{path} has format {version!r}, and this version reads formats up to "
            f"{FORMAT_VERSION}: update rnnedge-runtime, or write the vectors again"
        )
    try:
        items = {_take(item, "directory", str): item for item in _take(values, "sets", list)}
        if set(items) != set(names):
            raise GoldenError(
                f"{path} lists {', '.join(items) or 'no sets'}, and its folder has "
                f"{', '.join(names)}: write or copy them again"
            )
        return Golden(
            sets=tuple(
                replace(
                    _read_set(folder, name, _take(items[name], "case", str)),
                    allowed=_allowed(items[name], "allowed"),
                    allowed_by_row=_allowed(items[name], "allowed_by_row", needed=False),
                )
                for name in names
            ),
            reference=_take(values, "reference", str),
            model_sha256=_take(values, "model_sha256", str),
            versions=_take(values, "versions", dict),
            made=_take(values, "made", dict) if "made" in values else {},
        )
    except (TypeError, KeyError, OverflowError) as error:
        raise GoldenError(f"{path} is damaged ({error}): write or copy it again") from error


def _take(item: Any, key: str, kind: type[_T]) -> _T:
    value = item[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key}: expected {kind.__name__}, got {value!r}")
    return value


def _allowed(item: Any, key: str, *, needed: bool = True) -> dict[str, float] | None:
    if not needed and key not in item:
        return None
    allowed = _take(item, key, dict)
    for name, error in allowed.items():
        if type(error) not in (int, float):
            raise TypeError(f"allowed error of {name}: expected a number, got {error!r}")
    return {name: float(error) for name, error in allowed.items()}


def _read_set(folder: Path, name: str, case: str) -> GoldenSet:
    return GoldenSet(
        case=case,
        inputs=_read_tensors(folder / name, "input"),
        outputs=_read_tensors(folder / name, "output"),
        directory=name,
    )


def _read_tensors(folder: Path, kind: str) -> dict[str, Array]:
    found = {p.name for p in folder.iterdir() if re.fullmatch(f"{kind}_[0-9]+[.]pb", p.name)}
    files = [f"{kind}_{index}.pb" for index in range(len(found))]
    if set(files) != found:
        missing = next(file for file in files if file not in found)
        raise GoldenError(f"{folder}: expected {missing} next to {', '.join(sorted(found))}")
    tensors: dict[str, Array] = {}
    for index, file in enumerate(files):
        path = folder / file
        name, values = read_tensor(path.read_bytes(), str(path))
        name = name or position(index)
        if name in tensors:
            raise GoldenError(f"{path}: expected a unique name, got {name} a second time")
        tensors[name] = values
    return tensors
