"""Ends writers at every moment: `python killing.py WRITER [--random]`.

Everything is loaded and run once before the first fork, so that a child only writes. The answer is
JSON: how many moments there were, and in words what was not as it must be.
"""

import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import rnnedge
from rnnedge.golden_vectors import write_golden
from rnnedge_runtime import Session
from rnnedge_runtime.array_file import read_arrays
from rnnedge_runtime.atomic_file import restore_folder
from rnnedge_runtime.errors import WriteError
from rnnedge_runtime.proof.golden import GoldenSet

torch.set_num_threads(1)
NOBODY = 65534
EVENTS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
RANDOM = 40
"""Kills at random moments, besides those at every directed one."""
_HOME = Path(tempfile.mkdtemp(prefix="killing-"))  # not in pytest's, which only the user may enter
_MODEL = _HOME / "model.onnx"


def _layer(seed: int) -> torch.nn.Module:
    return rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=2, hidden_size=16), seed=seed)


def _state(folder: Path, seed: int) -> None:
    stream = Session(_MODEL, threads=1, engine="onnxruntime").stream()
    for _ in range(seed):
        stream.step(np.ones((1, 2), np.float32))
    stream.save(folder / "a.npz")


def _export(folder: Path, seed: int) -> None:
    rnnedge.export(_layer(seed), folder / "a.onnx", validate=False)


def _quantize(folder: Path, seed: int) -> None:
    source = _HOME / f"source{seed}.onnx"
    rnnedge.quantize(source, folder / "a.onnx")


def _c_target(folder: Path, seed: int) -> None:
    rnnedge.export(_layer(seed), folder / "a", target="c", validate=False)


def _golden(folder: Path, seed: int) -> None:
    x, state = np.full((2, 1, 2), seed, np.float32), np.zeros((1, 1, 16), np.float32)
    outputs = {"output": np.zeros((2, 1, 16), np.float32), "h_n": state}
    vectors = GoldenSet("", {"input": x, "h_0": state}, outputs, dict.fromkeys(outputs, 1e-6))
    write_golden(folder / "a", model=_MODEL, sets=[vectors], reference="nothing")


def _report(folder: Path, seed: int) -> None:
    from rnnedge.reports.write import write_report

    write_report(_REPORTS[seed], folder / "a.json", command="rnnedge validate")


_REPORTS: dict[int, rnnedge.Report] = {}
WRITERS: dict[str, Callable[[Path, int], None]] = {
    "state": _state,
    "export": _export,
    "quantize": _quantize,
    "c": _c_target,
    "golden": _golden,
    "report": _report,
}


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder; temporary ones too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _value(found: dict[str, bytes]) -> object:
    """Return what files hold; a zip archive has the time in it."""
    if "a.npz" not in found:
        return found
    path = _HOME / "held.npz"
    path.write_bytes(found["a.npz"])
    arrays = read_arrays(path)
    assert isinstance(arrays, dict)
    return {name: array.tobytes() for name, array in arrays.items()}


