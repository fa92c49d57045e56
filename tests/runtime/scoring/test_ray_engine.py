"""Parts are done as tasks of Ray, on nodes that may go."""

import json
import os
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from corpora import rows_of, table_of
from tiny_models import Tiny

from rnnedge_runtime import EngineError, InputError, MissingPackageError

pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402 - pyarrow may be missing

from rnnedge_runtime.scoring import ray_engine, score  # noqa: E402

TINY = Tiny("gru")
ROWS = rows_of([5, 9, 2, 30, 7, 1, 12, 4, 3, 8])
HELPERS = Path(__file__).parents[1] / "helpers"


class RayError(Exception):
    pass


class WorkerCrashedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class TaskCancelledError(RayError):
    pass


class NodeDiedError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__("the task failed")
        self.cause = cause


class Ray:
    """Ray as the engine uses it, in this process; `fail` raises what a task ends with."""

    exceptions = SimpleNamespace(
        **{
            error.__name__: error
            for error in (
                *(RayError, WorkerCrashedError, OutOfMemoryError, TaskCancelledError),
                *(NodeDiedError, RayTaskError),
            )
        }
    )

    def __init__(self, fail=lambda task: None):
        self.fail, self.started, self.tasks = fail, None, []
        self.process, self.stuck, self.cancelled = threading.Lock(), False, []

    def is_initialized(self):
        return False

    def init(self, **options):
        self.started = options

    def shutdown(self):
        self.started = None

    def cluster_resources(self):
        return {"CPU": 3.0}

    def put(self, value):
        return value

    def remote(self, **options):
        assert options == {"num_cpus": 1, "max_retries": 0}
        return lambda function: SimpleNamespace(remote=lambda *given: (function, given))

    def get(self, running):
        function, (call, job, task) = running
        with self.process:  # which does one task at a time
            self.tasks.append(task)
            self.fail(task)
            return function(call, job, task)

    def wait(self, running, *, timeout):
        if self.stuck:
            time.sleep(timeout / 10)
        return ([], running) if self.stuck else (running, [])

    def cancel(self, running):
        self.cancelled.append(running)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Scores ten rows in five parts, with `fail` in each task, and returns the parts' bytes."""
    (tmp_path / "gru.onnx").write_bytes(TINY.content)
    pq.write_table(table_of(ROWS), tmp_path / "corpus.parquet")
    given = {"columns": {"input": "frames"}, "part_rows": 2}
    fakes = []

    def scored(fail=lambda task: None, *, engine="ray", rows=None, **options):
        if rows is not None:
            pq.write_table(table_of(rows), tmp_path / "corpus.parquet")
        fakes.append(Ray(fail))
        monkeypatch.setattr(ray_engine, "_ray", lambda: fakes[-1])
        out = tmp_path / f"out{len(fakes)}"
        paths = (tmp_path / "gru.onnx", tmp_path / "corpus.parquet", out)
        result = score(*paths, engine=engine, **given, **options)
        return {part.name: part.read_bytes() for part in out.glob("part-*")}, result

    scored.fakes = fakes
    return scored


def test_the_answers_are_those_of_local_processes(run):
    local, _ = run(engine="local", workers=1)
    found, result = run(address="head:6379")
    assert found == local
    assert len(found) == 5
    assert result.finished
    assert len(run.fakes[-1].tasks) == 5


def test_a_node_that_goes_costs_its_tasks_alone(run):
    expected, _ = run()
    lost = []

    def fail(task):
        if task.part.number in (1, 3) and lost.count(task.part.number) < 3:
            lost.append(task.part.number)
            raise NodeDiedError

    found, result = run(fail)
    assert found == expected
    assert result.failed_rows == 0
    assert {task.kind for task in run.fakes[-1].tasks} == {"part"}


def test_a_worker_that_ends_once_is_no_fault_of_a_row(run):
    expected, _ = run()
    ended = []

    def fail(task):
        if task.part.number == 2 and not ended:
            ended.append(task)
            raise WorkerCrashedError

    assert run(fail)[0] == expected


def test_a_row_that_ends_each_worker_is_marked(run):
    def fail(task):
        pieces = task.pieces or [(task.part.start, task.part.stop)]
        if any(start <= 6 < stop for start, stop in pieces):
            raise WorkerCrashedError

    found, result = run(fail)
    assert result.failed_rows == 1
    table = pq.read_table(pa.BufferReader(found["part-00003.parquet"]))
    assert table["error"].to_pylist() == [
        "ended the process that scored it: the worker ended",
        None,
    ]


def test_nodes_that_are_lost_again_and_again_end_the_job(run):
    def fail(task):
        raise NodeDiedError

    with pytest.raises(EngineError, match="Ray lost its node 16 times in a row"):
        run(fail, workers=1)


def test_an_error_of_a_part_is_raised(run):
    rows = [*ROWS[:3], None, *ROWS[4:]]
    with pytest.raises(InputError, match=r"row 3: .*strict stops at the first error"):
        run(rows=rows, strict=True)


def test_what_still_runs_when_the_job_fails_is_given_up(run):
    """And nothing else is cancelled."""

    def fail(task):
        run.fakes[-1].stuck = True
        raise RayTaskError(RuntimeError("broken"))

    with pytest.raises(EngineError, match="a task of Ray failed: broken"):
        run(fail, workers=3)
    assert len(run.fakes[-1].cancelled) <= 2


def test_nothing_is_cancelled_when_all_went_well(run):
    run()
    assert not run.fakes[-1].cancelled


def test_a_node_without_the_package_is_named(run):
    def fail(task):
        raise RayTaskError(ModuleNotFoundError("No module named 'rnnedge_runtime'"))

    with pytest.raises(EngineError, match=r"cannot import rnnedge_runtime.*\[score,cpu\] on all"):
        run(fail)


def test_a_cluster_that_cannot_be_reached(run, monkeypatch):
    def refuse(self, **options):
        raise ConnectionError("no one there")

    monkeypatch.setattr(Ray, "init", refuse)
    with pytest.raises(EngineError, match="Ray cannot be reached at head:6379: no one there"):
        run(address="head:6379")


def test_without_the_package_the_message_says_how_to_get_it(run, tmp_path, monkeypatch):
    run()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    paths = (tmp_path / "gru.onnx", tmp_path / "corpus.parquet", tmp_path / "out")
    with pytest.raises(MissingPackageError, match=r"pip install 'rnnedge-runtime\[ray\]'"):
        score(*paths, columns={"input": "frames"}, engine="ray")


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_a_cluster_of_three_nodes_loses_one_and_a_worker(tmp_path):
    """Needs two minutes where it is run: ray is not among what the tests install."""
    (tmp_path / "gru.onnx").write_bytes(TINY.content)
    pq.write_table(table_of(rows_of([1500] * 200)), tmp_path / "corpus.parquet", row_group_size=20)
    paths = [tmp_path / "gru.onnx", tmp_path / "corpus.parquet"]
    options = {"columns": {"input": "frames"}, "keep": "all", "part_rows": 5}
    score(*paths, tmp_path / "local", workers=1, **options)
    done = subprocess.run(
        [sys.executable, HELPERS / "ray_cluster.py", *paths, tmp_path / "ray"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == {"happened": ["removed", "killed"], "rows": 200, "parts": 40}
    for part in (tmp_path / "local").glob("part-*"):
        assert (tmp_path / "ray" / part.name).read_bytes() == part.read_bytes()
