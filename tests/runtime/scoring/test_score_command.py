"""`python -m rnnedge_runtime score`, as a user runs it."""

import json

import pytest
from corpora import rows_of, table_of
from tiny_models import Tiny

from rnnedge_runtime.__main__ import main

pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402 - pyarrow may be missing

ROWS = rows_of([5, 2, 30, 1])


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in this process, on four rows and those that are added."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gru.onnx").write_bytes(Tiny("gru").content)

    def run(*options, more=()):
        pq.write_table(table_of([*ROWS, *more]), tmp_path / "corpus.parquet")
        arguments = ["score", "gru.onnx", "corpus.parquet", "-o", "out", "--workers", "1"]
        code = main([*arguments, "--column", "input=frames", *options])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_corpus_without_errors_exits_with_0(run):
    code, out, err = run()
    assert code == 0
    assert out.splitlines()[:2] == ["rows     4", "errors   0"]
    assert err.startswith("4 of 4 rows, ")
    assert err.endswith(" steps/s, 0 s left, 0 errors\n")


def test_some_bad_rows_exit_with_4(run, tmp_path):
    code, out, err = run("--json", more=[None])
    found = json.loads(out)
    assert (code, found["rows"], found["failed_rows"], found["finished"]) == (4, 5, 1, True)
    assert err.endswith("1 error\n")
    assert pq.read_table(tmp_path / "out").column_names == ["id", "output", "error"]


def test_strict_exits_with_1(run):
    code, out, err = run("--strict", more=[None])
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("rnnedge_runtime: row 4: frames: expected float32")


def test_a_share_says_that_others_are_left(run, tmp_path):
    code, out, _ = run("--only", "1/2", "--part-rows", "2")
    assert code == 0
    assert "_SUCCESS is not written yet" in out
    code, out, _ = run("--only", "2/2", "--part-rows", "2")
    assert (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--column", "frames"], "--column: expected input=column, got 'frames'"),
        (["--column", "input=x"], "expected a column 'x', found frames"),
        (["--only", "3"], "only: expected a share such as 3/16"),
        (["--memory", "lots"], "budget: expected an amount such as 512MB"),
        (["--keep", "best"], "keep: expected last, all or package.module:function, got 'best'"),
        (["--address", "auto"], "address: requires engine='ray', got 'local'"),
    ],
)
def test_an_error_is_one_line_and_exits_with_1(run, options, text):
    code, out, err = run(*options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert text in err


@pytest.mark.parametrize("options", [["--workers", "0"], ["--part-rows", "-1"], ["--runtime", "x"]])
def test_wrong_usage_exits_with_2(run, options):
    with pytest.raises(SystemExit) as stopped:
        run(*options)
    assert stopped.value.code == 2
