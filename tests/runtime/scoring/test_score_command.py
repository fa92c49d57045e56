"""`python -m rnnedge_runtime score`, as a user runs it."""

import json
from pathlib import Path

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
        (["--column", "frames"], "--column: expected INPUT=COLUMN, such as --column input=frames"),
        (["--column", "input=x"], "expected a column 'x', found frames: --column input=frames (in"),
        (
            ["--column", "x=frames"],
            "the model has the inputs input, got x",
        ),
        (["--id", "name"], "expected a column 'name', found frames: --id NAME (in Python, id=) na"),
        (["--memory", "512"], "a number alone counts bytes, did you mean 512MB?"),
        (["--only", "3"], "only: expected a share such as 3/16"),
        (["--memory", "lots"], "budget (--memory): expected an amount such as 512MB"),
        (["--keep", "best"], "keep: expected last, all or package.module:function, got 'best'"),
        (["--keep", "mine.py:keep"], "names a file: write it as Python imports it, mine:keep"),
        (["--reader", "mine.py:read"], "names a file: write it as Python imports it, mine:read"),
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


DATA = {
    "a misspelled file": (
        "corpus.parqet",
        "no such file or folder; there is {folder}/corp",
    ),
    "a pattern": ("*.parquet", "a folder is read whole: {folder}"),
    "an address": ("s3://bucket/data", "copy it here, or mount it as a folder"),
}


@pytest.mark.parametrize(("data", "text"), DATA.values(), ids=DATA)
def test_data_that_is_elsewhere(data, text, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes(Tiny("gru").content)
    Path("corpus.parquet").touch()
    assert main(["score", "m.onnx", data, "-o", "out"]) == 1
    err = capsys.readouterr().err
    assert text.format(folder=tmp_path) in err
    assert err.count("\n") == 1


def test_a_model_and_data_that_are_exchanged(tmp_path, capsys):
    assert main(["score", str(tmp_path), "m.onnx", "-o", "out"]) == 1
    assert f"exchanged: MODEL is m.onnx, DATA is {tmp_path}\n" in capsys.readouterr().err


def test_a_checkpoint_as_the_model(tmp_path, capsys):
    (tmp_path / "w.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert main(["score", str(tmp_path / "w.safetensors"), str(tmp_path), "-o", "out"]) == 1
    assert "got a safetensors checkpoint: rnnedge export" in capsys.readouterr().err
