"""`score`: the answers of a model to every row of some files, written into a folder."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.atomic_file import remove_leftovers, write_file
from rnnedge_runtime.engine.options import EngineName
from rnnedge_runtime.errors import InputError, OptionError, WriteError, one_line
from rnnedge_runtime.not_a_model import not_a_model
from rnnedge_runtime.scoring.engines import ScoringEngine, run_local
from rnnedge_runtime.scoring.job import Job, PartResult, open_source, read_model, stamp_of
from rnnedge_runtime.scoring.plan import (
    LONGEST,
    DataFile,
    Part,
    ScoringPlan,
    content_digest,
    cut,
    file_digest,
    share_of,
    stat_digest,
)
from rnnedge_runtime.scoring.progress import Progress, Watch
from rnnedge_runtime.scoring.ray_engine import run_ray
from rnnedge_runtime.scoring.scorer import Scorer
from rnnedge_runtime.write_target import Kinds, cannot_write, check_folder

PLAN_FILE = "_plan.json"
SUCCESS_FILE = "_SUCCESS"
_ANY: Kinds = {"": lambda file: True}


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a call of `score` did.

    Attributes:
        rows: Rows of the share that are answered, those of earlier calls included.
        failed_rows: Those of them that have an error.
        parts: Parts of the share.
        parts_kept: Those of them that earlier calls had written.
        finished: Whether all shares are done, and `_SUCCESS` is there.
        steps: Steps of the share's rows.
        computed_steps: Steps that the engine computed for them, with padding.
        seconds: How long the call took.
        out: The folder.
    """

    rows: int
    failed_rows: int
    parts: int
    parts_kept: int
    finished: bool
    steps: int
    computed_steps: int
    seconds: float
    out: str


def score(  # noqa: PLR0913 - each is a separate option, given by name
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    id: str | None = None,
    keep: str = "last",
    outputs: Sequence[str] | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
    slots: int = 32,
    chunk: int = 64,
    budget: str | int = "512MB",
    runtime: EngineName = "auto",
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    only: str | tuple[int, int] | None = None,
    part_rows: int | None = None,
    strict: bool = False,
    reader: str | None = None,
    progress: Watch | None = None,
) -> ScoreResult:
    """Score every row of some files, and write the answers into a folder.

    The folder gets Parquet files whose names sort in the order of the rows, each written whole, a
    plan (`_plan.json`), and at the end `_SUCCESS` with the counts. A job that was stopped goes on
    where it was: the same call keeps what is there.

    Args:
        model: Path of an `.onnx` file.
        data: A Parquet, Arrow, Feather or npz file, or a folder of them, read in the order of file
            names; a folder of npy files, one row each; or any folder with a `reader`.
        out: The folder to write; its parent must exist.
        columns: As `Scorer` takes them; for npz the names of the arrays.
        id: As `Scorer` takes it. Without one, and without a column `id`, the answers have the
            number of the row; the rows of npy files and readers have the name of the file.
        keep: As `Scorer` takes it.
        outputs: As `Scorer` takes them.
        constants: As `Scorer` takes them.
        slots: As `Scorer` takes it.
        chunk: As `Scorer` takes it.
        budget: As `Scorer` takes it, for each worker.
        runtime: The engine that computes the model, as `Scorer` takes it.
        engine: What runs the parts: `local` processes, or `ray`.
        address: Of a Ray cluster; None starts one on this machine.
        workers: Processes; None is one for each usable core of this machine, or of the cluster.
        only: One share of several, such as `3/16`, counted from 1: any scheduler can run the shares
            on as many machines.
        part_rows: Rows of a part, 1 or more; None cuts parts by bytes.
        strict: Whether the first row with an error stops the job.
        reader: `package.module:function`, which is given the path of a file and returns the array
            of its row, or arrays by input name.
        progress: Is called with a `Progress` as the job goes on.

    Returns:
        What was done.

    Raises:
        MissingPackageError: If pyarrow, or the package of an engine, is not installed.
        OptionError: If an option has a wrong value.
        ModelError: If the model cannot be opened, or is replaced while the job runs.
        InputError: If DATA cannot be read, lacks a column or is changed while the job runs, or for
            a row with an error if `strict`.
        WriteError: If the folder holds something else, or cannot be written.
        EngineError: If the engine fails for another reason than a row.
    """
    began = time.monotonic()
    options = {
        "columns": dict(columns or {}),
        "id": id,
        "keep": keep,
        "outputs": None if outputs is None else tuple(outputs),
        "constants": dict(constants or {}),
        "slots": slots,
        "chunk": chunk,
        "budget": budget,
        "runtime": runtime,
    }
    share = read_share(only)
    run = engine_named(engine, address)
    if workers is not None:
        workers = whole_number("workers", workers, OptionError)
    if part_rows is not None:
        part_rows = whole_number("part_rows", part_rows, OptionError)
    job = make_job(model, data, out, options, part_rows=part_rows, strict=strict, reader=reader)
    _claim(job)
    return _run(job, share, run, workers, progress, began)


