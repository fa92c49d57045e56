"""DATA and folders of answers from strangers: an error of ours, and nothing is left behind."""

import io
import json
import os
import signal
import struct
import zipfile

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, OptionError, WriteError

pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402 - pyarrow may be missing

from rnnedge_runtime.scoring import score  # noqa: E402
from rnnedge_runtime.scoring.job import PartScorer  # noqa: E402
from rnnedge_runtime.scoring.plan import cut  # noqa: E402
from rnnedge_runtime.scoring.sources import RowGroup  # noqa: E402

TINY = Tiny("gru", batch_first=True)
X = np.ones((2, 3, 2), np.float32)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Parts are done here, without child processes, which `test_workers.py` looks at."""

    def run(job, parts, report, workers):
        scorer = PartScorer(job)
        for part in parts:
            report.done(part, scorer.do(part))

    monkeypatch.setattr("rnnedge_runtime.scoring.corpus.run_local", run)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "gru.onnx"
    path.write_bytes(TINY.content)
    return path


def scored(model, name, content, **options):
    data = model.with_name(name)
    data.write_bytes(content)
    return score(model, data, model.with_name("out"), **options)


def archive(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


IDS = {
    "complex": np.array([1j, 2]),
    "wide": np.array([1, 2], np.longdouble),
    "beyond-int64": np.array([2**64 - 1, 2], np.uint64),
    "half-a-character": np.array(["a\ud800", "b"]),
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_ids_that_no_column_holds_are_refused(model, ids):
    with pytest.raises(InputError, match=r"rows.npz: id: expected integers or text, got "):
        scored(model, "rows.npz", archive(input=X, id=ids))


def test_rows_without_values_are_refused(model):
    head = io.BytesIO()
    fields = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 0, 2)}
    np.lib.format.write_array_header_1_0(head, fields)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("input.npy", head.getvalue())
    with pytest.raises(InputError, match="expected at most 1048576 along an axis"):
        scored(model, "rows.npz", file.getvalue())


def test_a_file_whose_name_is_not_utf8_has_an_id(model):
    folder = model.with_name("rows")
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"a\xff.npy")).touch()
    except OSError:
        pytest.skip("the file system has no such names")
    (folder / "b.npy").write_bytes(b"no array")
    result = score(model, folder, model.with_name("out"))
    (part,) = model.with_name("out").glob("*.parquet")
    table = pq.read_table(part)
    assert (result.rows, result.failed_rows) == (2, 2)
    assert table["id"].to_pylist() == ["a\\udcff.npy", "b.npy"]
    assert table["error"][0].as_py().startswith("a\\udcff.npy: cannot be read: ")


def test_an_input_may_be_called_lengths(model):
    model.write_bytes(TINY.graph().content(names={"input": "lengths"}))
    result = scored(model, "rows.npz", archive(lengths=X, id=np.array([1, 2])))
    assert (result.rows, result.failed_rows) == (2, 0)


STEPS = pa.ListArray.from_arrays(
    pa.array([0, 3, 7], pa.int32()), pa.array([[1, 1]] * 7, pa.list_(pa.float32(), 2))
)
TEXTS = pa.array(["a" * 20, "b" * 30], pa.string_view())
PATTERN = struct.pack("<3i", 0, 3, 7)
VIEW = struct.pack("<i4s", 20, b"aaaa")
LIES = {
    "beyond": (PATTERN, struct.pack("<3i", 0, 3, 2**31 - 1)),
    "negative": (PATTERN, struct.pack("<3i", -5, 3, 7)),
    "backwards": (PATTERN, struct.pack("<3i", 0, 7, 3)),
    "far": (PATTERN, struct.pack("<3i", 2**30, 2**30 + 1, 2**30 + 2)),
    "view": (VIEW + struct.pack("<ii", 0, 0), VIEW + struct.pack("<ii", 9, 2**30)),
    "no-utf8": (b"a" * 20, b"\xff" * 20),
}


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize(("held", "claimed"), LIES.values(), ids=LIES)
def test_arrow_whose_places_lie_is_refused(model, held, claimed, stream):
    table = pa.table({"input": STEPS, "id": TEXTS})
    file = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table)
    content = file.getvalue()
    assert content.count(held) == 1
    with pytest.raises(InputError, match=r"rows.arrow: cannot be read: "):
        scored(model, "rows.arrow", content.replace(held, claimed))


def with_rows(stated):
    """Return a Parquet file of 1000 rows that states another number of them."""
    table = pa.table({"id": range(1000), "input": [X[0].tolist()] * 1000})
    file = io.BytesIO()
    pq.write_table(table, file, compression="none")
    content = file.getvalue()
    size = struct.unpack("<I", content[-8:-4])[0]
    number, made = stated << 1, b""
    while number > 127:
        made += bytes([number & 127 | 128])
        number >>= 7
    foot = content[-8 - size : -8].replace(b"\x16\xd0\x0f", b"\x16" + made + bytes([number]))
    return content[: -8 - size] + foot + struct.pack("<I", len(foot)) + b"PAR1"


@pytest.mark.parametrize("stated", [1001, 2**40, 2**62], ids=str)
def test_parquet_that_states_more_rows_than_it_has_is_refused(model, stated):
    expected = f"rows.parquet: expected {stated} rows or more, as it states, found 1000"
    with pytest.raises(InputError, match=expected):
        scored(model, "rows.parquet", with_rows(stated))


@pytest.mark.parametrize("option", [{"id": "a\udcff"}, {"columns": {"input": "a\udcff"}}], ids=str)
def test_a_name_that_is_not_utf8_is_refused(model, option):
    with pytest.raises(OptionError, match=r"columns: expected names in UTF-8, got 'a\\udcff'"):
        scored(model, "rows.npz", archive(input=X), **option)


@pytest.mark.parametrize("amount", ["9" * 400, "9" * 400 + "TB", "1025TiB"])
def test_an_amount_of_memory_that_no_machine_has_is_refused(model, amount):
    with pytest.raises(OptionError, match="expected 1024TiB or less, got "):
        scored(model, "rows.npz", archive(input=X), budget=amount)


def test_a_number_of_parts_that_nobody_can_plan_is_refused():
    with pytest.raises(OptionError, match="part_rows: 1,099,511,627,776 rows become more than"):
        cut([RowGroup(1 << 40, 1)], 1000)


PLANS = {
    "text": b"no JSON",
    "no-utf8": b"\xff\xfe",
    "nested": b"[" * 100_000,
    "list": b"[]",
    "twice": b'{"plan": 1, "plan": 2}',
    "long-number": b'{"plan": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("content", PLANS.values(), ids=PLANS)
def test_a_damaged_plan_is_refused(model, content):
    out = model.with_name("out")
    out.mkdir()
    (out / "_plan.json").write_bytes(content)
    with pytest.raises(WriteError, match=r"_plan\.json: is damaged: "):
        scored(model, "rows.npz", archive(input=X))


MARKS = {
    "nested": lambda mark: "[" * 9000,
    "list": lambda mark: "[]",
    "missing": lambda mark: json.dumps({k: v for k, v in mark.items() if k != "failed"}),
    "negative": lambda mark: json.dumps({**mark, "failed": -1}),
    "text": lambda mark: json.dumps({**mark, "steps": "many"}),
    "no-utf8": lambda mark: b"\xff",
}


@pytest.mark.parametrize("changed", MARKS.values(), ids=MARKS)
def test_a_part_with_a_damaged_mark_is_written_again(model, changed):
    first = scored(model, "rows.npz", archive(input=X))
    (part,) = model.with_name("out").glob("*.parquet")
    table = pq.read_table(part)
    mark = json.loads(pq.read_metadata(part).metadata[b"rnnedge.score"])
    pq.write_table(table.replace_schema_metadata({"rnnedge.score": changed(mark)}), part)
    again = scored(model, "rows.npz", archive(input=X))
    assert (again.parts_kept, again.rows, again.steps) == (0, first.rows, first.steps)


def test_nothing_is_left_of_a_worker_that_was_killed(model, monkeypatch):
    def run(job, parts, report, workers):
        child = os.fork()
        if child == 0:
            PartScorer(job).do(parts[0], told=lambda *counts: os.kill(os.getpid(), signal.SIGKILL))
        os.waitpid(child, 0)
        raise InputError("the worker died")

    monkeypatch.setattr("rnnedge_runtime.scoring.corpus.run_local", run)
    with pytest.raises(InputError, match="the worker died"):
        scored(model, "rows.npz", archive(input=X))
    assert os.listdir(model.with_name("out")) == ["_plan.json"]
