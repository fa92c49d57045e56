"""What is wrong with a row is said in its `error`, and the other rows are answered."""

from dataclasses import replace

import numpy as np
import pytest
from corpora import alone, rows_of
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import Session
from rnnedge_runtime.contract import TensorSpec

pa = pytest.importorskip("pyarrow")

from rnnedge_runtime.scoring import Scorer  # noqa: E402 - pyarrow may be missing

F32 = pa.float32()
LISTS = {
    "lists": pa.list_(pa.list_(F32)),
    "fixed": pa.list_(pa.list_(F32, 2)),
    "large": pa.large_list(pa.large_list(F32)),
    "large-fixed": pa.large_list(pa.list_(F32, 2)),
    "views": pa.list_view(pa.list_(F32)),
}
GOOD = [row.tolist() for row in rows_of([5, 2, 30, 1])]
NAN, INF = float("nan"), float("inf")
BAD = {
    "missing": (None, "expected float32[time, 2], got null"),
    "empty": ([], "expected 1 or more steps, got 0"),
    "nan": ([[1, 2], [3, NAN], [NAN, 4]], "expected float32[time, 2], got nan at step 1"),
    "infinity": ([[-INF, 0]], "expected float32[time, 2], got -inf at step 0"),
}
BAD_LISTS = {
    "wide": ([[1, 2], [1, 2, 3]], "got 3 where 2 number(s) belong at step 1"),
    "narrow": ([[1]], "got 1 where 2 number(s) belong at step 0"),
    "no-step": ([[1, 2], None], "got null where 2 number(s) belong at step 1"),
    "no-number": ([[1, 2], [1, None]], "got null where a number belongs at step 1"),
}


@pytest.fixture(scope="module")
def model():
    return Tiny("gru").content


@pytest.fixture(scope="module")
def expected(model):
    session = Session(model, threads=1)
    return [alone(session, np.float32(row))["output"][-1] for row in GOOD]


def scored(model, values, kind, **options):
    scorer = Scorer(model, columns={"input": "frames"}, **options)
    return scorer.arrow(pa.table({"frames": pa.array(values, kind)}))


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row(model, expected, bad, kind):
    value, text = BAD[bad]
    found = scored(model, [GOOD[0], value, *GOOD[1:], value], LISTS[kind]).to_pydict()
    assert found["error"] == [None, f"frames: {text}", None, None, None, f"frames: {text}"]
    assert found["output"][1] is None
    answers = [answer for answer in found["output"] if answer is not None]
    assert np.array_equal(np.float32(answers), expected)


@pytest.mark.parametrize("kind", ["lists", "large"])
@pytest.mark.parametrize("bad", BAD_LISTS)
def test_a_row_of_another_width(model, expected, bad, kind):
    value, text = BAD_LISTS[bad]
    found = scored(model, [value, *GOOD], LISTS[kind]).to_pydict()
    assert found["error"] == [f"frames: expected float32[time, 2], {text}", *[None] * 4]
    assert np.array_equal(np.float32(found["output"][1:]), expected)


def test_all_kinds_of_bad_rows_at_once(model):
    values = [value for value, _ in {**BAD, **BAD_LISTS}.values()]
    found = scored(model, values + GOOD, LISTS["lists"], keep="all").to_pydict()
    assert [text is None for text in found["error"]] == [False] * 8 + [True] * 4
    assert [None if a is None else len(a) for a in found["output"]] == [None] * 8 + [5, 2, 30, 1]


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        (pa.list_(pa.list_(pa.float64())), "list<item: list<item: double>>"),
        (pa.list_(pa.list_(pa.int32())), "list<item: list<item: int32>>"),
        (pa.list_(F32), "list<item: float>"),
        (pa.string(), "string"),
    ],
)
def test_a_column_of_another_dtype(model, kind, got):
    values = {pa.string(): ["a", None], pa.list_(F32): [[1], None]}.get(kind, [[[1, 2]], None])
    found = scored(model, values, kind).to_pydict()
    got = got.replace("item", pa.list_(F32).value_field.name)
    assert found["error"] == [
        f"frames: expected float32[time, 2], got {got}",
        "frames: expected float32[time, 2], got null",
    ]


def test_a_column_of_fixed_size_lists_of_another_width(model):
    found = scored(model, [[[1, 2, 3]]], pa.list_(pa.list_(F32, 3))).to_pydict()
    assert "got 3 where 2 number(s) belong at step 0" in found["error"][0]


@pytest.mark.parametrize("kind", LISTS)
def test_slices(model, expected, kind):
    values = [[[9, 9]], [[NAN, 9]], GOOD[0], None, *GOOD[1:], [[NAN, NAN]]]
    table = pa.table({"frames": pa.array(values, LISTS[kind])}).slice(2, 5)
    found = Scorer(model, columns={"input": "frames"}).arrow(table).to_pydict()
    assert [text is None for text in found["error"]] == [True, False, True, True, True]
    assert np.array_equal(np.float32([a for a in found["output"] if a is not None]), expected)


def test_chunks_of_a_table(model, expected):
    chunks = [pa.array([row], LISTS["lists"]) for row in GOOD]
    table = pa.table({"frames": pa.chunked_array([*chunks, pa.array([], LISTS["lists"])])})
    found = Scorer(model, columns={"input": "frames"}).arrow(table)
    assert np.array_equal(np.float32(found["output"].to_pylist()), expected)