def make_job(  # noqa: PLR0913 - what a job is made of
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Mapping[str, Any],
    *,
    part_rows: int | None = None,
    strict: bool = False,
    reader: str | None = None,
) -> Job:
    """Look at a model and at data, and plan a job.

    Args:
        model: Path of the model.
        data: Path of DATA.
        out: The folder to write.
        options: What `Scorer` takes, by name.
        part_rows: As `score` takes it.
        strict: As `score` takes it.
        reader: As `score` takes it.

    Raises:
        RnnEdgeError: As `score` raises it, for what does not fit.
    """
    for name, path in (("data", data), ("out", out)):
        if "://" in os.fspath(path):
            raise InputError(
                f"{name}: expected a path on this machine, got {os.fspath(path)}: copy it here, or "
                "mount it as a folder"
            )
    wrong = not_a_model(model)
    if wrong is not None:
        raise wrong
    folder = check_folder(out)
    paths = [os.path.abspath(path) for path in (model, data)]
    _check_apart(str(folder), paths[1])
    scorer = Scorer(paths[0], **options)
    content = read_model(paths[0])
    source = open_source(paths[1], scorer, reader)
    groups = source.groups()
    scorer.schema(source.schema())
    root = Path(paths[1])
    files = tuple(
        DataFile(
            path.name if path == root else path.relative_to(root).as_posix(),
            sum(group.rows for group in found),
            file_digest(path) if source.many_rows else stat_digest(path),
        )
        for path, found in zip(source.paths, groups, strict=True)
    )
    parts = cut([group for found in groups for group in found], part_rows)
    planned = {**options, "budget": scorer.budget, "reader": reader, "part_rows": part_rows}
    planned["constants"] = {
        name: np.asarray(value).tolist() for name, value in scorer.constants.items()
    }
    planned["runtime"] = scorer.session.engine.name
    plan = ScoringPlan(content_digest(content), planned, files, parts)
    stamps = {str(path): stamp_of(path) for path in source.paths}
    return Job(paths[0], paths[1], str(folder), plan, options, reader, strict, stamps)


def engine_named(name: str, address: str | None) -> ScoringEngine:
    """Return the engine of a name.

    Raises:
        OptionError: If there is none, or it takes no address.
    """
    if name == "ray":
        return partial(run_ray, address=address)
    if name != "local":
        raise OptionError(f"engine: expected local or ray, got {name!r}")
    if address is not None:
        raise OptionError(f"address: requires engine='ray', got {name!r}")
    return run_local


