"""The command `score`, as `rnnedge` and `python -m rnnedge_runtime` have it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rnnedge_runtime.errors import OptionError
from rnnedge_runtime.scoring.corpus import ScoreResult, score
from rnnedge_runtime.scoring.progress import ProgressLine

SOME_FAILED = 4
"""The exit code when rows have errors."""


def score_command(
    model: str,
    data: str,
    out: str,
    *,
    column: Sequence[str] = (),
    constant: Sequence[str] = (),
    memory: str = "512MB",
    **options: Any,
) -> tuple[ScoreResult, int]:
    """Score files, with the progress on stderr.

    Args:
        model: As `score` takes it.
        data: As `score` takes it.
        out: As `score` takes it.
        column: `input=column` for each input.
        constant: `input=number` for each input that is the same for every row.
        memory: The budget.
        options: What else `score` takes, by name.

    Returns:
        What was done, and the exit code.

    Raises:
        RnnEdgeError: As `score` raises it.
    """
    if data.lower().endswith(".onnx") and not model.lower().endswith(".onnx"):
        raise OptionError(f"MODEL and DATA are exchanged: MODEL is {data}, DATA is {model}")
    line = ProgressLine()
    try:
        result = score(
            model,
            data,
            out,
            columns=_pairs("--column", "column", column),
            constants={
                name: _number(name, text)
                for name, text in _pairs("--constant", "number", constant).items()
            },
            budget=memory,
            progress=line,
            **options,
        )
    finally:
        line.close()
    return result, SOME_FAILED if result.failed_rows else 0


def summary(result: ScoreResult) -> list[str]:
    """Return what was done, in lines."""
    padding = 1 - result.steps / result.computed_steps if result.computed_steps else 0.0
    lines = [
        f"rows     {result.rows:,}",
        f"errors   {result.failed_rows:,}",
        f"steps    {result.steps:,}, padding {padding:.1%}",
        f"seconds  {result.seconds:.1f}",
        f"parts    {result.parts:,}"
        + (f", {result.parts_kept:,} of them kept" if result.parts_kept else ""),
        f"wrote    {result.out}" if result.finished else f"share    done in {result.out}",
    ]
    if not result.finished:
        lines.append("others   not all shares are done: _SUCCESS is not written yet")
    return lines


def to_json(result: ScoreResult) -> str:
    """Return what was done as one line of JSON."""
    return json.dumps(asdict(result))


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("data", help="a .parquet, .arrow, .feather or .npz file, or a folder")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write")
    for name, keywords in OPTIONS.items():
        command.add_argument(f"--{name.replace('_', '-')}", **keywords)


def from_arguments(options: argparse.Namespace) -> tuple[ScoreResult, int]:
    """Run the command with parsed options."""
    given = {
        name: getattr(options, name) for name in OPTIONS if name not in ("json", "output_name")
    }
    given["outputs"] = options.output_name
    return score_command(options.model, options.data, options.output, **given)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, got {text!r}")
    return int(text)


def _pairs(option: str, kind: str, given: Sequence[str]) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            meant = f", such as {option} input={name}" if name and not equals else ""
            raise OptionError(f"{option}: expected INPUT={kind.upper()}{meant}, got {text!r}")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"--constant: expected {name}=number, got {text!r}") from None


HELP = {
    "column": "the column that holds an input; may be given again [default: its name]",
    "constant": "an input that is the same for every row, such as sr=16000; may be given again",
    "id": "the column that is passed on [default: id, else the number of the row]",
    "keep": "of each output: last, all, or package.module:function [default: last]",
    "output_name": "an output to keep; may be given again [default: all but final states]",
    "slots": "rows that share a call [default: 32]",
    "chunk": "the most steps of a call [default: 64]",
    "memory": "how much each worker may use [default: 512MB]",
    "runtime": "what computes the model [default: auto]",
    "engine": "what runs the parts: processes of this machine, or Ray [default: local]",
    "address": "the address of a Ray cluster",
    "workers": "processes [default: one for each usable core]",
    "only": "one share of several, such as 3/16",
    "part_rows": "rows of a part [default: parts are cut by bytes]",
    "reader": "a function package.module:function that reads a file, such as WAV",
    "strict": "stop at the first row with an error",
    "json": "print one JSON object",
}
"""What each option says of itself, here and in `rnnedge`."""
OPTIONS: dict[str, dict[str, Any]] = {
    "column": {"action": "append", "default": [], "metavar": "INPUT=COLUMN"},
    "constant": {"action": "append", "default": [], "metavar": "INPUT=NUMBER"},
    "id": {"metavar": "COLUMN"},
    "keep": {"default": "last", "metavar": "STEPS"},
    "output_name": {"action": "append", "metavar": "NAME"},
    "slots": {"type": _count, "default": 32, "metavar": "ROWS"},
    "chunk": {"type": _count, "default": 64, "metavar": "STEPS"},
    "memory": {"default": "512MB", "metavar": "SIZE"},
    "runtime": {"choices": ("auto", "native", "onnxruntime"), "default": "auto"},
    "engine": {"choices": ("local", "ray"), "default": "local"},
    "address": {"metavar": "ADDRESS"},
    "workers": {"type": _count, "metavar": "N"},
    "only": {"metavar": "I/N"},
    "part_rows": {"type": _count, "metavar": "ROWS"},
    "reader": {"metavar": "FUNCTION"},
    "strict": {"action": "store_true"},
    "json": {"action": "store_true"},
}
for _name, _keywords in OPTIONS.items():
    _keywords["help"] = HELP[_name].replace("%", "%%")
