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
"""Seeds that one process examines; its memory goes with it."""

Verdict = dict[str, Any]


def examine_all(seeds: Sequence[int], *, jobs: int, time_limit: float) -> Iterator[Verdict]:
    """Examine seeds in `jobs` processes at a time, in any order.

    Args:
        seeds: What to examine.
        jobs: Processes side by side.
        time_limit: Seconds for one seed; the first of a process has a minute more, to import torch.
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
    left = list(seeds)
    while left:
        process = subprocess.Popen(
            [sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        limit = time_limit + 60
        try:
            while left:
                seed = left.pop(0)
                print(seed, file=process.stdin, flush=True)
                ready, _, _ = select.select([process.stdout], [], [], limit)
                line = process.stdout.readline() if ready else ""
                if not line:
                    report(_lost(seed, process, ended=bool(ready), limit=limit))
                    break
                report(json.loads(line))
                limit = time_limit
        finally:
            process.kill()
            process.wait()


def _lost(seed: int, process: subprocess.Popen[str], *, ended: bool, limit: float) -> Verdict:
    """Return the verdict on a module that ended its process, or did not end at all."""
    if ended:
        told = f"the process died: exit status {process.wait(timeout=60)}"
    else:
        told = f"no answer after {limit:g} s"
    contains = list(generate(seed).contains)
    return {"seed": seed, "outcome": "wrong", "faults": [told], "reason": "", "contains": contains}
