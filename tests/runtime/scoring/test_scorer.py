"""`Scorer`: tables in and out, pickled, and what it keeps."""

import pickle
import sys

import numpy as np
import pytest
from corpora import alone, log_normal, rows_of, table_of
from tiny_models import Tiny

import rnnedge_runtime
from rnnedge_runtime import InputError, MissingPackageError, ModelError, OptionError, Session

pa = pytest.importorskip("pyarrow")

from rnnedge_runtime.scoring import Scorer, arrow_package  # noqa: E402 - pyarrow may be missing

ROWS = rows_of(log_normal(40))
TABLE = table_of(ROWS, utt=[f"u{n}" for n in range(40)])
FUNCTIONS = """
import numpy as np

def norm(output):
    return float(np.linalg.norm(output))

def several(output):
    return {"label": "ab"[int(output[-1].argmax()) % 2], "mean": output.mean(0), "n": len(output)}

def picky(output):
    if len(output) == 3:
        raise ValueError("three steps")
    return len(output) if len(output) != 4 else "four"

def names(outputs):
    return " ".join(sorted(outputs))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "gru.onnx"
    path.write_bytes(Tiny("gru").content)
    return path


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "of_rows.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "of_rows"
    sys.modules.pop("of_rows", None)


def of(model, **options):
    return Scorer(model, columns={"input": "frames"}, **options)


def test_a_pickled_scorer_answers_the_same(model):
    scorer = of(model, id="utt", keep="all", slots=4)
    expected = scorer.arrow(TABLE)
    again = pickle.loads(pickle.dumps(scorer))
    assert again.arrow(TABLE).equals(expected)


def test_it_opens_the_model_at_the_first_call(tmp_path):
    scorer = of(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        scorer.arrow(TABLE)


def test_it_runs_on_one_thread(model):
    assert of(model).session.engine.options.threads == 1


def test_the_id_comes_first_under_its_own_name(model):
    found = of(model, id="utt").arrow(TABLE)
    assert found.column_names == ["utt", "output", "error"]
    assert found["utt"].to_pylist() == TABLE["utt"].to_pylist()


def test_a_column_id_is_passed_on(model):
    table = table_of(ROWS[:2], id=[7, 8])
    assert of(model).arrow(table)["id"].to_pylist() == [7, 8]


def test_batches_come_out_in_order(model):
    scorer = of(model, id="utt")
    batches = TABLE.to_batches(max_chunksize=7)
    found = list(scorer.batches(iter(batches)))
    assert all(isinstance(batch, pa.RecordBatch) for batch in found)
    assert pa.Table.from_batches(found).equals(scorer.arrow(TABLE))


def test_the_schema_is_known_before_the_answers(model):
    scorer = of(model, id="utt", keep="all")
    assert scorer.schema(TABLE.schema) == scorer.arrow(TABLE).schema


def test_small_windows_answer_the_same(model):
    """A budget of 1 MB makes windows of some hundred rows."""
    table = table_of(rows_of(log_normal(3000)))
    found = of(model, budget="1MB", keep="all").arrow(table)
    assert found["output"].num_chunks > 3
    assert found["output"].to_pylist() == of(model, keep="all").arrow(table)["output"].to_pylist()


def test_a_function_of_a_row(model, functions):
    found = of(model, keep=f"{functions}:norm").arrow(TABLE)
    assert found.schema.field("output").type == pa.float64()
    session = Session(model, threads=1)
    expected = [float(np.linalg.norm(alone(session, row)["output"])) for row in ROWS]
    assert found["output"].to_pylist() == expected


def test_a_function_with_several_answers(model, functions):
    found = of(model, keep=f"{functions}:several").arrow(TABLE)
    assert found.column_names == ["label", "mean", "n", "error"]
    assert found["n"].to_pylist() == [len(row) for row in ROWS]
    assert found.schema.field("mean").type == pa.list_(pa.float32())


def test_a_function_that_fails_on_a_row(model, functions):
    table = table_of(rows_of([5, 3, 4]))
    found = of(model, keep=f"{functions}:picky").arrow(table)
    assert found["output"].to_pylist() == [5, None, None]
    errors = found["error"].to_pylist()
    assert errors[0] is None
    assert errors[1] == "keep: of_rows:picky: three steps"
    assert errors[2].startswith("keep: of_rows:picky: ")


def test_a_function_of_several_outputs_gets_them_by_name(model, functions):
    found = of(model, keep=f"{functions}:names", outputs=["output", "h_n"]).arrow(TABLE)
    assert set(found["names"].to_pylist()) == {"h_n output"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"keep": "first"}, "keep: expected last, all or package.module:function, got 'first'"),
        ({"slots": 0}, "slots: expected an integer of 1 or more, got 0"),
        ({"chunk": True}, "chunk: expected an integer of 1 or more, got True"),
        (
            {"budget": "much"},
            "budget (--memory): expected an amount such as 512MB or 2GB, got 'much'",
        ),
        (
            {"budget": 10},
            "budget (--memory): expected 1MB or more, got 10: a number alone counts bytes, did you "
            "mean 10MB?",
        ),
    ],
)
def test_wrong_options(model, options, error):
    with pytest.raises(OptionError) as raised:
        Scorer(model, **options)
    assert str(raised.value) == error


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"columns": {"x": "frames"}},
            InputError,
            "columns (--column INPUT=COLUMN): the model has the inputs input, got x",
        ),
        (
            {},
            InputError,
            "expected a column 'input', found utt, frames: columns={'input': ...} "
            "(--column input=...) names another",
        ),
        ({"id": "name"}, InputError, "expected a column 'name', found utt, frames"),
        ({"outputs": ["y"]}, InputError, "outputs: expected some of output, h_n, got 'y'"),
        ({"keep": "no.such:thing"}, OptionError, "keep: no.such:thing cannot be imported"),
    ],
)
def test_what_does_not_fit_the_model_or_the_table(model, options, error, text):
    with pytest.raises(error) as raised:
        Scorer(
            model, **{"columns": {"input": "frames"} if "id" in options else None, **options}
        ).arrow(TABLE)
    assert str(raised.value).startswith(text)


def test_without_pyarrow_the_error_says_what_to_install(model, monkeypatch):
    arrow_package.arrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError) as raised:
        of(model).arrow(TABLE)
    monkeypatch.undo()
    arrow_package.arrow.cache_clear()
    assert str(raised.value) == (
        "scoring needs pyarrow, which is not installed: pip install 'rnnedge-runtime[score]'"
    )


def test_a_pickled_session_answers_the_same(model):
    session = Session(model, threads=1, engine="onnxruntime")
    again = pickle.loads(pickle.dumps(session))
    assert (again.engine.name, again.engine.options.threads) == ("onnxruntime", 1)
    x = Tiny("gru").input(5, 2)
    assert np.array_equal(again.run(x).output, session.run(x).output)


def test_a_session_of_bytes_is_not_pickled():
    session = rnnedge_runtime.Session(Tiny("gru").content)
    with pytest.raises(ModelError, match="given as bytes cannot be pickled: open it from a path"):
        pickle.dumps(session)
