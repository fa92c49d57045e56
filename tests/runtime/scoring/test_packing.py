"""Packed rows answer what each row answers alone."""

import numpy as np
import pytest
from corpora import alone, log_normal, rows_of, table_of
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import Session

pa = pytest.importorskip("pyarrow")

from rnnedge_runtime.scoring import Scorer  # noqa: E402 - pyarrow may be missing

ENGINES = ["onnxruntime", "native"]
LENGTHS = log_normal(90)
MODELS = {
    "states": {},
    "lengths": {"lengths": True},
    "batch-first": {"batch_first": True},
    "no-states": {"states": False},
    "both-directions": {"bidirectional": True},
    "both-directions-lengths": {"bidirectional": True, "lengths": True},
}
PACKING = {
    "states": "continuous",
    "lengths": "continuous",
    "batch-first": "continuous",
    "no-states": "equal",
    "both-directions": "equal",
    "both-directions-lengths": "padded",
}


def opened(content, runtime, **options):
    if runtime == "native":
        pytest.importorskip("rnnedge_native")
    scorer = Scorer(content, columns={"input": "frames"}, runtime=runtime, **options)
    return scorer, Session(content, threads=1, engine=runtime)


def close(cell, found, expected):
    if cell == "rnn":  # ONNX Runtime multiplies a single row by other kernels than several
        return np.allclose(found, expected, rtol=0, atol=1e-6)
    return np.array_equal(found, expected)


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_last_step_and_the_final_states(kind, cell, runtime):
    tiny = Tiny(cell, **MODELS[kind])
    names = [spec.name for spec in tiny.interface.outputs]
    scorer, session = opened(tiny.content, runtime, outputs=names, slots=8, chunk=16)
    rows = rows_of(LENGTHS)
    found = scorer.arrow(table_of(rows)).to_pydict()
    assert found["error"] == [None] * len(rows)
    for number, row in enumerate(rows):
        expected = alone(session, row)
        assert close(cell, np.float32(found["output"][number]), expected["output"][-1])
        for name in names[1:]:
            assert close(cell, np.float32(found[name][number]), expected[name])


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("kind", MODELS)
def test_all_steps(kind, runtime):
    scorer, session = opened(Tiny("gru", **MODELS[kind]).content, runtime, keep="all", slots=5)
    rows = rows_of(LENGTHS)
    found = scorer.arrow(table_of(rows))["output"].to_pylist()
    for answer, row in zip(found, rows, strict=True):
        assert np.array_equal(np.float32(answer), alone(session, row)["output"])


@pytest.mark.parametrize("kind", MODELS)
def test_how_rows_are_packed(kind):
    scorer, _ = opened(Tiny("lstm", **MODELS[kind]).content, "onnxruntime")
    assert scorer.layout.packing == PACKING[kind]


def test_final_states_of_a_model_without_lengths_are_those_of_whole_rows():
    scorer, _ = opened(Tiny("gru").content, "onnxruntime", outputs=["h_n"])
    assert scorer.layout.packing == "equal"


def test_little_padding_in_slots():
    scorer, _ = opened(Tiny("gru").content, "onnxruntime")
    scorer.arrow(table_of(rows_of(log_normal(600, middle=5, longest=3000))))
    assert 1 - scorer.tally.steps / scorer.tally.computed < 0.07


def test_little_padding_of_whole_rows():
    scorer, _ = opened(Tiny("gru", bidirectional=True, lengths=True).content, "onnxruntime")
    scorer.arrow(table_of(rows_of(log_normal(600, middle=5, longest=3000))))
    assert 1 - scorer.tally.steps / scorer.tally.computed < 0.10


@pytest.mark.parametrize("slots", [1, 3, 200])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_any_number_of_slots_and_any_chunk(slots, chunk):
    scorer, session = opened(Tiny("lstm").content, "onnxruntime", slots=slots, chunk=chunk)
    rows = rows_of([3, 1, 40, 1, 12, 5])
    found = scorer.arrow(table_of(rows))["output"].to_pylist()
    expected = [alone(session, row)["output"][-1] for row in rows]
    assert np.array_equal(np.float32(found), expected)


def test_a_model_that_mixes_rows_runs_each_alone():
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.drop("output")
    graph.add("ReduceMean", ["raw"], ["mean"], axes=[1], keepdims=1)
    graph.add("Sub", ["raw", "mean"], ["output"])
    content = graph.content(tiny.contract)
    scorer, session = opened(content, "onnxruntime", keep="all")
    rows = rows_of([4, 2, 4])
    found = scorer.arrow(table_of(rows))["output"].to_pylist()
    assert scorer.layout.packing == "alone"
    for answer, row in zip(found, rows, strict=True):
        assert np.array_equal(np.float32(answer), alone(session, row)["output"])


def test_several_inputs_and_outputs():
    _, content = two_inputs()
    scorer = Scorer(content, columns={"left": "l"}, slots=3)
    session = Session(content, threads=1)
    lefts, rights = rows_of([4, 9, 1, 4], 1), rows_of([4, 9, 1, 4], 1, seed=1)
    kind = pa.list_(pa.list_(pa.float32()))
    table = pa.table(
        {
            "right": pa.array([row.tolist() for row in rights], kind),
            "l": pa.array([row.tolist() for row in lefts], kind),
        }
    )
    found = scorer.arrow(table)
    assert found.column_names == ["output", "negative", "error"]
    for number, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        answer = session.run({"left": left[:, None], "right": right[:, None]}).outputs
        for name in ("output", "negative"):
            assert np.array_equal(np.float32(found[name][number].as_py()), answer[name][-1, 0])
