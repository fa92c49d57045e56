"""Worker processes, so that a crash or a hang of one module costs one verdict."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

from random_modules.generate import generate

WORKER = Path(__file__).with_name("worker.py")
SEEDS_EACH = 40
"""Seeds that one process examines; its memory is freed with it."""
_STARTING = 60
"""Seconds more for the first seed of a process, which imports torch."""

Verdict = dict[str, Any]


class ExaminingProcess:
    """A process that examines seeds, and is started again when it died."""

    def __init__(self, time_limit: float, script: Path = WORKER) -> None:
        """Take seconds for one seed, and the script that answers."""
        self._time_limit = time_limit
        self._script = script
        self._process: subprocess.Popen[str] | None = None

    def examine(self, seed: int) -> Verdict:
        """Return the verdict on a seed; a death or no answer in time is one, too."""
        limit = self._time_limit
        if self._process is None:
            limit += _STARTING
            self._process = subprocess.Popen(
                [sys.executable, str(self._script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(seed, file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], limit)
        line = self._process.stdout.readline() if ready else ""
        if line:
            verdict: Verdict = json.loads(line)
            return verdict
        if ready:
            told = f"the process died: exit status {self._process.wait(timeout=60)}"
        else:
            told = f"no answer after {limit:g} s"
        self.close()
        contains = list(generate(seed).contains)
        return {"seed": seed, "outcome": "wrong", "faults": [told], "contains": contains}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def examine_all(seeds: Sequence[int], *, jobs: int, time_limit: float) -> Iterator[Verdict]:
    """Examine seeds in `jobs` processes at a time, in any order.

    Args:
        seeds: What to examine.
        jobs: Processes side by side.
        time_limit: Seconds for one seed.
    """
    parts = [seeds[n : n + SEEDS_EACH] for n in range(0, len(seeds), SEEDS_EACH)]
    verdicts: Queue[Verdict] = Queue()
    with ThreadPoolExecutor(jobs) as pool:
        for part in parts:
            pool.submit(_examine_part, part, time_limit, verdicts.put)
        for _ in seeds:
            yield verdicts.get()


def _examine_part(
    seeds: Sequence[int], time_limit: float, report: Callable[[Verdict], None]
) -> None:
    process = ExaminingProcess(time_limit)
    try:
        for seed in seeds:
            report(process.examine(seed))
    finally:
        process.close()
