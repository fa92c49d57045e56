"""`rnnedge compare`: two answers to the rows of a corpus."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import rnnedge
from rnnedge_runtime import Session

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from rnnedge.corpus.compare import compare  # noqa: E402 - pyarrow may be missing
from rnnedge_runtime.scoring import score  # noqa: E402

FEATURES = 3
KIND = pa.list_(pa.list_(pa.float32()))


def renamed(path, made):
    """The same model as another maker calls it: other names, and no contract."""
    model = onnx.load(path)
    names = {"input": "frames", "output": "scores"}
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]
    for info in (*model.graph.input, *model.graph.output):
        info.name = names.get(info.name, info.name)
    del model.metadata_props[:]
    onnx.save(model, made)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models, and a corpus of rows from 1 to 60 steps."""
    made = tmp_path_factory.mktemp("corpus")
    torch.manual_seed(0)
    layer = nn.GRU(FEATURES, 8)
    rnnedge.export(layer, made / "a.onnx", validate=False)
    rnnedge.export(layer, made / "int8.onnx", validate=False, quantize="int8")
    renamed(made / "a.onnx", made / "renamed.onnx")
    rnnedge.export(nn.GRU(FEATURES, 8), made / "other.onnx", validate=False)
    rnnedge.export(nn.GRU(FEATURES, 1), made / "one.onnx", validate=False)
    random = np.random.default_rng(0)
    rows = [
        random.standard_normal((n, FEATURES)).astype(np.float32) for n in random.integers(1, 61, 50)
    ]
    names = [f"utt{number:02}" for number in range(len(rows))]
    frames = pa.array([row.tolist() for row in rows], KIND)
    pq.write_table(pa.table({"name": names, "frames": frames}), made / "data.parquet")
    np.savez(made / "data.npz", **dict(zip(names, rows, strict=True)))
    (made / "npy").mkdir()
    for name, row in zip(names, rows, strict=True):
        np.save(made / "npy" / f"{name}.npy", row)
    return made


OPTIONS = {"columns": {"input": "frames"}, "id": "name"}
WORDS = ("--column", "input=frames", "--id", "name")


def one_by_one(folder, model):
    session = Session(folder / model, threads=1)
    with np.load(folder / "data.npz") as rows:
        return {name: session.run(rows[name][:, None]).output[:, 0] for name in rows.files}


def test_the_numbers_are_those_of_rows_one_by_one(folder):
    found = compare(folder / "a.onnx", folder / "other.onnx", folder / "data.parquet", **OPTIONS)
    a, b = (one_by_one(folder, model) for model in ("a.onnx", "other.onnx"))
    last = [a[name][-1].argmax() != b[name][-1].argmax() for name in a]
    apart = {name: np.abs(a[name] - b[name]).max() for name in a}
    assert found.disagreement == np.mean(last) > 0
    assert found.difference == pytest.approx(max(apart.values()), rel=1e-5)
    assert found.worst[0].id == max(apart, key=apart.__getitem__)
    steps = np.concatenate([a[name].argmax(1) != b[name].argmax(1) for name in a])
    assert (found.outputs[0].steps_differ, found.outputs[0].steps) == (steps.sum(), len(steps))
    assert (found.rows, found.compared, found.failed) == (50, 50, 0)
    assert found.word == "COMPARED"


@pytest.mark.parametrize("data", ["data.npz", "npy"])
def test_rows_of_numpy_files_give_the_same(folder, data):
    models = folder / "a.onnx", folder / "other.onnx"
    one = compare(*models, folder / data)
    other = compare(*models, folder / "data.parquet", **OPTIONS)
    assert (one.disagreement, one.outputs) == (other.disagreement, other.outputs)


@pytest.mark.parametrize(
    ("model", "limits", "code"),
    [
        ("int8.onnx", ("--max-disagreement", "0.1", "--max-difference", "0.05"), 0),
        ("int8.onnx", ("--max-difference", "1e-7"), 3),
        ("other.onnx", ("--max-disagreement", "0.01"), 3),
        ("other.onnx", ("--max-disagreement", "1"), 0),
        ("other.onnx", (), 0),
        ("a.onnx", ("--max-disagreement", "0", "--max-difference", "0"), 0),
    ],
)
def test_limits_decide_the_exit_code(rnn, folder, model, limits, code):
    paths = [str(folder / name) for name in ("a.onnx", model, "data.parquet")]
    done = rnn("compare", *paths, *WORDS, *limits)
    assert done.code == code
    verdict = done.err if code else done.out
    assert ("FAIL: " if code else "agree in") in verdict


