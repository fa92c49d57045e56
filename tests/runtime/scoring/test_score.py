"""`score`: files in, a folder of parts out."""

import json
import os
import sys

import numpy as np
import pytest
from corpora import alone, log_normal, rows_of, table_of
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import InputError, ModelError, OptionError, Session, WriteError

pa = pytest.importorskip("pyarrow")

import pyarrow.feather as feather  # noqa: E402 - pyarrow may be missing
import pyarrow.parquet as pq  # noqa: E402

from rnnedge_runtime.scoring import score  # noqa: E402
from rnnedge_runtime.scoring.job import PartScorer  # noqa: E402

TINY = Tiny("gru")
ROWS = rows_of(log_normal(40, longest=60))
TABLE = table_of(ROWS, utt=[f"u{n:02}" for n in range(40)])
COLUMNS = {"input": "frames"}


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    """Parts are done here, without child processes, which `test_workers.py` looks at."""

    def run(job, parts, report, workers):
        scorer = PartScorer(job)
        for part in parts:
            told = lambda *counts, part=part: report.told(part, *counts)  # noqa: E731
            report.done(part, scorer.do(part, told=told))

    monkeypatch.setattr("rnnedge_runtime.scoring.corpus.run_local", run)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    session = Session(TINY.content, threads=1)
    return [alone(session, row)["output"][-1] for row in ROWS]


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "gru.onnx"
    path.write_bytes(TINY.content)
    return path


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.parquet"
    pq.write_table(TABLE, path, row_group_size=7)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def answers(out):
    parts = sorted(out.glob("part-*.parquet"))
    return pa.concat_tables([pq.read_table(part) for part in parts])


def equal(found, expected):
    return np.array_equal(np.float32(found["output"].to_pylist()), expected)


def success(out):
    return json.loads((out / "_SUCCESS").read_text())


def test_a_file_of_several_row_groups(model, corpus, out, expected):
    result = score(model, corpus, out, columns=COLUMNS, id="utt")
    found = answers(out)
    assert found.column_names == ["utt", "output", "error"]
    assert found["utt"].to_pylist() == TABLE["utt"].to_pylist()
    assert equal(found, expected)
    assert (result.rows, result.failed_rows, result.finished) == (40, 0, True)
    assert success(out)["rows"], success(out)["failed_rows"] == (40, 0)


def test_pyarrow_reads_the_folder_as_one_table(model, corpus, out, expected):
    score(model, corpus, out, columns=COLUMNS, part_rows=3)
    assert equal(pq.read_table(out), expected)


def test_without_an_id_rows_are_numbered(model, corpus, out):
    score(model, corpus, out, columns=COLUMNS, part_rows=9)
    assert answers(out)["id"].to_pylist() == list(range(40))


@pytest.mark.parametrize("rows", [1, 7, 10, 39, 40, 1000])
def test_parts_of_so_many_rows(model, corpus, out, rows, expected):
    score(model, corpus, out, columns=COLUMNS, part_rows=rows)
    parts = sorted(out.glob("part-*.parquet"))
    sizes = [pq.read_metadata(part).num_rows for part in parts]
    assert sizes == [min(rows, 40 - at) for at in range(0, 40, rows)]
    assert equal(answers(out), expected)


def test_a_folder_is_read_in_the_order_of_file_names(model, tmp_path, out, expected):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, start, stop in (("b", 10, 30), ("c", 30, 40), ("a", 0, 10)):
        pq.write_table(TABLE.slice(start, stop - start), folder / f"{name}.parquet")
    (folder / "_SUCCESS").write_text("")
    (folder / ".part.crc").write_text("")
    score(model, folder, out, columns=COLUMNS, part_rows=12, id="utt")
    assert answers(out)["utt"].to_pylist() == TABLE["utt"].to_pylist()
    assert equal(answers(out), expected)


@pytest.mark.parametrize("compression", ["uncompressed", "lz4"])
@pytest.mark.parametrize("suffix", [".feather", ".arrow"])
def test_arrow_files(model, tmp_path, out, suffix, compression, expected):
    path = tmp_path / f"corpus{suffix}"
    feather.write_feather(TABLE, path, compression=compression, chunksize=11)
    score(model, path, out, columns=COLUMNS, part_rows=9)
    assert equal(answers(out), expected)


