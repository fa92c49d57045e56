"""Parts are done by processes that may die, and a job that is killed goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from corpora import alone, log_normal, rows_of, table_of
from tiny_models import Tiny

from rnnedge_runtime import Session, WriteError
from rnnedge_runtime.scoring.engines import halve
from rnnedge_runtime.scoring.worker_process import DiedError

pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402 - pyarrow may be missing

from rnnedge_runtime.scoring import score  # noqa: E402

TINY = Tiny("gru")
ROWS = rows_of(log_normal(60, longest=60))
FATAL = 13
"""The row at which the functions below end their process."""
FUNCTIONS = """
import os, pathlib, signal
import numpy as np

ONCE = pathlib.Path(__file__).with_name("died")

def sum_of(output):
    return float(output.sum())

def dies(output):
    if len(output) == 61:
        os.kill(os.getpid(), signal.SIGSEGV)
    return float(output.sum())

def dies_once(output):
    if len(output) == 61 and not ONCE.exists():
        ONCE.write_text("")
        os._exit(3)
    return float(output.sum())

def dies_reading(path):
    if path.endswith("b.wav"):
        os.kill(os.getpid(), signal.SIGKILL)
    return np.ones((3, 2), np.float32)

def talks(output):
    print("this is not an answer")
    return float(output.sum())
"""


@pytest.fixture(autouse=True)
def _functions(tmp_path, monkeypatch):
    (tmp_path / "of_rows.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("of_rows", None)


@pytest.fixture
def job(tmp_path):
    """Return the arguments of a job with a row of 61 steps at place 13."""
    (tmp_path / "gru.onnx").write_bytes(TINY.content)
    rows = list(ROWS)
    rows[FATAL] = rows_of([61], seed=3)[0]
    pq.write_table(table_of(rows), tmp_path / "corpus.parquet", row_group_size=11)
    return rows, (tmp_path / "gru.onnx", tmp_path / "corpus.parquet", tmp_path / "out")


def answers(out):
    return pa.concat_tables([pq.read_table(part) for part in sorted(out.glob("part-*.parquet"))])


def sums(rows):
    session = Session(TINY.content, threads=1)
    return [float(alone(session, row)["output"].sum()) for row in rows]


def test_a_worker_that_dies_has_its_part_done_again(job):
    rows, (*arguments, out) = job
    options = {"columns": {"input": "frames"}, "part_rows": 20, "workers": 1}
    result = score(*arguments, out, keep="of_rows:dies_once", **options)
    assert (result.rows, result.failed_rows) == (60, 0)
    assert np.allclose(answers(out)["output"].to_pylist(), sums(rows))
    assert not list(out.glob(".rnnedge-*"))


def test_a_row_that_ends_its_process_is_found_and_marked(job):
    rows, (*arguments, out) = job
    seen = []
    result = score(
        *arguments,
        out,
        columns={"input": "frames"},
        part_rows=4,
        workers=1,
        keep="of_rows:dies",
        progress=lambda progress: seen.append((progress.rows_done, progress.failed_rows)),
    )
    assert (result.rows, result.failed_rows, result.finished) == (60, 1, True)
    found = answers(out).to_pydict()
    assert found["id"] == list(range(60))
    assert found["error"][FATAL] == "ended the process that scored it: signal SIGSEGV"
    assert found["output"][FATAL] is None
    good = [n for n in range(60) if n != FATAL]
    expected = sums(rows)
    assert np.allclose([found["output"][n] for n in good], [expected[n] for n in good])
    assert seen[-1] == (60, 1)


def test_a_file_that_ends_its_reader_is_marked(job, tmp_path):
    _, (model, _, out) = job
    (tmp_path / "wav").mkdir()
    for name in "abc":
        (tmp_path / "wav" / f"{name}.wav").write_bytes(b"")
    score(model, tmp_path / "wav", out, reader="of_rows:dies_reading", workers=1)
    found = answers(out).to_pydict()
    assert found["id"] == ["a.wav", "b.wav", "c.wav"]
    error = "ended the process that scored it: signal SIGKILL"
    assert found["error"] == [None, error, None]
    assert found["output"][0] == found["output"][2] is not None


def test_what_a_function_prints_is_no_answer(job, capfd):
    _, (*arguments, out) = job
    score(*arguments, out, columns={"input": "frames"}, workers=1, keep="of_rows:talks")
    assert "this is not an answer" in capfd.readouterr().err


@pytest.mark.parametrize("bad", [{0}, {5}, {9}, {2, 3}, {0, 9}, set(range(10)), {4, 6, 8}])
def test_halving_finds_every_row(bad):
    def probe(piece):
        if bad & set(range(*piece)):
            raise DiedError(-11)

    good, errors = halve((0, 10), probe, DiedError(-11))
    assert set(errors) == bad
    assert sorted(n for piece in good for n in range(*piece)) == sorted(set(range(10)) - bad)


SLOWLY = """
import sys, time
from rnnedge_runtime.scoring import score
score(*sys.argv[1:4], columns={"input": "frames"}, part_rows=4, workers=2,
      progress=lambda progress: time.sleep(0.01))
