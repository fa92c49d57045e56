"""What may be written where, and how the content of a file tells its kind."""

import os
import re
import socket
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Tiny

from rnnedge_runtime import Session, WriteError
from rnnedge_runtime.write_target import NPZ, ONNX, check_target, is_npz, is_onnx

if sys.platform == "win32":
    pytest.skip("pipes, devices and links are those of POSIX", allow_module_level=True)


LSTM = Tiny("lstm")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(words, path, kinds=ONNX, **options):
    """Check that a target is refused with these words, in one line."""
    with pytest.raises(WriteError, match=f"^{re.escape(words)}") as caught:
        check_target(path, kinds, **options)
    assert "\n" not in str(caught.value)


def make(folder):
    """Fill a folder with what must not be replaced by a model."""
    (folder / "text.onnx").write_bytes(b"a text")
    (folder / "folder.onnx").mkdir()
    (folder / "link_to_folder.onnx").symlink_to("folder.onnx")
    (folder / "link_to_text.onnx").symlink_to("text.onnx")
    (folder / "round.onnx").symlink_to("round.onnx")
    (folder / "device.onnx").symlink_to("/dev/null")
    os.mkfifo(folder / "pipe.onnx")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.onnx")
    for name in ("weights.pt", "train.py", "out.npy", "model"):
        (folder / name).write_bytes(b"mine")


FILE = "expected the name of a file to write, found"
OTHER = "the file there does not hold what a .onnx file holds: choose another name, or replace it"
REFUSED = {
    "text.onnx": f"text.onnx: {OTHER}",
    "link_to_text.onnx": f"link_to_text.onnx: {OTHER}",
    "folder.onnx": f"folder.onnx: {FILE} a folder",
    "link_to_folder.onnx": f"link_to_folder.onnx: {FILE} a folder",
    ".": f".: {FILE} a folder",
    "pipe.onnx": f"pipe.onnx: {FILE} a named pipe",
    "socket.onnx": f"socket.onnx: {FILE} a socket",
    "device.onnx": f"device.onnx: {FILE} a device",
    "/dev/null": f"/dev/null: {FILE} a device",
    "round.onnx": "round.onnx: cannot be written: Too many levels of symbolic links",
    "weights.pt": "weights.pt: expected a name that ends in .onnx, such as weights.onnx",
    "train.py": "train.py: expected a name that ends in .onnx, such as train.onnx",
    "model": "model: expected a name that ends in .onnx, such as model.onnx",
    "no/model.onnx": "no/model.onnx: expected an existing folder, found no folder no: create it",
    "train.py/a.onnx": "train.py/a.onnx: expected an existing folder, found no folder train.py",
    "": "'': expected the name of a file to write",
    "a\0.onnx": "'a\\x00.onnx': expected the name of a file to write",
    f"{'a' * 300}.onnx": f"{'a' * 40}...: expected a name of at most 255 bytes, got 305",
    f"{'é' * 200}.onnx": f"{'é' * 40}...: expected a name of at most 255 bytes, got 405",
    "/".join(["a" * 200] * 30): "",
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("path", "words"), REFUSED.items(), ids=[name[:20] for name in REFUSED])
def test_target_that_must_not_be_written(path, words, force, folder):
    make(folder)
    if force and OTHER in words:
        assert check_target(path, ONNX, force=True) == folder / path
    else:
        refused(words, path, force=force)


GOOD = {"model.onnx": None, "MODEL.ONNX": None, "empty.onnx": b"", "old.onnx": LSTM.content}


@pytest.mark.parametrize(("name", "content"), GOOD.items(), ids=GOOD)
def test_target_that_may_be_written(name, content, folder):
    if content is not None:
        (folder / name).write_bytes(content)
    assert check_target(name, ONNX) == folder / name


def protect(folder, way, name="model.onnx"):
    """Make a second name for a file, and return it."""
    (folder / name).write_bytes(LSTM.content)
    second = folder / f"second{Path(name).suffix}"
    if way == "itself":
        return name
    if way == "other spelling":
        (folder / "inner").mkdir()
        return f"inner/../{name}"
    if way == "symbolic link":
        second.symlink_to(name)
    else:
        os.link(name, second)
    return second.name


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("way", ["itself", "other spelling", "symbolic link", "hard link"])
def test_file_that_is_read_is_never_replaced(way, force, folder):
    path = protect(folder, way)
    words = f"{path}: is the same file as model.onnx, which is read or written here too: choose"
    refused(words, path, protected=[None, "pkg.module:Name", "", "model.onnx"], force=force)


