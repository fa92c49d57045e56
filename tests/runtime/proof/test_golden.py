"""Golden vectors in their folder: what is there is read, and damage is an error."""

import json
import math

import numpy as np
import pytest
from golden_files import record, write_set, write_vectors
from tiny_models import Tiny

from rnnedge_runtime import GoldenError
from rnnedge_runtime.proof.golden import read_golden

LSTM = Tiny("lstm", lengths=True)
OUTPUTS = ("output", "h_n", "c_n")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "vectors"


@pytest.fixture
def vectors(folder):
    write_vectors(folder, LSTM)
    return folder


def change(folder, **changes):
    path = folder / "golden.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes))


def test_sets_are_read_with_their_record(vectors):
    golden = read_golden(vectors)
    assert [str(s) for s in golden.sets] == [
        "test_data_set_0 (time 1, batch 2)",
        "test_data_set_1 (time 2, batch 2)",
    ]
    assert list(golden.sets[1].inputs) == ["input", "lengths", "h_0", "c_0"]
    assert golden.sets[1].inputs["input"].tobytes() == LSTM.input(2, 2, seed=1).tobytes()
    assert golden.sets[1].allowed == dict.fromkeys(OUTPUTS, 1e-6)
    assert (golden.reference, golden.versions) == ("numpy 2 float64", {"numpy": "2"})


def test_sets_are_in_the_order_of_their_numbers(folder):
    for index in (10, 9, 0):
        write_set(folder / f"test_data_set_{index}", {}, {"y": np.array([index])})
    assert [s.outputs["y"][0] for s in read_golden(folder).sets] == [0, 9, 10]


def test_without_a_record_nothing_is_known_of_their_maker(vectors):
    (vectors / "golden.json").unlink()
    golden = read_golden(vectors)
    assert (golden.reference, golden.model_sha256, golden.versions) == (None, None, {})
    assert [(str(s), s.allowed) for s in golden.sets] == [
        ("test_data_set_0", None),
        ("test_data_set_1", None),
    ]


def test_other_files_are_left_alone(vectors):
    (vectors / "model.onnx").write_bytes(b"")
    (vectors / "test_data_set_0" / "input_0.pb.orig").write_bytes(b"")
    (vectors / "test_data_set_old").mkdir()
    assert len(read_golden(vectors).sets) == 2


def test_additions_within_a_format_are_left_alone(vectors):
    change(vectors, seed=1)
    assert len(read_golden(vectors).sets) == 2


def test_what_is_written_as_json_is_read_back(vectors):
    golden = read_golden(vectors)
    (vectors / "golden.json").write_text(golden.to_json(), encoding="utf-8")
    again = read_golden(vectors)
    assert again.to_json() == golden.to_json()
    assert [s.allowed for s in again.sets] == [s.allowed for s in golden.sets]


def missing_file(folder):
    (folder / "test_data_set_1" / "input_1.pb").unlink()


def same_name(folder):
    path = folder / "test_data_set_0" / "output_1.pb"
    path.write_bytes(path.with_name("output_0.pb").read_bytes())


def cut_off(folder):
    path = folder / "test_data_set_1" / "output_0.pb"
    path.write_bytes(path.read_bytes()[:-1])


def without_outputs(folder):
    for path in (folder / "test_data_set_0").glob("output_*"):
        path.unlink()


def a_folder_for_a_file(folder):
    path = folder / "test_data_set_0" / "input_0.pb"
    path.unlink()
    path.mkdir()


def record_of(text):
    return lambda folder: (folder / "golden.json").write_bytes(text)


def changed(**changes):
    return lambda folder: change(folder, **changes)


def set_0(**changes):
    """Change the first set of two in the record."""
    sets = record(b"", 2, OUTPUTS)["sets"]
    return changed(sets=[sets[0] | changes, sets[1]])


def allowed(error):
    return set_0(allowed=dict.fromkeys(OUTPUTS, 1e-6) | {"h_n": error})