def test_a_stream_of_arrow(model, tmp_path, out, expected):
    path = tmp_path / "corpus.arrow"
    with pa.ipc.new_stream(path, TABLE.schema) as stream:
        stream.write_table(TABLE, max_chunksize=11)
    score(model, path, out, columns=COLUMNS, part_rows=9)
    assert equal(answers(out), expected)


def test_an_npz_with_the_axes_of_the_inputs_and_lengths(model, tmp_path, out, expected):
    lengths = np.array([len(row) for row in ROWS])
    padded = np.full((lengths.max(), 40, 2), np.nan, np.float32)
    for number, row in enumerate(ROWS):
        padded[: len(row), number] = row
    np.savez(tmp_path / "corpus.npz", frames=padded, lengths=lengths, utt=TABLE["utt"].to_pylist())
    score(model, tmp_path / "corpus.npz", out, columns=COLUMNS, id="utt", part_rows=15)
    assert equal(answers(out), expected)
    assert answers(out)["utt"].to_pylist() == TABLE["utt"].to_pylist()


def test_an_npz_with_rows_first_where_the_lengths_show_it(model, tmp_path, out, expected):
    lengths = np.array([len(row) for row in ROWS])
    padded = np.zeros((40, lengths.max(), 2), np.float32)
    for number, row in enumerate(ROWS):
        padded[number, : len(row)] = row
    np.savez(tmp_path / "corpus.npz", input=padded, lengths=lengths)
    score(model, tmp_path / "corpus.npz", out)
    assert equal(answers(out), expected)


def test_lengths_of_another_name(model, tmp_path, out, expected):
    lengths = np.array([len(row) for row in ROWS])
    padded = np.zeros((lengths.max(), 40, 2), np.float32)
    for number, row in enumerate(ROWS):
        padded[: len(row), number] = row
    np.savez(tmp_path / "corpus.npz", input=padded, n=lengths)
    score(model, tmp_path / "corpus.npz", out, columns={"lengths": "n"})
    assert equal(answers(out), expected)
    frames = padded.swapaxes(0, 1).tolist()
    pq.write_table(table_of(frames, n=lengths), tmp_path / "corpus.parquet")
    columns = {**COLUMNS, "lengths": "n"}
    score(model, tmp_path / "corpus.parquet", tmp_path / "out2", columns=columns)
    assert equal(answers(tmp_path / "out2"), expected)


def test_an_npz_with_an_array_for_each_row(model, tmp_path, out, expected):
    np.savez(tmp_path / "corpus.npz", **{f"u{n:02}": row for n, row in enumerate(ROWS)})
    score(model, tmp_path / "corpus.npz", out)
    assert equal(answers(out), expected)
    assert answers(out)["id"].to_pylist() == TABLE["utt"].to_pylist()


def test_lengths_of_an_npz_that_are_out_of_range(model, tmp_path, out):
    np.savez(
        tmp_path / "corpus.npz", input=np.zeros((5, 3, 2), np.float32), lengths=np.array([5, 0, 6])
    )
    result = score(model, tmp_path / "corpus.npz", out)
    assert answers(out)["error"].to_pylist() == [
        None,
        "input: expected 1 or more steps, got 0",
        "lengths: expected 0 to 5 steps, got 6",
    ]
    assert result.failed_rows == 2


def test_a_folder_of_npy_files(model, tmp_path, out, expected):
    folder = tmp_path / "rows"
    (folder / "more").mkdir(parents=True)
    for number, row in enumerate(ROWS[:5]):
        np.save(folder / f"{number}.npy", row)
    np.save(folder / "5.npy", ROWS[5].astype(np.float64))
    (folder / "6.npy").write_bytes(b"nothing")
    np.save(folder / "7.npy", np.zeros((3, 3), np.float32))
    np.save(folder / "more" / "8.npy", ROWS[8])
    result = score(model, folder, out, part_rows=4)
    found = answers(out).to_pydict()
    assert found["id"] == [*(f"{n}.npy" for n in range(8)), "more/8.npy"]
    assert np.array_equal(np.float32(found["output"][:5]), expected[:5])
    assert np.array_equal(np.float32(found["output"][8]), expected[8])
    assert (
        found["error"][5] == f"input: expected float32[time, 2], got float64{list(ROWS[5].shape)}"
    )
    assert found["error"][6].startswith("6.npy: cannot be read: ")
    assert found["error"][7] == "input: expected float32[time, 2], got float32[3, 3]"
    assert result.failed_rows == 3