def test_the_json_is_strict_and_whole(rnn, folder):
    paths = [str(folder / name) for name in ("a.onnx", "other.onnx", "data.parquet")]
    done = rnn("compare", *paths, *WORDS, "--json", "-o", "report.json")

    def refuse(constant):
        raise AssertionError(constant)

    printed = json.loads(done.out, parse_constant=refuse)
    written = json.loads(Path("report.json").read_text(), parse_constant=refuse)
    assert printed["disagreement"] == written["disagreement"] > 0
    assert written["outputs"][0]["over_time"][0]["first"] == 0
    assert len(written["worst"]) == 10


@pytest.fixture
def bad(tmp_path):
    """A corpus with a missing row and one that holds NaN."""
    rows = [[[1.0] * FEATURES] * 3, None, [[math.nan] * FEATURES], [[0.5] * FEATURES] * 2]
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"id": ["p", "q", "r", "s"], "input": pa.array(rows, KIND)}), path)
    return path


def test_rows_that_cannot_be_scored_are_counted(rnn, folder, bad):
    done = rnn("compare", str(folder / "a.onnx"), str(folder / "int8.onnx"), str(bad))
    assert done.code == 4
    assert "2 row(s) could not be scored by either side" in done.out
    assert "agree in 100 % of 2 rows" in done.out


@pytest.mark.parametrize("keep", ["all", "last"])
def test_answers_of_another_device(folder, tmp_path, keep):
    score(
        folder / "a.onnx",
        folder / "data.parquet",
        tmp_path / "kept",
        keep=keep,
        workers=1,
        **OPTIONS,
    )
    data = folder / "data.parquet"
    same = compare(tmp_path / "kept", folder / "a.onnx", data, max_difference=0, **OPTIONS)
    assert same
    assert same.outputs[0].steps == (50 if keep == "last" else same.outputs[0].steps) >= 50
    assert bool(same.notes) == (keep == "last")
    other = compare(tmp_path / "kept", folder / "other.onnx", data, max_difference=0, **OPTIONS)
    assert not other
    assert (
        other.disagreement
        == compare(folder / "a.onnx", folder / "other.onnx", data, **OPTIONS).disagreement
    )


def test_answers_that_another_program_wrote(folder, tmp_path):
    """A single file without a column of errors."""
    answers = one_by_one(folder, "a.onnx")
    table = {"output": pa.array([rows.tolist() for rows in answers.values()], KIND)}
    pq.write_table(pa.table(table), tmp_path / "golden.parquet")
    found = compare(tmp_path / "golden.parquet", folder / "a.onnx", folder / "npy")
    assert (found.compared, found.one_sided) == (50, 0)
    assert found.difference < 1e-6
    assert repr(found) == f"CorpusComparison({found.verdict})"
    assert found._repr_html_().count("<tr>") == len(found.worst) + 1


def test_an_answer_that_is_missing_on_one_side_is_a_difference(folder, tmp_path, bad):
    score(folder / "a.onnx", bad, tmp_path / "kept", keep="all", workers=1)
    good = tmp_path / "good.parquet"
    rows = [[[1.0] * FEATURES] * 3, [[1.0] * FEATURES], None, [[0.5] * FEATURES] * 2]
    pq.write_table(pa.table({"id": ["p", "q", "r", "s"], "input": pa.array(rows, KIND)}), good)
    found = compare(tmp_path / "kept", folder / "a.onnx", good, max_disagreement=0.1)
    assert (found.compared, found.one_sided, found.failed) == (2, 1, 1)
    assert found.disagreement == pytest.approx(1 / 3)
    assert found.difference == math.inf
    assert found.worst[0].id == "q"
    assert "expected float32[time, 3], got null" in found.worst[0].a
    assert not found


def test_answers_of_another_corpus_are_refused(rnn, folder, tmp_path, bad):
    score(folder / "a.onnx", bad, tmp_path / "kept", keep="all", workers=1)
    for ids, message in (
        ("pxrs", "kept: expected the answer to x, found that to q: it belongs to another corpus"),
        ("pqrst", "kept: expected an answer for each row, found fewer"),
        ("pqr", "kept: expected an answer for each row, found more"),
    ):
        frames = pa.array([[[1.0] * FEATURES]] * len(ids), KIND)
        pq.write_table(pa.table({"id": list(ids), "input": frames}), "other.parquet")
        done = rnn("compare", "kept", str(folder / "a.onnx"), "other.parquet")
        assert done.code == 1
        assert message in done.err


