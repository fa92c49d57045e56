"""`compare`: every row of a corpus, answered twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from rnnedge.corpus.comparison import ComparedSide, CorpusComparison, scores_of, summarize
from rnnedge.corpus.differences import Differences
from rnnedge.corpus.sides import KeptSide, ModelSide, Side
from rnnedge.file_kinds import is_onnx
from rnnedge_runtime.engine.options import EngineName
from rnnedge_runtime.errors import InputError, OptionError
from rnnedge_runtime.machine import describe, package_versions
from rnnedge_runtime.scoring.arrow_package import Batch, DataType, arrow, parquet, shown
from rnnedge_runtime.scoring.job import open_source
from rnnedge_runtime.scoring.scorer import ERROR
from rnnedge_runtime.scoring.sizes import bytes_of
from rnnedge_runtime.scoring.sources import PARQUET, RowSource, find_files
from rnnedge_runtime.scoring.table_source import TableSource
from rnnedge_runtime.scoring.windows import windows

_WINDOW = 64
"""The part of the budget that the steps of a window may take, on each side."""
_MOST_ROWS = 4096
_PACKAGES = ("rnnedge", "rnnedge-native", "onnxruntime", "onnxruntime-gpu", "numpy", "pyarrow")
"""What the report names the versions of."""


def compare(  # noqa: PLR0913 - each is a separate option, given by name
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    id: str | None = None,
    reader: str | None = None,
    runtimes: tuple[EngineName, EngineName] = ("auto", "auto"),
    budget: str | int = "512MB",
    max_disagreement: float | None = None,
    max_difference: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusComparison:
    """Compare two answers to every row of a corpus: float32 and int8, or an old and a new model.

    Args:
        a: The `.onnx` file that the other one is compared with, or a folder of answers that `score`
            wrote, here or on another device. One of the two must be a model.
        b: The other one.
        data: The corpus, as `score` takes it: Parquet, Arrow or Feather, npz, or a folder of them
            or of npy files.
        columns: Input name to the column that holds it.
        id: The column with a name for each row; None takes a column `id` where there is one.
        reader: `package.module:function` that reads a file of one row.
        runtimes: What computes the models of both sides.
        budget: How much memory each side may use.
        max_disagreement: The largest share of rows whose largest score may differ, from 0 to 1.
        max_difference: The largest absolute difference allowed, 0 or more.
        progress: Called with the rows done and all rows.

    Returns:
        What differs; truthy when all is inside the limits.

    Raises:
        OptionError: For a limit out of its range, or a limit of scores where there are none.
        InputError: If the corpus has no rows or lacks a column, or the two sides do not fit
            together.
        ModelError: If a model cannot be opened.
        MissingPackageError: If pyarrow is not installed.
    """
    start = time.perf_counter()
    _check_limits(max_disagreement, max_difference)
    models: list[ModelSide | None] = [None, None]
    known = dict(columns or {})
    for number, (path, engine) in enumerate(zip((a, b), runtimes, strict=True)):
        if is_onnx(path):
            model = ModelSide(os.fspath(path), known, id=id, engine=engine, budget=budget)
            models[number] = model
            known = known or model.columns  # another maker's input may have another name
    first = next((model for model in models if model is not None), None)
    if first is None:
        raise InputError(f"expected an .onnx file on one side, got {a} and {b}")
    source = open_source(os.fspath(data), first.scorer, reader)
    _check_same_columns(first, [model for model in models if model is not None])
    notes: list[str] = []
    one, two = (
        _kept_side(os.fspath(path), first, source.id_name, notes) if opened is None else opened
        for path, opened in zip((a, b), models, strict=True)
    )
    pairs = _paired(one, two, notes)
    _same_steps(one, two, pairs, notes)
    found = Differences(list(pairs))
    total = sum(group.rows for file in source.groups() for group in file)
    for rows in _windows(source, first, budget):
        answers_a, errors_a = one.answer(rows)
        answers_b, errors_b = two.answer(rows)
        renamed = {name: answers_b[theirs] for name, theirs in pairs.items()}
        found.add(_ids(rows, source.id_name, found.rows), answers_a, renamed, (errors_a, errors_b))
        if progress is not None:
            progress(found.rows, total)
    for side in (one, two):
        if isinstance(side, KeptSide):
            side.check_end()
    if not found.compared:
        raise InputError(f"{data}: expected rows that both sides answer, found {_nothing(found)}")
    scores = scores_of(found)
    if max_disagreement is not None and scores is None:
        name = next(iter(found.outputs))
        raise OptionError(
            f"max_disagreement: {name} is one number for each row, which has no largest score: use "
            "max_difference (--max-difference)"
        )
    return CorpusComparison(
        a=_described(one),
        b=_described(two),
        data=os.fspath(data),
        rows=found.rows,
        compared=found.compared,
        one_sided=found.one_sided,
        failed=found.failed,
        outputs=tuple(summarize(name, output) for name, output in found.outputs.items()),
        scores=scores,
        worst=found.worst,
        max_disagreement=max_disagreement,
        max_difference=max_difference,
        notes=tuple(notes),
        machine={**describe(), **package_versions(_PACKAGES)},
        seconds=time.perf_counter() - start,
    )


def _check_limits(disagreement: float | None, difference: float | None) -> None:
    if disagreement is not None and not 0 <= disagreement <= 1:
        raise OptionError(f"max_disagreement: expected a share from 0 to 1, got {disagreement!r}")
    if difference is not None and not difference >= 0:
        raise OptionError(f"max_difference: expected a number of 0 or more, got {difference!r}")


def _check_same_columns(first: ModelSide, models: Sequence[ModelSide]) -> None:
    """Check that no model reads a column that the first one does not."""
    read = list(first.columns.values())
    for model in models:
        missing = [name for name in model.columns.values() if name not in read]
        if missing:
            raise InputError(
                f"{model.name}: expected the columns of {first.name}, {', '.join(read)}, and it "
                f"reads {', '.join(missing)}: name its column with columns= (--column INPUT=COLUMN)"
            )


def _kept_side(folder: str, model: ModelSide, id: str | None, notes: list[str]) -> KeptSide:
    """Open a folder of answers, as they were kept: all steps, or the last one."""
    kind, paths = find_files(folder, reader=None)
    if kind != "parquet":
        raise InputError(
            f"{folder}: expected an .onnx file, or a folder of answers that score wrote "
            f"({', '.join(PARQUET)}), found {paths[0].name}"
        )
    schema = parquet().read_schema(paths[0])
    names = [name for name in model.shapes if name in schema.names]
    if not names:
        outputs = ", ".join(model.shapes)
        raise InputError(
            f"{folder}: expected a column for one of the outputs {outputs}, found "
            f"{', '.join(schema.names)}"
        )
    last = [
        name
        for name in names
        if model.shapes[name].stepped
        and _depth(schema.field(name).type) == len(model.shapes[name].features)
    ]
    if last:
        model.keep_last()
        notes.append(f"{folder} holds the last step of each row: the others are not compared")
    known = id if id in schema.names else None
    errors = [ERROR] if ERROR in schema.names else []  # another program may have written them
    source = TableSource(kind, paths, {n: n for n in (*names, *errors)}, lambda given: known)
    shapes = {name: model.shapes[name] for name in names}
    return KeptSide(folder, _all_batches(source), shapes, known)


def _depth(kind: DataType) -> int:
    types, depth = arrow().types, 0
    while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth


def _paired(a: Side, b: Side, notes: list[str]) -> dict[str, str]:
    """Return the outputs of side A with their names on side B."""
    both = {name: name for name in a.shapes if name in b.shapes}
    if not both and len(a.shapes) == 1 and len(b.shapes) == 1:
        both = {next(iter(a.shapes)): next(iter(b.shapes))}
    if not both:
        raise InputError(
            f"expected outputs of one name: {a.name} has {', '.join(a.shapes)}, {b.name} has "
            f"{', '.join(b.shapes)}"
        )
    for side, others in ((a, both.keys()), (b, both.values())):
        for name in side.shapes.keys() - set(others):
            notes.append(f"{name} of {side.name} is not compared: the other side does not have it")
    for name, theirs in both.items():
        one, two = a.shapes[name].features, b.shapes[theirs].features
        if one != two:
            raise InputError(
                f"{name}: expected as many numbers for each step on both sides, got {list(one)} of "
                f"{a.name} and {list(two)} of {b.name}"
            )
    return both


def _same_steps(a: Side, b: Side, pairs: Mapping[str, str], notes: list[str]) -> None:
    """Compare last steps where one side has no others."""
    apart = [n for n, other in pairs.items() if a.shapes[n].stepped != b.shapes[other].stepped]
    if not apart:
        return
    for side in (a, b):
        if isinstance(side, ModelSide):
            side.keep_last()
    if any(a.shapes[name].stepped != b.shapes[pairs[name]].stepped for name in pairs):
        raise InputError(f"{apart[0]}: one side has an answer for each step, the other one for all")
    notes.append(f"{apart[0]} has one answer for each row on one side: last steps are compared")


def _windows(source: RowSource, model: ModelSide, budget: str | int) -> Iterator[Batch]:
    """Yield the rows in batches that are worth packing and small enough to keep all answers."""
    layout = model.scorer.layout
    steps = bytes_of("budget (--memory)", budget) // _WINDOW // (layout.bytes_in + layout.bytes_out)
    yield from windows(
        _all_batches(source),
        model.scorer.column_of(layout.inputs[0].spec.name),
        most_steps=max(1, steps),
        most_rows=_MOST_ROWS,
    )


def _all_batches(source: RowSource) -> Iterator[Batch]:
    for number, groups in enumerate(source.groups()):
        yield from source.read(number, 0, sum(group.rows for group in groups))


def _ids(rows: Batch, name: str | None, start: int) -> list[str]:
    if name is None:
        return [str(start + row) for row in range(rows.num_rows)]
    return shown(rows.column(name))


def _nothing(found: Differences) -> str:
    if not found.rows:
        return "none"
    if not found.one_sided:
        return f"{found.rows:,}, which neither side could score"
    first = found.worst[0]
    return (
        f"{found.one_sided:,} that one side alone could score, such as {first.id}: A has "
        f"{first.a}, B has {first.b}"
    )


def _described(side: Side) -> ComparedSide:
    digest = None
    if isinstance(side, ModelSide):
        digest = sha256(Path(side.name).read_bytes()).hexdigest()
    return ComparedSide(side.name, side.engine, digest, side.seconds)
