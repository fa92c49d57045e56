"""The user's own sequences: where they come from, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnedge_exporters.calibration.sequences import read_sequences
from rnnedge_runtime.contract import Interface, StatePair, TensorSpec
from rnnedge_runtime.errors import InputError

X = TensorSpec("input", "float32", ("time", "batch", 3))
H = TensorSpec("h_0", "float32", (1, "batch", 4))
Y, H_N = TensorSpec("output", "float32", ("time", "batch", 4)), TensorSpec("h_n", "float32", H.axes)
FACE = Interface((X, H), (Y, H_N), (StatePair("h_0", "h_n"),))
TWO = Interface(
    (
        TensorSpec("tokens", "int64", ("batch", "time")),
        TensorSpec("speaker", "float32", ("batch", 2)),
    ),
    (Y,),
)


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_rows_of_a_batch_are_sequences() -> None:
    x = some(5, 2, 3)
    one, two = read_sequences({"input": x}, FACE)
    assert (one.name, two.name) == ("row 0", "row 1")
    assert np.array_equal(two.inputs["input"], x[:, 1:])
    assert one.time == 5


def test_lengths_end_rows_and_leave_out_empty_ones(tmp_path: Path) -> None:
    x = some(5, 3, 3)
    np.savez(tmp_path / "data.npz", input=x, lengths=[2, 0, 5])
    one, two = read_sequences(tmp_path / "data.npz", FACE)
    assert (one.name, two.name) == ("row 0", "row 2")
    assert np.array_equal(one.inputs["input"], x[:2, :1])
    assert np.array_equal(two.inputs["input"], x[:, 2:])


def test_folder_of_ragged_files(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", some(4, 3))
    np.savez(tmp_path / "a.npz", input=some(7, 1, 3))
    (tmp_path / "notes.txt").write_text("not a sequence")
    found = read_sequences(str(tmp_path), FACE)
    assert [(s.name, s.time) for s in found] == [("a.npz", 7), ("b.npy", 4)]
    assert found[1].inputs["input"].shape == (4, 1, 3)


def test_function_that_yields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_recordings.py").write_text(
        "import numpy as np\ndef clips():\n    for n in (2, 6):\n"
        "        yield {'input': np.ones((n, 3))}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = read_sequences("my_recordings:clips", FACE)
    assert [(s.name, s.time) for s in found] == [("sequence 0", 2), ("sequence 1", 6)]
    assert found[0].inputs["input"].dtype == np.float32


def test_several_inputs() -> None:
    data = {"tokens": np.ones((2, 4), np.int32), "speaker": some(2, 2)}
    found = read_sequences(data, TWO)
    assert [s.inputs["tokens"].shape for s in found] == [(1, 4), (1, 4)]
    assert found[1].inputs["speaker"].shape == (1, 2)
    assert found[1].inputs["tokens"].dtype == np.int64


def _strange() -> Iterator[Any]:
    yield [1, 2]


REFUSED: dict[str, tuple[Any, Interface, str]] = {
    "features": (
        {"input": some(5, 2, 4)},
        FACE,
        r"calibration data: expected input float32\[time, batch, 3\], got float32\[5, 2, 4\]$",
    ),
    "rank": ({"input": some(5)}, FACE, r"calibration data: expected input .*, got float32\[5\]$"),
    "dtype": (
        {"input": np.ones((5, 2, 3), int)},
        FACE,
        r"calibration data: expected input float32\[time, batch, 3\], got int64\[5, 2, 3\]$",
    ),
    "nan": (
        {"input": np.full((1, 1, 3), np.nan, np.float32)},
        FACE,
        r"calibration data: input: expected finite numbers, got 3 of 3 that are NaN or infinite$",
    ),
    "missing": (
        {"tokens": np.ones((1, 2), int)},
        TWO,
        r"calibration data: expected the inputs tokens, speaker, got tokens$",
    ),
    "extra": (
        {"input": some(2, 1, 3), "y": some(2, 1, 3)},
        FACE,
        r"calibration data: expected the inputs input, got input, y$",
    ),
    "rows": (
        {"tokens": np.ones((3, 2), int), "speaker": some(2, 2)},
        TWO,
        r"calibration data: expected as many rows of each input, got \{'tokens': 3, 'speaker': 2",
    ),
    "lengths": (
        {"input": some(5, 2, 3), "lengths": [2, 6]},
        FACE,
        r"calibration data: lengths: expected integers\[2\] from 0 to 5, got int64\[2\] up to 6$",
    ),
    "lengths_shape": (
        {"input": some(5, 2, 3), "lengths": [2.0]},
        FACE,
        r"calibration data: lengths: expected integers\[2\] from 0 to 5, got float64\[1\]$",
    ),
    "none": ([], FACE, r"calibration data list: expected sequences, found none$"),
    "no_mapping": (_strange(), FACE, r"calibration data 0: expected arrays by .*, got list$"),
    "nowhere": ("no.npz", FACE, r"calibration data no.npz: expected numpy's .npy or .npz, got "),
    "kind": (
        "data.csv",
        FACE,
        r"calibration data data.csv: expected a .npz or .npy file, a folder",
    ),
    "function": ("math:nothing", FACE, r"calibration data math:nothing: math has no nothing$"),
}


@pytest.mark.parametrize(("data", "face", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(data: Any, face: Interface, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as stopped:
        read_sequences(data, face)
    assert "\n" not in str(stopped.value)


def test_file_of_the_folder_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "word3.npy", some(4, 5))
    with pytest.raises(InputError, match=r"^calibration data word3.npy: expected input float32"):
        read_sequences(tmp_path, FACE)