READER = """
import wave
import numpy as np

def frames(path):
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    if len(samples) % 2:
        raise ValueError("an odd number of samples")
    return samples.reshape(-1, 2).astype(np.float32) / 32768
"""


@pytest.fixture
def reader(tmp_path, monkeypatch):
    (tmp_path / "read_wav.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "read_wav:frames"
    sys.modules.pop("read_wav", None)


def write_wav(path, samples):
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.asarray(samples, np.int16).tobytes())


def test_a_folder_of_wav_files_with_a_reader(model, tmp_path, out, reader):
    folder = tmp_path / "wav"
    folder.mkdir()
    write_wav(folder / "a.wav", [100, 200, 300, 400])
    write_wav(folder / "b.wav", [1, 2, 3])
    (folder / "a.txt").write_text("what was spoken")
    score(model, folder, out, reader=reader)
    found = answers(out).to_pydict()
    assert found["id"] == ["a.wav", "b.wav"]
    row = np.float32([[100, 200], [300, 400]]) / 32768
    expected = alone(Session(TINY.content, threads=1), row)["output"][-1]
    assert np.array_equal(np.float32(found["output"][0]), expected)
    assert found["error"] == [None, "b.wav: cannot be read: an odd number of samples"]


def test_wav_files_need_a_reader(model, tmp_path, out):
    write_wav(tmp_path / "a.wav", [1, 2])
    with pytest.raises(InputError, match=r"a\.wav: expected a function .* reader= \(--reader\)"):
        score(model, tmp_path / "a.wav", out)


def test_an_empty_table(model, tmp_path, out):
    pq.write_table(TABLE.slice(0, 0), tmp_path / "empty.parquet")
    result = score(model, tmp_path / "empty.parquet", out, columns=COLUMNS, id="utt")
    assert result.finished
    assert answers(out).column_names == ["utt", "output", "error"]
    assert (answers(out).num_rows, success(out)["rows"]) == (0, 0)


def test_a_file_without_a_row_among_others(model, tmp_path, out, expected):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, table in (("a", TABLE.slice(0, 0)), ("b", TABLE), ("c", TABLE.slice(0, 0))):
        pq.write_table(table, folder / f"{name}.parquet")
    score(model, folder, out, columns=COLUMNS)
    assert equal(answers(out), expected)


def test_a_column_of_another_type_in_a_later_file(model, tmp_path, out, expected):
    folder = tmp_path / "folder"
    folder.mkdir()
    wide = table_of(ROWS[:2]).cast(pa.schema([("frames", pa.list_(pa.list_(pa.float64())))]))
    large = table_of(ROWS).cast(pa.schema([("frames", pa.large_list(pa.list_(pa.float32())))]))
    for name, table in (("a", table_of(ROWS)), ("b", wide), ("c", large)):
        pq.write_table(table, folder / f"{name}.parquet")
    result = score(model, folder, out, columns=COLUMNS)
    found = answers(out)
    assert result.failed_rows == 2
    assert equal(found.slice(0, 40), expected)
    assert "float32[time, 2], got list" in found["error"][40].as_py()
    assert equal(found.slice(42), expected)


