"""A slice of the fuzzing, the same each time; `make fuzz` runs for a minute.

What was found before lies in `corpus`, one file for each fault, and is read first.
"""

import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from rnnedge_runtime.errors import ModelError

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]  # for `tests.fuzz`, whatever starts pytest

from tests.fuzz import watch  # noqa: E402
from tests.fuzz.kinds import KINDS, NEED_PYARROW, Kind  # noqa: E402

SEED = 20261129
FILES = 120
LEAST = 10
"""Files of each kind that must be accepted, and refused: or the changes reach nothing."""

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not Path("/proc/self/stat").exists(), reason="needs fork and /proc"
)


def _needed(kind: str) -> list[str]:
    return ["rnnedge_native"] * (kind == "plan") + ["pyarrow"] * (kind in NEED_PYARROW)


@pytest.fixture(scope="module")
def lines() -> dict[str, str]:
    """Run the slice in a fresh process, which has no threads that a fork would lose."""
    kinds = [kind for kind in KINDS if all(map(find_spec, _needed(kind)))]
    command = [sys.executable, "-m", "tests.fuzz", *kinds]
    done = subprocess.run(
        [*command, "--count", str(FILES), "--seed", str(SEED)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stderr == ""
    return dict(re.findall(r"^(\w+) +(\d+ accepted.*(?:\n    .*)*)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_read_or_refused(kind: str, lines: dict[str, str]) -> None:
    for package in _needed(kind):
        pytest.importorskip(package)
    found = re.fullmatch(r"(\d+) accepted +(\d+) refused +0 faults", lines[kind])
    assert found, lines[kind]
    accepted, refused = map(int, found.groups())
    assert accepted >= LEAST
    assert refused >= LEAST
    assert accepted + refused == FILES + len(watch.corpus(kind))


class TwoLinesError(ModelError):
    def __str__(self) -> str:
        return "one\ntwo"


def refuse_in_two_lines() -> None:
    raise TwoLinesError


def never_end() -> None:
    while True:
        pass


def take_memory() -> None:
    memory = bytearray(b"x") * (1 << 30)
    time.sleep(9)
    assert memory


FAULTS = {
    "signal": (lambda: os.kill(os.getpid(), 9), "signal 9"),
    "exit": (lambda: os._exit(3), "exit code 3"),
    "foreign": (lambda: {}["x"], "KeyError: 'x' at "),
    "memory": (take_memory, " MiB"),
    "lines": (refuse_in_two_lines, "its message: "),
    "endless": (never_end, "more than 0.5 s"),
}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("fault", "how"), FAULTS.values(), ids=FAULTS)
def test_the_watcher_sees_each_fault(fault, how, monkeypatch) -> None:
    if how.endswith(" s"):
        monkeypatch.setattr(watch, "MOST_SECONDS", 0.5)
    kind = Kind(lambda: [b"x"], lambda rng, content: content, lambda path: fault())
    monkeypatch.setitem(KINDS, "npy", kind)
    monkeypatch.setattr(watch, "MOST_BYTES", 700 << 20)
    found = watch.fuzz("npy", 0, count=1)
    assert (found.accepted, len(found.faults)) == (0, 1)
    assert how in found.faults[0][1]
