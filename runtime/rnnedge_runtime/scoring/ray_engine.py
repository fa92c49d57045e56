"""The engine that runs the parts of a job as tasks of Ray, on this machine or on a cluster.

Each part is one task. Workers share nothing but the files: the model, DATA and the folder of the
answers must have the same paths on all nodes. What a task has written stays when its node is gone;
a part that was not finished is done again on another one, and gives the same bytes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from rnnedge_runtime.errors import (
    DiedError,
    EngineError,
    MissingPackageError,
    RnnEdgeError,
    one_line,
    pass_on_interruption,
)
from rnnedge_runtime.scoring.engines import PartReport, run_workers
from rnnedge_runtime.scoring.job import Job, PartResult, PartScorer, Told
from rnnedge_runtime.scoring.plan import Part
from rnnedge_runtime.scoring.worker_process import PartTask, described, do_task, raised

_MOST_TASKS = 2048
"""Tasks at a time: each is waited for by a thread."""
_MOST_LOST = 16
"""How often one task is sent again since its node is gone."""
_LOOK = 0.5
"""Seconds after which a thread that waits for a task looks whether the job was given up."""
_STORE = 128 << 20
"""Bytes of Ray's object store on this machine: all that goes through it are the plan and counts."""

_scorers: dict[str, PartScorer] = {}
"""The scorer of the last job that this process worked for, by the name of the call."""


def run_ray(
    job: Job,
    parts: Sequence[Part],
    report: PartReport,
    workers: int | None,
    *,
    address: str | None = None,
) -> None:
    """Do parts as tasks of Ray.

    Args:
        job: The job.
        parts: Its open parts, in the order in which they are begun.
        report: Takes what is done.
        workers: How many tasks run at a time, 1 or more; None is one for each core of the cluster.
        address: Of the cluster; None is the one that this process is connected to, or else a new
            one on this machine.

    Raises:
        MissingPackageError: If ray is not installed.
        RnnEdgeError: As `run_local` raises it.
        EngineError: If the cluster cannot be reached, its nodes do not have this package, or they
            are lost again and again.
    """
    ray = _ray()
    with _connected(ray, address, workers):
        cluster = _Cluster(ray, job)
        count = workers or int(ray.cluster_resources().get("CPU", 1))
        run_workers(lambda: _RayWorker(cluster), parts, report, min(max(count, 1), _MOST_TASKS))


class _Cluster:
    """What all tasks of a call share.

    Attributes:
        ray: The package.
        call: The name of the call.
        job: The job, in the object store.
        task: The function that does a task there.
    """

    def __init__(self, ray: Any, job: Job) -> None:
        self.ray, self.call = ray, uuid4().hex
        self.job = ray.put(job)
        # What is done of a part is written once, whole: this module sends it again itself.
        self.task = ray.remote(num_cpus=1, max_retries=0)(_do_remotely)


class _RayWorker:
    """Does tasks one after another, wherever the cluster has room."""

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster, self._killed = cluster, threading.Event()

    def ask(self, task: PartTask, told: Told | None = None) -> PartResult | None:
        """Have a task done, as `WorkerProcess.ask` does; again where its node is gone."""
        ray = self._cluster.ray
        for _ in range(_MOST_LOST):
            running = self._cluster.task.remote(self._cluster.call, self._cluster.job, task)
            try:
                kind, content = self._wait(running)
            except ray.exceptions.WorkerCrashedError:
                # A task of a removed node ends so too: `halve` finds no row that does it again.
                raise DiedError("the worker ended") from None
            except ray.exceptions.OutOfMemoryError:
                raise DiedError("the node had no memory left") from None
            except ray.exceptions.TaskCancelledError:
                raise DiedError("it was stopped") from None
            except _lost(ray):
                continue
            except ray.exceptions.RayTaskError as error:
                raise _not_run(error) from error
            except ray.exceptions.RayError as error:
                raise EngineError(f"Ray failed: {one_line(error)}") from error
            if kind == "error":
                raise raised(*content)
            result: PartResult | None = content
            return result
        raise EngineError(f"part {task.part.number}: Ray lost its node {_MOST_LOST} times in a row")

    def stop(self) -> None:
        """Do nothing: Ray keeps its processes for other tasks."""

    def kill(self) -> None:
        """Give up the task that runs."""
        self._killed.set()

    def _wait(self, running: Any) -> tuple[str, Any]:
        """Return what a task gives, unless `kill` is called before.

        A task is cancelled only while it runs: Ray 2.60 may abort the process of the caller where
        one that has just ended is.
        """
        ray = self._cluster.ray
        while not ray.wait([running], timeout=_LOOK)[0]:
            if self._killed.is_set():
                try:
                    ray.cancel(running)
                except Exception as error:  # the cluster may be gone
                    pass_on_interruption(error)
                raise DiedError("it was stopped")
        answer: tuple[str, Any] = ray.get(running)
        return answer


def _do_remotely(call: str, job: Job, task: PartTask) -> tuple[str, Any]:
    """Do a task in a process of the cluster, and return its result or its error."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        if call not in _scorers:
            _scorers.clear()
            _scorers[call] = PartScorer(job)
        return "done", do_task(_scorers[call], task, None)
    except Exception as error:  # it is raised again in the process of the caller
        pass_on_interruption(error)
        return "error", described(error)


@contextmanager
def _connected(ray: Any, address: str | None, workers: int | None) -> Iterator[None]:
    """Connect to a cluster, or start one, while the block runs."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        options |= {
            "num_cpus": workers,
            "object_store_memory": _STORE,
            "include_dashboard": False,
        }
    try:
        # Without "local", Ray would take the cluster of RAY_ADDRESS.
        ray.init(address=address or "local", **options)
    except Exception as error:  # ConnectionError, ValueError, RuntimeError and more
        pass_on_interruption(error)
        where = f"Ray cannot be reached at {address}" if address else "Ray cannot be started"
        raise EngineError(f"{where}: {one_line(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _lost(ray: Any) -> tuple[type[Exception], ...]:
    """Return the exceptions that say that a node is gone."""
    names = ("NodeDiedError", "LocalRayletDiedError", "ObjectLostError", "OwnerDiedError")
    return tuple(getattr(ray.exceptions, name) for name in names if hasattr(ray.exceptions, name))


def _not_run(error: Exception) -> RnnEdgeError:
    """Return the error for a task that could not even be begun on its node."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ImportError):
        return EngineError(
            f"a node of the cluster cannot import rnnedge_runtime: {one_line(cause)}: install "
            "rnnedge-runtime[score,cpu] on all nodes"
        )
    return EngineError(f"a task of Ray failed: {one_line(cause or error)}")


def _ray() -> Any:
    from importlib import import_module

    try:
        return import_module("ray")
    except ImportError as error:
        raise MissingPackageError(
            "engine='ray'", "ray", "pip install 'rnnedge-runtime[ray]'"
        ) from error