def test_names_of_another_exporter_are_paired(folder):
    found = compare(folder / "a.onnx", folder / "renamed.onnx", folder / "npy", max_difference=1e-6)
    assert found
    assert found.outputs[0].name == "output"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one.onnx", "a.onnx", "data.parquet"), "expected as many numbers for each step"),
        (("npy", "npy", "data.parquet"), "expected an .onnx file on one side"),
        (("npy", "a.onnx", "data.parquet"), "or a folder of answers that score wrote"),
        (("a.onnx", "a.onnx", "nothing.parquet"), "nothing.parquet"),
        (("a.onnx", "a.onnx", "a.onnx"), "expected a file that ends in"),
    ],
)
def test_refused(rnn, folder, arguments, message):
    done = rnn("compare", *(str(folder / name) for name in arguments), *WORDS)
    assert done.code == 1
    assert message in done.err


def test_a_limit_of_scores_needs_scores(rnn, folder):
    paths = [str(folder / name) for name in ("one.onnx", "one.onnx", "data.parquet")]
    done = rnn("compare", *paths, *WORDS, "--max-disagreement", "0.5")
    assert done.code == 1
    assert "output is one number for each row, which has no largest score" in done.err
    done = rnn("compare", *paths, *WORDS, "--max-difference", "0")
    assert done.code == 0


def test_a_corpus_without_rows_passes_no_limit(rnn, folder, tmp_path):
    pq.write_table(pa.table({"input": pa.array([], KIND)}), tmp_path / "empty.parquet")
    paths = [str(folder / name) for name in ("a.onnx", "a.onnx")]
    done = rnn("compare", *paths, "empty.parquet", "--max-difference", "0")
    assert done.code == 1
    assert "empty.parquet: expected rows that both sides answer, found none" in done.err


@pytest.mark.skipif(find_spec("rnnedge_native") is None, reason="rnnedge-native is not installed")
def test_one_file_with_two_engines(folder):
    found = compare(
        *[folder / "a.onnx"] * 2,
        folder / "npy",
        runtimes=("native", "onnxruntime"),
        max_difference=1e-5,
    )
    assert found
    assert found.a.engine == "native engine on cpu"
    assert found.b.engine == "ONNX Runtime on cpu"


def test_the_page_opens_offline_and_shows_what_differs(rnn, folder):
    pytest.importorskip("matplotlib")
    paths = [str(folder / name) for name in ("a.onnx", "other.onnx", "data.parquet")]
    done = rnn("compare", *paths, *WORDS, "--max-disagreement", "0.001", "-o", "report.html")
    assert done.code == 3
    page = Path("report.html").read_text()
    assert "Content-Security-Policy" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    for words in ("FAIL", "Rows that differ most", "Error over time", "utt", "SHA-256"):
        assert words in page
    assert page.count("<svg") == 2


def test_a_report_does_not_replace_a_model(rnn, folder):
    paths = [str(folder / name) for name in ("a.onnx", "other.onnx", "data.parquet")]
    done = rnn("compare", *paths, "-o", "report.xml")
    assert done.code == 1
    assert "expected a name that ends in .html or .json" in done.err


def test_a_corpus_that_one_side_cannot_score_is_an_error(rnn, folder, tmp_path):
    """No row was compared, so that no figure could be shown."""
    rnnedge.export(nn.GRU(FEATURES + 1, 8), tmp_path / "wide.onnx", validate=False)
    done = rnn("compare", str(folder / "a.onnx"), "wide.onnx", str(folder / "npy"))
    assert done.code == 1
    assert "expected rows that both sides answer, found 50 that one side alone could" in done.err


def test_a_row_that_one_side_cannot_score_has_an_exit_code(rnn, folder, tmp_path, bad):
    score(folder / "a.onnx", bad, tmp_path / "kept", keep="all", workers=1)
    good = [[[1.0] * FEATURES] * 3, [[1.0] * FEATURES], None, [[0.5] * FEATURES] * 2]
    ids = ["p", "q", "r", "s"]
    pq.write_table(pa.table({"id": ids, "input": pa.array(good, KIND)}), tmp_path / "good.parquet")
    done = rnn("compare", "kept", str(folder / "a.onnx"), "good.parquet")
    assert done.code == 4, done.err
    assert "COMPARED" in done.out
