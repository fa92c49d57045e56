"""The blocks of `docs/scoring.md` run, each where its packages are installed."""

import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from doc_blocks import ROOT, Block, read_blocks
from running_blocks import PageRunner, run_in_shell

import rnnedge
from rnnedge_runtime import Session

pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402 - pyarrow may be missing

PAGE = ROOT / "docs" / "scoring.md"
BLOCKS = [
    block
    for block in read_blocks(PAGE)
    if block.language in ("python", "console") and not block.reason.startswith("installs")
]
ENGINES = ("ray", "pyspark", "daft")
LENGTHS = (5, 1, 30, 9)


def needs(block: Block) -> str:
    """Return the data engine of a block, or nothing."""
    return next((name for name in ENGINES if f"import {name}" in block.text), "") or next(
        (name for name in ENGINES if f"from {name}" in block.text), ""
    )


@pytest.fixture
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Make the files that the page names, and return the answer to each row by its id."""
    monkeypatch.chdir(tmp_path)
    layer = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=3, hidden_size=4), seed=0)
    rnnedge.export(layer, "model.onnx", validate=False)
    random = np.random.default_rng(0)
    rows = [random.standard_normal((n, 3)).astype(np.float32) for n in LENGTHS]
    names = [f"u{number}" for number in range(len(rows))]
    kind = pa.list_(pa.list_(pa.float32()))
    frames = pa.array([row.tolist() for row in rows], kind)
    pq.write_table(pa.table({"utt": names, "frames": frames}), "corpus.parquet")
    session = Session("model.onnx", threads=1)
    answers = [session.run(row[:, None]).output[-1, 0] for row in rows]
    return dict(zip(names, answers, strict=True))


def read(folder: str) -> dict[str, list[float]]:
    found = {}
    for row in pq.read_table(folder).to_pylist():
        row |= row.pop("answer", {})
        assert row["error"] is None
        found[row["utt"]] = row["output"]
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: needs(block) or f"line-{block.line}")
def test_block(
    block: Block,
    expected: dict[str, np.ndarray],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if needs(block):  # it leaves threads and processes of its own behind
        pytest.importorskip(needs(block))
        (tmp_path / "block.py").write_text(block.text)
        command = shlex.join([sys.executable, "block.py"])
        environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
        code, printed = run_in_shell(command, tmp_path, environment)
        assert code == 0, printed
    else:
        PageRunner(tmp_path, capfd).run(block)
    if "table.column_names" in block.text:  # what it prints is all that it does
        return
    found = read("answers")
    assert found.keys() == expected.keys()
    for name, answer in expected.items():
        assert np.array_equal(np.float32(found[name]), answer)
