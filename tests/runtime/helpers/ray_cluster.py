"""Score on a Ray cluster of three nodes; remove one, and kill a worker, while parts are done.

Run as a program with MODEL, DATA and OUT; prints what happened as JSON.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "ORT_DISABLE_TELEMETRY": "1"}

import ray
from ray.cluster_utils import Cluster

from rnnedge_runtime.scoring import score
from rnnedge_runtime.scoring.progress import Progress

_STORE = 80 << 20


def main(model: str, data: str, out: str) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": _STORE,
            "include_dashboard": False,
        },
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=_STORE) for _ in range(2)]
    cluster.wait_for_nodes()
    happened: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.parts_done >= 4 and "removed" not in happened:
            happened.append("removed")
            threading.Thread(
                target=cluster.remove_node, args=(nodes[0],), kwargs={"allow_graceful": False}
            ).start()
        if progress.parts_done >= 10 and "killed" not in happened:
            for worker in _workers():
                happened.append("killed")
                os.kill(worker, signal.SIGKILL)
                break

    try:
        result = score(
            model,
            data,
            out,
            columns={"input": "frames"},
            keep="all",
            part_rows=5,
            engine="ray",
            address=cluster.address,
            progress=watch,
        )
    finally:
        if ray.is_initialized():
            ray.shutdown()
        cluster.shutdown()
    print(json.dumps({"happened": happened, "rows": result.rows, "parts": result.parts}))


def _workers() -> list[int]:
    """Return the processes that do a task now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::_do_remotely"):
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
