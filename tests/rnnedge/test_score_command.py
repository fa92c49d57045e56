"""`rnnedge score` says and does what `python -m rnnedge_runtime score` does."""

import json
import re

import click
import numpy as np
import pytest

import rnnedge
from rnnedge.cli import main
from rnnedge.cli.score_command import score
from rnnedge_runtime.scoring.command import OPTIONS

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    layer = rnnedge.build(rnnedge.RNNSpec(cell="lstm", input_size=2, hidden_size=3), seed=0)
    rnnedge.export(layer, folder / "lstm.onnx", validate=False)
    kind = pa.list_(pa.list_(pa.float32()))
    rows = [np.ones((n, 2)).tolist() for n in (4, 1, 9)]
    pq.write_table(pa.table({"input": pa.array([*rows, None], kind)}), folder / "c.parquet")
    return folder


def test_bad_rows_exit_with_4(folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                *("score", str(folder / "lstm.onnx"), str(folder / "c.parquet")),
                *("-o", str(folder / "out"), "--output-name", "output", "--output-name", "c_n"),
                "--json",
            ]
        )
    assert stopped.value.code == 4
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["failed_rows"]) == (4, 1)
    assert pq.read_table(folder / "out").column_names == ["id", "output", "c_n", "error"]


def test_both_commands_have_the_same_options():
    given = {
        option.lstrip("-").replace("-", "_")
        for parameter in score.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }
    assert given == {*OPTIONS, "output"}


def test_help_fits_80_columns(capsys):
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"--only I/N\s+One share of several", text)