DAMAGED = {
    "missing-file": (
        missing_file,
        r"test_data_set_1: expected input_1\.pb next to input_0\.pb, input_2\.pb, input_3\.pb$",
    ),
    "same-name": (same_name, r"output_1\.pb: expected a unique name, got output a second time"),
    "cut-off": (cut_off, r"test_data_set_1.output_0\.pb cannot be read as an ONNX tensor: "),
    "no-outputs": (without_outputs, r"test_data_set_0 \(time 1, batch 2\): expected one output or"),
    "folder-for-a-file": (a_folder_for_a_file, r"input_0\.pb: cannot be read: "),
    "empty-record": (record_of(b""), r"golden\.json is not a readable record of golden vectors: "),
    "record-cut-off": (record_of(b'{"format": 1'), "is not a readable record"),
    "record-not-utf8": (record_of(b'{"format": "\xff"}'), "is not a readable record"),
    "record-of-another-kind": (record_of(b"[1]"), "is not a readable record"),
    "record-without-format": (record_of(b"{}"), "is not a readable record"),
    "record-of-brackets": (record_of(b"[" * 100_000), "is not a readable record"),
    "newer": (
        changed(format=2),
        "has format 2, and this version reads formats up to 1: update rnnedge-runtime, or write",
    ),
    "format-of-text": (changed(format="1"), "has format '1', and this"),
    "format-of-truth": (changed(format=True), "has format True, and this"),
    "nothing-but-format": (record_of(b'{"format": 1}'), r"golden\.json is damaged \('sets'\): "),
    "sets-of-text": (changed(sets="all"), r"is damaged \(sets: expected list, got 'all'\)"),
    "set-of-text": (changed(sets=["all"]), "is damaged"),
    "a-set-too-few": (
        changed(sets=record(b"", 1, OUTPUTS)["sets"]),
        r"golden\.json lists test_data_set_0, and its folder has test_data_set_0, test_data_set",
    ),
    "a-set-too-many": (changed(sets=record(b"", 3, OUTPUTS)["sets"]), "lists .*_set_2, and"),
    "another-folder": (set_0(directory=".."), r"lists \.\., test_data_set_1, and"),
    "case-of-number": (set_0(case=5), "case: expected str, got 5"),
    "case-of-two-lines": (set_0(case="a\nb"), r"case: expected one line of printable text, got 'a"),
    "allowed-of-number": (set_0(allowed=1e-6), "allowed: expected dict, got 1e-06"),
    "allowed-of-one": (
        set_0(allowed={"output": 1}),
        "expected the allowed error of output, h_n, c_n, got that of output$",
    ),
    "allowed-text": (allowed("1"), "allowed error of h_n: expected a number, got '1'"),
    "allowed-null": (allowed(None), "allowed error of h_n: expected a number, got None"),
    "allowed-negative": (
        allowed(-1),
        "allowed error of h_n: expected 0 or more and finite, got -1",
    ),
    "allowed-nan": (allowed(math.nan), "expected 0 or more and finite, got nan"),
    "allowed-infinite": (allowed(math.inf), "expected 0 or more and finite, got inf"),
    "allowed-huge": (allowed(10**400), "is damaged"),
    "allowed-by-row-of-number": (
        set_0(allowed_by_row=1e-6),
        "allowed_by_row: expected dict, got 1e-06",
    ),
    "allowed-by-row-of-one": (
        set_0(allowed_by_row={"output": 1}),
        "expected the allowed error of output, h_n, c_n, got that of output$",
    ),
    "digest-of-another-kind": (changed(model_sha256="f"), "model_sha256: expected 64 hexadecimal"),
    "digest-null": (changed(model_sha256=None), "model_sha256: expected str, got None"),
    "reference-of-two-lines": (changed(reference="a\nb"), "reference: expected one line of print"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_vectors_are_an_error(vectors, damage, message):
    damage(vectors)
    with pytest.raises(GoldenError, match=message) as caught:
        read_golden(vectors)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(folder):
    with pytest.raises(
        GoldenError, match=r"vectors: expected a folder with test_data_set_0, found"
    ):
        read_golden(folder)


def test_a_folder_without_vectors(tmp_path):
    with pytest.raises(GoldenError, match="expected a folder test_data_set_0 in it, as ONNX's"):
        read_golden(tmp_path)