def read_share(only: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """Read `only`.

    Raises:
        OptionError: If it is not a share of several.
    """
    if only is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", only) if isinstance(only, str) else None
    found = (int(match[1]), int(match[2])) if match else only
    if not isinstance(found, tuple) or len(found) != 2 or not 1 <= found[0] <= found[1]:
        raise OptionError(f"only: expected a share such as 3/16, from 1/16 to 16/16, got {only!r}")
    return found


def _check_apart(out: str, data: str) -> None:
    """Check that the answers do not become data, nor replace it."""
    folder, given = os.path.realpath(out), os.path.realpath(data)
    if folder == given or folder.startswith(given + os.sep) or given.startswith(folder + os.sep):
        raise WriteError(f"{out}: expected a folder outside of the data, {data}")


def _claim(job: Job) -> None:
    """Make the folder of a job, or check that the one that is there is of the same plan.

    Raises:
        WriteError: If it is of another one, or holds something else.
    """
    out = Path(job.out)
    path = out / PLAN_FILE
    try:
        out.mkdir(exist_ok=True)
        text = _read_plan(path) if path.is_file() else None
        others = sorted(
            entry.name for entry in out.iterdir() if not entry.name.startswith(".rnnedge-")
        )
    except OSError as error:
        raise cannot_write(job.out, error) from error
    except ValueError as error:
        raise WriteError(f"{path}: is damaged: {one_line(error)}") from error
    if text is None:
        if others:
            raise WriteError(
                f"{job.out}: expected an empty folder, or answers of the same plan, found "
                f"{others[0]}"
            )
        write_file(path, job.plan.to_json().encode(), _ANY)
        return
    try:
        difference = job.plan.differs_from(text)
    except ValueError as error:
        raise WriteError(f"{path}: is damaged: {one_line(error)}") from error
    if difference:
        raise WriteError(
            f"{job.out}: holds answers of another plan, which differs in {difference}: choose "
            "another folder, or remove it"
        )


def _read_plan(path: Path) -> str:
    """Return the content of a plan file.

    Raises:
        ValueError: If it is not text, or longer than a plan.
    """
    with path.open("rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise ValueError(f"expected at most {LONGEST:,} bytes")
    return content.decode("utf-8")


def _run(
    job: Job,
    share: tuple[int, int] | None,
    engine: ScoringEngine,
    workers: int | None,
    watch: Watch | None,
    began: float,
) -> ScoreResult:
    parts = share_of(job.plan.parts, share)
    results = {part.number: found for part in parts if (found := job.done(part)) is not None}
    _refuse_failed(job, results.values())
    kept = len(results)
    progress = Progress(sum(part.rows for part in parts), parts=len(parts))
    report = _Counted(progress, results, watch)
    waiting = [part for part in parts if part.number not in results]
    if waiting:
        try:
            engine(job, waiting, report, workers)
        finally:
            remove_leftovers(job.out)  # of workers that died
    finished = _finish(job, results)
    done = results.values()
    return ScoreResult(
        sum(result.rows for result in done),
        sum(result.failed for result in done),
        len(parts),
        kept,
        finished,
        sum(result.steps for result in done),
        sum(result.computed for result in done),
        time.monotonic() - began,
        job.out,
    )


def _refuse_failed(job: Job, results: Sequence[PartResult] | Any) -> None:
    failed = sum(result.failed for result in results)
    if job.strict and failed:
        raise InputError(f"{job.out}: has {failed} row(s) with an error, and strict takes none")


def _finish(job: Job, results: Mapping[int, PartResult]) -> bool:
    """Write `_SUCCESS` if the parts of all shares are there, and return whether they are."""
    every = [results.get(part.number) or job.done(part) for part in job.plan.parts]
    done = [result for result in every if result is not None]
    if len(done) < len(every):
        return False
    counts = {
        "rows": sum(result.rows for result in done),
        "failed_rows": sum(result.failed for result in done),
        "parts": len(done),
        "steps": sum(result.steps for result in done),
        "plan": job.plan.digest,
    }
    write_file(Path(job.out) / SUCCESS_FILE, f"{json.dumps(counts)}\n".encode(), _ANY)
    return True


class _Counted:
    """The report of an engine: it keeps the results, and passes the progress on."""

    def __init__(
        self, progress: Progress, results: dict[int, PartResult], watch: Watch | None
    ) -> None:
        self._progress, self._results, self._watch = progress, results, watch
        self._open: dict[int, tuple[int, int, int]] = {}
        self._lock = Lock()
        for result in results.values():
            progress.rows_done += result.rows
            progress.failed_rows += result.failed
        progress.resumed, progress.parts_done = progress.rows_done, len(results)

    def told(self, part: Part, rows: int, steps: int, failed: int) -> None:
        """Add what was done of a part."""
        with self._lock:
            before = self._open.get(part.number, (0, 0, 0))
            self._open[part.number] = (
                before[0] + rows,
                before[1] + steps,
                before[2] + failed,
            )
            self._add(rows, steps, failed)

    def again(self, part: Part) -> None:
        """Take back what was counted of a part."""
        with self._lock:
            rows, steps, failed = self._open.pop(part.number, (0, 0, 0))
            self._add(-rows, -steps, -failed)

    def done(self, part: Part, result: PartResult) -> None:
        """Keep the result of a part."""
        with self._lock:
            rows, steps, failed = self._open.pop(part.number, (0, 0, 0))
            self._results[part.number] = result
            self._progress.parts_done += 1
            self._add(result.rows - rows, result.steps - steps, result.failed - failed)

    def _add(self, rows: int, steps: int, failed: int) -> None:
        self._progress.rows_done += rows
        self._progress.steps_done += steps
        self._progress.failed_rows += failed
        if self._watch is not None:
            self._watch(self._progress)