def test_a_file_without_the_column(model, tmp_path, out):
    folder = tmp_path / "folder"
    folder.mkdir()
    pq.write_table(TABLE, folder / "a.parquet")
    pq.write_table(TABLE.rename_columns(["utt", "fraems"]), folder / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: expected a column 'frames', found utt, fra"):
        score(model, folder, out, columns=COLUMNS)
    assert not out.exists()


def test_ids_of_another_type_in_a_later_file(model, tmp_path, out):
    folder = tmp_path / "folder"
    folder.mkdir()
    pq.write_table(TABLE, folder / "a.parquet")
    pq.write_table(table_of(ROWS, utt=list(range(40))), folder / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: expected string in column 'utt', as in"):
        score(model, folder, out, columns=COLUMNS, id="utt")


def test_bad_rows_are_counted_and_the_job_goes_on(model, tmp_path, out, expected):
    rows = [*ROWS[:10], None, *ROWS[10:], []]
    pq.write_table(table_of(rows), tmp_path / "bad.parquet")
    result = score(model, tmp_path / "bad.parquet", out, columns=COLUMNS, part_rows=8)
    assert (result.rows, result.failed_rows) == (42, 2)
    assert (success(out)["rows"], success(out)["failed_rows"]) == (42, 2)
    found = answers(out)
    assert found["output"].null_count == 2
    assert equal(found.filter(found["error"].is_null()), expected)


def test_strict_stops_at_the_first_bad_row(model, tmp_path, out):
    rows = [*ROWS[:10], None, *ROWS[10:]]
    pq.write_table(table_of(rows, utt=list(range(41))), tmp_path / "bad.parquet")
    arguments = (model, tmp_path / "bad.parquet", out)
    options = {"columns": COLUMNS, "id": "utt", "part_rows": 4}
    with pytest.raises(InputError, match=r"row 10 \(utt 10\): frames: expected .* got null"):
        score(*arguments, **options, strict=True)
    assert not (out / "_SUCCESS").exists()
    assert score(*arguments, **options).failed_rows == 1
    with pytest.raises(InputError, match=r"has 1 row\(s\) with an error"):
        score(*arguments, **options, strict=True)


def test_what_is_there_is_kept(model, corpus, out):
    score(model, corpus, out, columns=COLUMNS, part_rows=5)
    parts = sorted(out.glob("part-*.parquet"))
    before = {part: part.stat().st_mtime_ns for part in parts}
    contents = [part.read_bytes() for part in parts]
    for gone in (parts[1], parts[4], out / "_SUCCESS"):
        gone.unlink()
    result = score(model, corpus, out, columns=COLUMNS, part_rows=5)
    assert (result.parts, result.parts_kept) == (8, 6)
    assert [part.read_bytes() for part in parts] == contents
    assert all(
        part.stat().st_mtime_ns == before[part] for part in set(parts) - {parts[1], parts[4]}
    )


def test_a_part_that_is_damaged_or_of_another_plan_is_done_again(model, corpus, out):
    score(model, corpus, out, columns=COLUMNS, part_rows=5)
    parts = sorted(out.glob("part-*.parquet"))
    contents = [part.read_bytes() for part in parts]
    parts[2].write_bytes(contents[2][:100])
    parts[3].write_bytes(contents[5])
    assert score(model, corpus, out, columns=COLUMNS, part_rows=5).parts_kept == 6
    assert [part.read_bytes() for part in parts] == contents


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"keep": "all"}, r"the options \(keep\)"),
        ({"part_rows": 6}, r"the options \(part_rows\)"),
        ({"id": "utt"}, r"the options \(id\)"),
    ],
)
def test_another_plan_on_the_same_folder(model, corpus, out, options, what):
    score(model, corpus, out, columns=COLUMNS, part_rows=5)
    with pytest.raises(WriteError, match=f"holds answers of another plan, which differs in {what}"):
        score(model, corpus, out, **{"columns": COLUMNS, "part_rows": 5, **options})


def test_another_model_on_the_same_folder(model, corpus, out):
    score(model, corpus, out, columns=COLUMNS)
    model.write_bytes(Tiny("gru", seed=5).content)
    with pytest.raises(WriteError, match="which differs in the model: choose another folder"):
        score(model, corpus, out, columns=COLUMNS)


def test_other_data_on_the_same_folder(model, corpus, out):
    score(model, corpus, out, columns=COLUMNS)
    rows = [row + 1 for row in ROWS]
    pq.write_table(table_of(rows), corpus, row_group_size=7)
    with pytest.raises(WriteError, match="which differs in the data"):
        score(model, corpus, out, columns=COLUMNS)


def test_a_moved_corpus_is_the_same(model, corpus, out, tmp_path):
    score(model, corpus, out, columns=COLUMNS)
    (tmp_path / "there").mkdir()
    moved = corpus.rename(tmp_path / "there" / corpus.name)
    result = score(model, moved, out, columns=COLUMNS)
    assert result.parts_kept == result.parts


def test_a_model_that_is_replaced_while_the_job_runs(model, corpus, out):
    def replace(progress):
        model.write_bytes(Tiny("gru", seed=5).content)

    with pytest.raises(ModelError, match=r"gru\.onnx: was replaced since the job began"):
        score(model, corpus, out, columns=COLUMNS, part_rows=5, progress=replace)
    assert not list(out.glob("part-*"))