def test_link_that_is_read_protects_what_it_leads_to(folder):
    path = protect(folder, "symbolic link")
    refused("model.onnx: is the same file as second.onnx", "model.onnx", protected=[path])


def test_two_outputs_of_one_name(folder):
    (folder / "inner").mkdir()
    refused("inner/../a.onnx: is the same", "inner/../a.onnx", protected=["a.onnx"])
    assert check_target("b.onnx", ONNX, protected=["a.onnx", "inner/b.onnx"])


def test_file_that_cannot_be_read_is_of_an_unknown_kind(folder):
    (folder / "a.onnx").write_bytes(b"mine")

    def unreadable(file):
        raise PermissionError(13, "Permission denied")

    refused(
        "a.onnx: the file there cannot be read (Permission den", "a.onnx", {".onnx": unreadable}
    )


def test_names_that_may_end_in_several_ways(folder):
    refused("a.c: expected a name that ends in .a or .b", "a.c", {".a": is_npz, ".b": is_npz})


# --- what a file holds ----------------------------------------------------------------------------


def saved(**arrays):
    file = BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def archive(*names):
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, b"content")
    return file.getvalue()


NOT_ONNX = {
    "text": b"a text",
    "python": b"import torch\n",
    "zeros": bytes(1000),
    "cut": LSTM.content[: len(LSTM.content) // 2],
    "longer": LSTM.content + b"\n",
    "archive": archive("weights/data.pkl"),
    "tensor": tiny_onnx.tensor(np.zeros((3, 4), np.float32), "w"),
    "no_graph": b"\x08\x08",
    "empty_graph": b"\x08\x08\x3a\x00",
    "graph_of_others": b"\x08\x08\x3a\x02\x18\x01",
    "number_for_text": b"\x08\x08\x10\x01",
    "json": b'{"graph": {}}',
    "pickle": b"\x80\x02}q\x00.",
}
NOT_NPZ = {
    "text": b"a text",
    "checkpoint": archive("weights/data.pkl", "weights/data/0"),
    "one_of_two": archive("a.npy", "notes.txt"),
    "cut": saved(a=np.zeros(100))[:-30],
    "array": b"\x93NUMPY\x01\x00",
}


def tell(is_kind, content, path):
    path.write_bytes(content)
    with path.open("rb") as file:
        return is_kind(file)


@pytest.mark.parametrize("content", NOT_ONNX.values(), ids=NOT_ONNX)
def test_no_model(content, tmp_path):
    assert not tell(is_onnx, content, tmp_path / "a")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_model(cell, tmp_path):
    assert tell(is_onnx, Tiny(cell).content, tmp_path / "a")


@pytest.mark.parametrize("content", NOT_NPZ.values(), ids=NOT_NPZ)
def test_no_archive_of_arrays(content, tmp_path):
    assert not tell(is_npz, content, tmp_path / "a")


@pytest.mark.parametrize("content", [saved(a=np.zeros(3), b=np.ones(2)), saved()])
def test_archive_of_arrays(content, tmp_path):
    assert tell(is_npz, content, tmp_path / "a")


def test_state_does_not_replace_the_model(tmp_path):
    """ONNX Runtime opens a model of any name."""
    path = tmp_path / "model.npz"
    path.write_bytes(LSTM.content)
    stream = Session(path).stream()
    for force in (False, True):
        with pytest.raises(WriteError, match=r"model\.npz: is the same file as "):
            stream.save(path, force=force)
    assert path.read_bytes() == LSTM.content


def test_state_does_not_replace_a_checkpoint(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(NOT_NPZ["checkpoint"])
    stream = Session(LSTM.content).stream()
    with pytest.raises(WriteError, match=r"does not hold what a \.npz file holds"):
        stream.save(path)
    assert path.read_bytes() == NOT_NPZ["checkpoint"]
    stream.save(path, force=True)
    stream.load(path)


@pytest.mark.parametrize("name", ["state", "state.pt", "state.npy"])
def test_state_of_another_suffix(name, tmp_path):
    with pytest.raises(
        WriteError, match=r"expected a name that ends in \.npz, such as .*state\.npz"
    ):
        Session(LSTM.content).stream().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_npz_takes_the_place_of_its_own_kind_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npz").write_bytes(LSTM.content)
    refused("a.npz: the file there does not hold what a .npz file holds", "a.npz", NPZ)
