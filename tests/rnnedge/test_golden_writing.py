"""`write_golden`: the same bytes each time, whole or not at all, and nobody's files are lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rnnedge import GoldenError, ModelError, WriteError
from rnnedge.golden_vectors import write_golden
from rnnedge_runtime.proof.golden import GoldenSet, read_golden

REFERENCE = "numpy"
MODEL = """<ir_version: 8, opset_import: ["" : 17]>
echo (float[n, 2] x, float[n, 2] h_0) => (float[n, 2] y, float[n, 2] h_n) {
    y = Identity(x)
    h_n = Identity(h_0)
}"""


def make_set(index: int) -> GoldenSet:
    random = np.random.default_rng(index)
    x, h = (random.standard_normal((index + 1, 2)).astype(np.float32) for _ in "xh")
    return GoldenSet(
        case=f"case {index}",
        inputs={"x": x, "h_0": h},
        outputs={"y": x, "h_n": h},
        allowed={"y": 1e-6, "h_n": 0.0},
    )


SETS = [make_set(index) for index in range(3)]
Write = Callable[[Path], None]


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "echo.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return path


@pytest.fixture
def write_into(model: Path) -> Write:
    """Write the vectors of the model into a folder."""
    return lambda folder: write_golden(folder, model=model, sets=SETS, reference=REFERENCE)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, write_into: Write) -> None:
    write_into(tmp_path / "one")
    write_into(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def other_order(made: GoldenSet) -> GoldenSet:
    assert made.allowed is not None
    return replace(
        made,
        inputs=dict(reversed(list(made.inputs.items()))),
        outputs=dict(reversed(list(made.outputs.items()))),
        allowed=dict(reversed(list(made.allowed.items()))),
    )


def other_memory(made: GoldenSet) -> GoldenSet:
    """Lay the arrays out by columns and in the other byte order."""
    inputs = {
        name: np.asfortranarray(values).astype(values.dtype.newbyteorder("S"))
        for name, values in made.inputs.items()
    }
    return replace(made, inputs=inputs)


@pytest.mark.parametrize("change", [other_order, other_memory])
def test_the_files_depend_on_the_values_alone(
    tmp_path: Path, model: Path, write_into: Write, change: Callable[[GoldenSet], GoldenSet]
) -> None:
    write_into(tmp_path / "one")
    changed = [change(made) for made in SETS]
    write_golden(tmp_path / "two", model=model, sets=changed, reference=REFERENCE)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def without(made: GoldenSet, name: str) -> GoldenSet:
    return replace(made, inputs={n: v for n, v in made.inputs.items() if n != name})


def with_output(made: GoldenSet, values: NDArray[np.generic]) -> GoldenSet:
    return replace(made, outputs={**made.outputs, "y": values})


WRONG: dict[str, tuple[Callable[[GoldenSet], GoldenSet], str]] = {
    "input-missing": (
        lambda made: without(made, "h_0"),
        r"test_data_set_0 \(case 0\): expected the inputs x, h_0 of the model, got x$",
    ),
    "input-unknown": (
        lambda made: replace(made, inputs={**made.inputs, "c_0": np.zeros(1)}),
        "expected the inputs x, h_0 of the model, got x, h_0, c_0$",
    ),
    "output-missing": (
        lambda made: replace(made, outputs={"h_n": np.zeros(1)}, allowed={"h_n": 0.0}),
        "expected the outputs y, h_n of the model, got h_n$",
    ),
    "nothing-allowed": (
        lambda made: replace(made, allowed=None),
        "expected the allowed error of each output, got none$",
    ),
    "complex": (
        lambda made: with_output(made, np.zeros((1, 1, 3), np.complex64)),
        "y: expected float32, .*, uint64, got complex64$",
    ),
    "object": (
        lambda made: with_output(made, np.array([None])),
        "y: expected float32, .*, uint64, got object$",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_set_that_does_not_fit_is_an_error(
    model: Path,
    tmp_path: Path,
    change: Callable[[GoldenSet], GoldenSet],
    message: str,
) -> None:
    with pytest.raises(GoldenError, match=message):
        write_golden(
            tmp_path / "new",
            model=model,
            sets=[change(replace(SETS[0], directory="test_data_set_7"))],
            reference=REFERENCE,
        )
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path, write_into: Write) -> None:
    (tmp_path / "new").mkdir()
    write_into(tmp_path / "new")
    assert len(read_golden(tmp_path / "new").sets) == len(SETS)


@pytest.mark.parametrize("name", ["golden.json", "test_data_set_9/input_0.pb"])
def test_old_vectors_are_replaced_whole(tmp_path: Path, name: str, write_into: Write) -> None:
    old = tmp_path / "new" / name
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    write_into(tmp_path / "new")
    assert len(read_golden(tmp_path / "new").sets) == len(SETS)
    assert not (tmp_path / "new" / "test_data_set_9").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_vectors_are_written_again_from_their_own_model(tmp_path: Path, write_into: Write) -> None:
    new = tmp_path / "new"
    write_into(new)
    write_golden(new, model=new / "model.onnx", sets=SETS[:1], reference=REFERENCE)
    assert len(read_golden(new).sets) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["notes.txt"],
        ["model.onnx"],
        ["golden.json", "notes.txt"],
        ["golden.json", "x.onnx"],
        ["golden.json", "test_data_set_0"],
        ["golden.json", "test_data_set_mine"],
    ],
    ids=", ".join,
)
def test_what_is_no_vectors_is_not_replaced(
    tmp_path: Path, names: list[str], write_into: Write
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for name in names:
        (new / name).write_bytes(b"mine")
    with pytest.raises(
        WriteError,
        match=rf"expected an empty folder or one with golden vectors only, found {names[-1]} in it",
    ):
        write_into(new)
    assert contents(new) == dict.fromkeys(names, b"mine")


def test_a_file_is_not_replaced(tmp_path: Path, write_into: Write) -> None:
    (tmp_path / "new").write_bytes(b"mine")
    with pytest.raises(WriteError, match="new: expected the name of a folder to write, found a f"):
        write_into(tmp_path / "new")


def test_the_folder_around_it_has_to_exist(tmp_path: Path, write_into: Write) -> None:
    with pytest.raises(WriteError, match=r"expected an existing folder, found no .*none: create"):
        write_into(tmp_path / "none" / "new")


def test_a_failure_half_way_leaves_the_old_vectors(
    tmp_path: Path, write_into: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_into(tmp_path / "new")
    before = contents(tmp_path / "new")

    def full(path: Path, content: bytes) -> int:
        if path.name == "output_1.pb":
            raise OSError(28, "No space left on device")
        return write_bytes(path, content)

    write_bytes = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match=r"new: cannot be written: No space left on device$"):
        write_into(tmp_path / "new")
    assert contents(tmp_path / "new") == before
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_failure_at_the_end_leaves_the_old_vectors(
    tmp_path: Path, write_into: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_into(tmp_path / "new")
    before = contents(tmp_path / "new")
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "new" and path.parent.parent == tmp_path:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_into(tmp_path / "new")
    assert contents(tmp_path / "new") == before
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_vectors_that_a_dead_process_moved_are_found(tmp_path: Path, write_into: Write) -> None:
    write_into(tmp_path / "new")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    moved = tmp_path / f".rnnedge-{process.pid}-0123456789abcdef" / "old" / "new"
    moved.parent.mkdir(parents=True)
    (tmp_path / "new").rename(moved)
    assert len(read_golden(tmp_path / "new").sets) == len(SETS)


def test_no_sets_are_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        GoldenError, match=r"^sets: expected one set of golden vectors or more, got"
    ):
        write_golden(tmp_path / "new", model=model, sets=[], reference=REFERENCE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "m.onnx: cannot be read: No such file or directory$"),
        (b"this is not a model", "m.onnx: expected an ONNX file, got a text file$"),
        (b"", "m.onnx: expected an ONNX file, got a graph without outputs$"),
    ],
    ids=["missing", "text", "empty"],
)
def test_what_is_no_model_is_an_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        write_golden(tmp_path / "new", model=tmp_path / "m.onnx", sets=SETS, reference=REFERENCE)
    assert not (tmp_path / "new").exists()


def test_writing_needs_no_torch() -> None:
    code = "import rnnedge.golden_vectors, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