def test_a_file_that_is_changed_while_the_job_runs(model, corpus, out):
    def change(progress):
        os.utime(corpus, ns=(1, 1))

    with pytest.raises(InputError, match=r"corpus\.parquet: was changed since the job began"):
        score(model, corpus, out, columns=COLUMNS, part_rows=5, progress=change)


def test_shares_make_the_same_folder(model, corpus, out, tmp_path):
    score(model, corpus, out, columns=COLUMNS, part_rows=3)
    shared = tmp_path / "shared"
    for number in (2, 3, 1):
        assert not (shared / "_SUCCESS").exists()
        result = score(model, corpus, shared, columns=COLUMNS, part_rows=3, only=f"{number}/3")
        assert result.finished == (number == 1)
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted(path.name for path in shared.iterdir())
    for name in names:
        assert (out / name).read_bytes() == (shared / name).read_bytes()


@pytest.mark.parametrize("only", ["0/3", "4/3", "3", "a/b", "1/0", (1, 2, 3), "-1/3"])
def test_a_wrong_share(model, corpus, out, only):
    with pytest.raises(OptionError, match="only: expected a share such as 3/16, from 1/16 to"):
        score(model, corpus, out, columns=COLUMNS, only=only)


@pytest.mark.parametrize("option", ["workers", "part_rows"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_wrong_count(model, corpus, out, option, value):
    with pytest.raises(OptionError, match=f"{option}: expected an integer of 1 or more"):
        score(model, corpus, out, columns=COLUMNS, **{option: value})


def test_a_folder_that_holds_something_else(model, corpus, out):
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"expected an empty folder, .* found thesis\.txt"):
        score(model, corpus, out, columns=COLUMNS)


def test_a_damaged_plan(model, corpus, out):
    out.mkdir()
    (out / "_plan.json").write_text("{")
    with pytest.raises(WriteError, match=r"_plan\.json: is damaged"):
        score(model, corpus, out, columns=COLUMNS)


def test_answers_inside_of_the_data(model, corpus):
    with pytest.raises(WriteError, match="expected a folder outside of the data"):
        score(model, corpus.parent, corpus.parent / "out", columns=COLUMNS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing", "expected a file or a folder of files, found no such file or folder"),
        ("notes.txt", "expected a file that ends in .parquet, .pq"),
        ("empty", "expected files that end in .parquet, .pq"),
        ("mixed", "expected files of one kind, found "),
        ("s3://bucket/corpus", "data: expected a path on this machine, got s3://bucket"),
        ("damaged.parquet", "damaged.parquet: cannot be read: "),
        ("damaged.npz", "damaged.npz: expected an npz file: "),
    ],
)
def test_data_that_is_none(model, tmp_path, out, name, text):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.parquet").write_bytes(b"")
    (tmp_path / "mixed" / "a.npz").write_bytes(b"")
    data = name if "://" in name else tmp_path / name
    with pytest.raises(InputError) as raised:
        score(model, data, out)
    assert text in str(raised.value)


def test_several_inputs_of_an_npz(tmp_path, out):
    _, content = two_inputs()
    (tmp_path / "two.onnx").write_bytes(content)
    left, right = (np.stack(rows_of([6, 6, 6], 1, seed=s), 1) for s in (0, 1))
    np.savez(tmp_path / "corpus.npz", left=left, right=right)
    score(tmp_path / "two.onnx", tmp_path / "corpus.npz", out)
    expected = Session(content, threads=1).run({"left": left, "right": right}).outputs
    found = answers(out)
    for name in ("output", "negative"):
        assert np.array_equal(np.float32(found[name].to_pylist()), expected[name][-1])


def test_progress(model, tmp_path, out):
    pq.write_table(table_of([*ROWS, None]), tmp_path / "bad.parquet")
    lines = []
    score(
        model,
        tmp_path / "bad.parquet",
        out,
        columns=COLUMNS,
        part_rows=10,
        progress=lambda progress: lines.append((str(progress), progress.seconds_left)),
    )
    assert lines[-1][0].startswith("41 of 41 rows, ")
    assert lines[-1][0].endswith(" steps/s, 0 s left, 1 error")
    assert all(left is not None for _, left in lines)
