"""Files with bytes changed at random: an error or an answer, never a dead process."""

import subprocess
import sys

import pytest

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)

CHILD = """
import os, resource, sys
import numpy as np
from rnnedge_native import Plan
from rnnedge_runtime.errors import RnnEdgeError

limit = 4 << 30
if "asan" not in os.environ.get("LD_PRELOAD", ""):  # which takes terabytes of addresses
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
content = open(sys.argv[1], "rb").read()
random = np.random.default_rng(int(sys.argv[2]))
sizes = {"batch": 2, "time": 3}
opened = ran = 0
for _ in range(int(sys.argv[3])):
    broken = bytearray(content)
    broken[random.integers(len(broken))] = random.integers(256)
    if random.random() < 0.1:
        del broken[random.integers(len(broken)) :]
    try:
        plan = Plan(bytes(broken))
        opened += 1
        feeds = {
            info.name: np.ones(
                [axis if isinstance(axis, int) else sizes.get(axis, 3) for axis in info.axes],
                info.dtype,
            )
            for info in plan.inputs
        }
        plan.run(feeds)
        ran += 1
    except (RnnEdgeError, MemoryError):
        pass
print(opened, ran)
"""


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstm", "hidden_size": 3, "lengths": True, "bidirectional": True},
        {"cell": "rnn", "hidden_size": 3, "num_layers": 2},
        {"cell": "lstm", "hidden_size": 4, "proj_size": 2},
        {"cell": "lstm", "hidden_size": 3, "num_layers": 2, "quantize": "int8:all"},
        {"cell": "gru", "hidden_size": 3, "quantize": "int8:all"},
    ],
    ids=["lstm", "switch", "scan", "lstm of integers", "scan of integers"],
)
def test_broken_bytes(exported, tmp_path, options):
    _, content = exported(**options)
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, path, "0", "300"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    opened, ran = map(int, done.stdout.split())
    assert opened > 50, "the bytes that were changed never reached the plan"
    assert ran > 50