def forked(write: Callable[[], object]) -> int:
    """Run in a child; return its exit code, negative for a signal: 7 is a `WriteError`."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        write()
        code = 0
    except WriteError as error:
        code = 8 if "\n" in str(error) else 7
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def kill_at(moment: int, folder: Path) -> None:
    """Have this process killed at one moment of a write to a folder."""
    left = itertools.count(moment, -1)

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and str(folder) in str(arguments[:2]) and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync

    def slow_fsync(handle: int) -> None:
        for after in (False, True):
            if after:
                fsync(handle)
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
    os.fsync = slow_fsync


class Trial:
    """One writer, whose file is replaced again and again."""

    def __init__(self, name: str) -> None:
        self.write, self.name, self.wrong = WRITERS[name], name, []
        self.folder = Path(tempfile.mkdtemp(prefix="out-", dir=_HOME))
        self.values = []
        for seed in (2, 1):  # what is there at last is the old one
            self.write(self.folder, seed)
            self.values.append(_value(contents(self.folder)))
        assert self.values[0] != self.values[1]

    def check(self, label: str, *, killed: bool = True) -> None:
        """Look at what is left, and write again."""
        restore_folder(self.folder / "a")
        found = contents(self.folder)
        own = {n: c for n, c in found.items() if not n.startswith(".rnnedge-")}
        if own and _value(own) not in self.values:
            self.wrong.append(f"{label}: neither the old one nor the new one: {sorted(own)}")
        if not own:
            self.wrong.append(f"{label}: nothing is there")
        if not killed and len(own) < len(found):
            self.wrong.append(f"{label}: left {sorted(set(found) - set(own))}")
        if forked(lambda: self.write(self.folder, 1)):
            self.wrong.append(f"{label}: the next write fails")
        found = contents(self.folder)
        if [path.name for path in self.folder.iterdir() if path.name.startswith(".rnnedge-")]:
            self.wrong.append(f"{label}: leftovers stay after the next write")
        if _value(found) != self.values[1]:
            self.wrong.append(f"{label}: the next write is not whole")

    def at_every_moment(self) -> int:
        """Kill at the first moment, the second and so on; return how many there were."""
        for moment in range(500):

            def write(moment: int = moment) -> None:
                kill_at(moment, self.folder)
                self.write(self.folder, 2)

            code = forked(write)
            if code == 0:
                forked(lambda: self.write(self.folder, 1))
                return moment
            if code != -signal.SIGKILL:
                self.wrong.append(f"moment {moment}: exit code {code}")
            self.check(f"moment {moment}")
        return 500

    def at_random(self, seed: int) -> None:
        """Kill at moments that a clock chooses."""
        rng, start = random.Random(seed), time.monotonic()
        forked(lambda: self.write(self.folder, 2))
        most = time.monotonic() - start
        forked(lambda: self.write(self.folder, 1))
        for number in range(RANDOM):
            child = os.fork()
            if child == 0:
                try:
                    self.write(self.folder, 2)
                finally:
                    os._exit(0)
            time.sleep(rng.uniform(0, most))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            self.check(f"random {number}")

    def on_a_full_disk(self) -> None:
        """Let files grow to a few bytes only."""

        def write(most: int) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            self.write(self.folder, 2)

        for most in (0, 100):
            code = forked(lambda most=most: write(most))
            if code != 7:
                self.wrong.append(f"full at {most}: exit code {code} instead of a WriteError")
            if _value(contents(self.folder)) != self.values[1]:
                self.wrong.append(f"full at {most}: the old one is not there")
            self.check(f"full at {most}", killed=False)

    def in_a_folder_of_others(self) -> None:
        """Take away the right to write in the folder."""

        def write() -> None:
            if os.geteuid() == 0:
                os.setegid(NOBODY)
                os.seteuid(NOBODY)
            self.write(self.folder, 2)

        for path in (_HOME, self.folder):
            path.chmod(0o555)
        try:
            code = forked(write)
        finally:
            for path in (_HOME, self.folder):
                path.chmod(0o755)
        if code != 7:
            self.wrong.append(f"read-only: exit code {code} instead of a WriteError")
        self.check("read-only", killed=False)


def main(name: str, *, at_random: bool) -> None:
    """Try one writer, and print what was found."""
    rnnedge.export(_layer(0), _MODEL, validate=False)
    for seed in (1, 2):
        rnnedge.export(_layer(seed), _HOME / f"source{seed}.onnx", validate=False)
    if name == "report":
        for seed in (1, 2):
            source = _HOME / f"source{seed}.onnx"
            _REPORTS[seed] = rnnedge.validate(source, against=_layer(seed), quick=True)
    trial = Trial(name)
    moments = trial.at_every_moment()
    if at_random:
        trial.at_random(19)
    trial.on_a_full_disk()
    trial.in_a_folder_of_others()
    print(json.dumps({"moments": moments, "wrong": trial.wrong}))


if __name__ == "__main__":
    try:
        main(sys.argv[1], at_random="--random" in sys.argv[2:])
    finally:
        shutil.rmtree(_HOME)