@pytest.mark.parametrize("keep", ["last", "all"])
def test_an_empty_table(model, keep):
    found = scored(model, [], LISTS["lists"], keep=keep)
    assert (found.num_rows, found.column_names) == (0, ["output", "error"])


def test_inputs_of_different_lengths():
    _, content = two_inputs()
    kind = pa.list_(pa.list_(F32))
    table = pa.table(
        {"left": pa.array([[[1], [2]], [[1]]], kind), "right": pa.array([[[1]], [[1]]], kind)}
    )
    found = Scorer(content).arrow(table).to_pydict()
    assert found["error"] == ["right: expected 2 steps, as left has, got 1", None]


def test_a_row_beyond_the_memory_of_a_model_that_takes_whole_rows():
    content = Tiny("gru", bidirectional=True).content
    long = np.zeros((20_000, 2), np.float32)
    found = scored(content, [GOOD[0], long.tolist()], LISTS["lists"], budget="1MB").to_pydict()
    assert found["error"][0] is None
    assert "steps, which the memory budget takes, got 20000" in found["error"][1]


def test_a_row_on_which_the_engine_fails(model):
    """An index beyond a table is known to the engine alone."""
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.inputs[0] = TensorSpec("input", "int64", ("time", "batch"))
    graph.constants["table"] = np.float32([[1, 2], [3, 4], [5, 6]])
    graph.nodes.insert(0, ("Gather", ["table", "input"], ["rows"], {}))
    graph.nodes = [
        (op, ["rows" if i == "input" and op == "GRU" else i for i in ins], outs, attributes)
        for op, ins, outs, attributes in graph.nodes
    ]
    interface = replace(tiny.interface, inputs=tuple(graph.inputs))
    content = graph.content(replace(tiny.contract, interface=interface))
    values = [[0, 1, 2], [7], [2]]
    found = scored(content, values, pa.list_(pa.int64()), runtime="onnxruntime").to_pydict()
    assert found["error"][0] is found["error"][2] is None
    assert "indices element out of data bounds" in found["error"][1]


def test_a_column_of_lengths(model):
    """Each row ends after so many steps; what is beyond its steps is an error."""
    kind = pa.list_(pa.list_(F32))
    lengths = [2, 0, 4, None, 5, 6, -1, 1]
    columns = {"input": "frames", "lengths": "n"}
    table = pa.table({"frames": pa.array(GOOD[:1] * 8, kind), "n": pa.array(lengths, pa.int32())})
    found = Scorer(model, columns=columns).arrow(table).to_pydict()
    assert found["error"] == [
        None,
        "n: expected 1 to 5 steps, got 0",
        None,
        "n: expected 1 to 5 steps, got null",
        None,
        "n: expected 1 to 5 steps, got 6",
        "n: expected 1 to 5 steps, got -1",
        None,
    ]
    session = Session(model, threads=1)
    for row, steps in ((0, 2), (2, 4), (4, 5), (7, 1)):
        expected = alone(session, np.float32(GOOD[0][:steps]))["output"][-1]
        assert np.array_equal(np.float32(found["output"][row]), expected)


@pytest.mark.parametrize("padding", [[NAN, NAN], [1], None])
def test_what_is_past_the_length_of_a_row_is_not_looked_at(model, expected, padding):
    kind = pa.list_(pa.list_(F32))
    rows = [[*row, padding, padding] for row in GOOD]
    lengths = [len(row) for row in GOOD]
    table = pa.table({"frames": pa.array([*rows, rows[0]], kind), "n": [*lengths, 6]})
    scorer = Scorer(model, columns={"input": "frames", "lengths": "n"})
    found = scorer.arrow(table).to_pydict()
    assert found["error"][:4] == [None] * 4
    assert found["error"][4].startswith("frames: expected float32[time, 2], got ")
    assert np.array_equal(np.float32(found["output"][:4]), expected)


def random_row(random, features):
    """Return a row, and whether it is good."""
    kind = random.choice(["good"] * 6 + ["null", "empty", "nan", "wide", "no-step", "no-number"])
    steps = rows_of([int(random.integers(1, 90))], features, int(random.integers(99)))[0].tolist()
    at, where = int(random.integers(len(steps))), int(random.integers(features))
    if kind == "null":
        return None, False
    if kind == "empty":
        return [], False
    if kind in ("nan", "no-number"):
        steps[at][where] = NAN if kind == "nan" else None
    elif kind == "wide":
        steps[at] = [1.0] * int(random.choice([features - 1, features + 1]))
    elif kind == "no-step":
        steps[at] = None
    return steps, kind == "good"


@pytest.mark.parametrize("seed", range(12))
def test_random_tables(model, seed):
    random = np.random.default_rng(seed)
    drawn = [random_row(random, 2) for _ in range(50)]
    kind = LISTS[["lists", "large", "views"][seed % 3]]
    table = pa.table({"frames": pa.array([row for row, _ in drawn], kind)})
    start, stop = sorted(random.choice(51, 2, replace=False).tolist())
    table = pa.concat_tables([table.slice(start, stop - start), table])
    drawn = drawn[start:stop] + drawn
    scorer = Scorer(model, columns={"input": "frames"}, slots=int(random.integers(1, 9)))
    found = scorer.arrow(table).to_pydict()
    session = Session(model, threads=1)
    for (row, good), answer, error in zip(drawn, found["output"], found["error"], strict=True):
        assert (error is None) == good
        if good:
            expected = alone(session, np.float32(row))["output"][-1]
            assert np.array_equal(np.float32(answer), expected)
        else:
            assert answer is None