"""


def killed_and_resumed(arguments, kills, seed):
    """Kill a job so many times, each time after some parts, and return how it ended."""
    random = np.random.default_rng(seed)
    out = arguments[-1]
    for _ in range(kills):
        before = len(list(out.glob("part-*")))
        process = subprocess.Popen([sys.executable, "-c", SLOWLY, *map(str, arguments)])
        wanted = before + int(random.integers(1, 4))
        while process.poll() is None and len(list(out.glob("part-*"))) < wanted:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return score(*arguments, columns={"input": "frames"}, part_rows=4, workers=2)


@pytest.mark.parametrize("kills", [1, pytest.param(30, marks=pytest.mark.full)])
def test_a_job_that_is_killed_goes_on_to_the_same_answers(job, tmp_path, kills):
    rows, (model, data, out) = job
    pq.write_table(table_of(rows * (1 + kills // 10)), data, row_group_size=11)
    score(model, data, tmp_path / "whole", columns={"input": "frames"}, part_rows=4, workers=1)
    result = killed_and_resumed((model, data, out), kills, seed=kills)
    assert result.finished
    assert result.parts_kept > 0
    names = sorted(os.listdir(tmp_path / "whole"))
    assert sorted(os.listdir(out)) == names
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


LIMITED = """
import resource, sys
from rnnedge_runtime.errors import WriteError
from rnnedge_runtime.scoring import score
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
try:
    score(*sys.argv[1:4], columns={"input": "frames"}, keep="all", part_rows=20, workers=1)
except WriteError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file as Linux does")
def test_a_disk_without_room_stops_the_job_and_it_goes_on_later(job):
    _, arguments = job
    out = arguments[-1]
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "part-" in ran.stdout
    assert "cannot be written: File too large" in ran.stdout
    assert not (out / "_SUCCESS").exists()
    result = score(*arguments, columns={"input": "frames"}, keep="all", part_rows=20, workers=1)
    assert json.loads((out / "_SUCCESS").read_text())["rows"] == result.rows == 60
    assert not list(out.glob(".rnnedge-*"))


def test_an_error_in_a_worker_is_raised_as_it_is(job):
    _, (*arguments, out) = job
    score(*arguments, out, columns={"input": "frames"}, part_rows=20, workers=1)
    for part in out.glob("part-*"):
        part.unlink()
        part.mkdir()
    with pytest.raises(WriteError, match="expected the name of a file to write, found a folder"):
        score(*arguments, out, columns={"input": "frames"}, part_rows=20, workers=1)


INTERRUPTED = """
import os, signal, sys
from rnnedge_runtime.__main__ import main
from rnnedge_runtime.scoring import command

class Line(command.ProgressLine):
    def __call__(self, progress):
        os.killpg(0, signal.SIGINT)

command.ProgressLine = Line
sys.exit(main(["score", *sys.argv[1:3], "-o", sys.argv[3], "--column", "input=frames",
               "--part-rows", "9", "--workers", "1"]))
"""


def test_an_interrupt_ends_the_job_in_one_line(job):
    """A terminal interrupts the workers too."""
    _, arguments = job
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, arguments)],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert ran.returncode == 130
    assert ran.stderr.splitlines()[-1:] == ["rnnedge_runtime: interrupted"]
    assert "Traceback" not in ran.stderr
