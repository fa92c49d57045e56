"""An earlier measurement of the same machine, to compare with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnnedge.measuring.machine import Machine, this_machine
from rnnedge.measuring.results import FORMAT, OWN, Benchmark
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.errors import InputError

Row = tuple[int | None, int]
"""Steps, None for those of one through a stream, and rows."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was measured earlier.

    Attributes:
        path: The file.
        model: The model that was measured.
        device: Where it ran.
        threads: Threads inside one operator.
        options: Further settings of ONNX Runtime, in words.
        machine: The machine.
        p50_ms: Median time of the model by shape.
    """

    path: str
    model: str
    device: str
    threads: int
    options: str
    machine: Machine
    p50_ms: Mapping[Row, float]

    def check(self, rows: Iterable[Row]) -> None:
        """Check that there is something to compare, before anything is measured.

        Args:
            rows: What is to be measured now, on this machine.

        Raises:
            InputError: When the machine is another one, or no shape is in both.
        """
        differences = self.machine.differences(this_machine())
        if differences:
            raise InputError(
                f"{self.path}: measured on another machine: {', '.join(differences)}: measure "
                "both on one"
            )
        if not self.p50_ms.keys() & set(rows):
            raise InputError(
                f"{self.path}: no shape of it is measured now: give --time, --batch and --stream "
                "as they were"
            )

    def compare(self, now: Benchmark) -> dict[Row, float]:
        """Return how many times as fast the model is now, for each shape that both have."""
        return {
            row: self.p50_ms[row] / p50_ms for row, p50_ms in _medians(now) if row in self.p50_ms
        }

    def changes(self, now: Benchmark) -> list[str]:
        """Say what has changed since then, apart from the time."""
        changes = [
            f"{name} {getattr(self, name)} then, {getattr(now, name)} now"
            for name in ("model", "device", "threads")
            if getattr(self, name) != getattr(now, name)
        ]
        options = _in_words(now.options)
        if self.options != options:
            changes.append(f"session options: {self.options} then, {options} now")
        before, after = self.machine.versions, now.machine.versions
        return changes + [
            f"{name} {before[name]} then, {after[name]} now"
            for name in before
            if name in after and before[name] != after[name]
        ]


def read_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Read what `rnnedge bench --json` printed earlier.

    Raises:
        InputError: When it cannot be read, or is something else.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InputError(f"{name}: expected what rnnedge bench --json printed: {said}") from error
    try:
        if values["format"] != FORMAT:
            raise InputError(
                f"{name}: measured in format {values['format']!r}, and this version reads "
                f"{FORMAT}: measure again"
            )
        return Baseline(
            path=name,
            model=values["model"],
            device=values["device"],
            threads=values["threads"],
            options=_in_words(EngineOptions(**values.get("options", {}))),
            machine=Machine.from_mapping(values["machine"]),
            p50_ms=dict(_read_medians(values)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: expected what rnnedge bench --json printed") from error


def _in_words(options: EngineOptions) -> str:
    return ", ".join(options.changed) or "the default"


def _medians(now: Benchmark) -> Iterator[tuple[Row, float]]:
    for result in now.shapes:
        yield (result.shape.time, result.shape.batch), result.own.p50_ms
    for stream in now.streams:
        yield (None, stream.batch), stream.latency.p50_ms


def _read_medians(values: Mapping[str, Any]) -> Iterator[tuple[Row, float]]:
    for row in values["shapes"]:
        yield (row["time"], row["batch"]), float(row["latency"][OWN]["p50_ms"])
    for row in values["streams"]:
        yield (None, row["batch"]), float(row["latency"]["p50_ms"])
