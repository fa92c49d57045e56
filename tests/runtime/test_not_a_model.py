"""A path that is not an ONNX file is named for what it is, with what to type."""

import io
import pickle
import re
import zipfile

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import ModelError, Session

GRU = Tiny("gru").content


def archive(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return content.getvalue()


def array():
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


EXPORT = r"rnnedge export \S*theirs.bin -o theirs.onnx makes an ONNX file of it"
KINDS = {
    "torch": (archive("weights/data.pkl", "weights/data/0"), f"a PyTorch checkpoint: {EXPORT}"),
    "old-torch": (pickle.dumps({"w": 1}, protocol=2), f"a pickle, as torch.save once .*: {EXPORT}"),
    "safetensors": (
        (90).to_bytes(8, "little") + b'{"w":{}}'.ljust(90),
        f"a safetensors checkpoint: {EXPORT}",
    ),
    "npz": (archive("a.npy", "b.npy"), f"arrays of NumPy .*: {EXPORT}"),
    "npy": (array(), r"a NumPy array .*: rnnedge run MODEL --input \S*theirs.bin"),
    "zip": (archive("model.onnx"), "a zip archive: unpack it"),
    "cut-zip": (archive("weights/data.pkl")[:40], "a zip archive that is cut short"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file, .*: tf2onnx"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(99), "a TensorFlow Lite model: tf2onnx --tflite"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid",
        "a pointer of Git LFS: git lfs pull",
    ),
    "html": (b"<!DOCTYPE html><html><body>404", "a web page: download the file itself"),
    "text": ("a,b\n1,2\nü\n".encode(), "a text file"),
    "empty": (b"", "an empty file"),
}


@pytest.mark.parametrize(("content", "words"), KINDS.values(), ids=KINDS)
def test_kinds(tmp_path, content, words):
    path = tmp_path / "theirs.bin"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"^{path}: expected an ONNX file, got {words}"):
        Session(path)


def test_a_folder_names_the_models_in_it(tmp_path):
    for name in ("b.onnx", "a.onnx", "c.onnx", "d.onnx"):
        (tmp_path / name).write_bytes(GRU)
    named = ", ".join(str(tmp_path / name) for name in ("a.onnx", "b.onnx", "c.onnx"))
    message = f"got a folder: name a file in it: {named} (and 1 more)"
    with pytest.raises(ModelError, match=re.escape(message)):
        Session(tmp_path)


def test_a_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "model.onnx").write_bytes(GRU)
    with pytest.raises(ModelError, match=rf"no such file; there is {tmp_path}/model.onnx$"):
        Session(tmp_path / "mdel.onnx")


def test_a_missing_folder(tmp_path):
    with pytest.raises(ModelError, match=rf"no such file, nor its folder {tmp_path}/no$"):
        Session(tmp_path / "no" / "model.onnx")


@pytest.mark.parametrize("cut", [10, len(GRU) // 2, len(GRU) - 1])
def test_a_damaged_model_keeps_the_words_of_the_engine(tmp_path, cut):
    path = tmp_path / "cut.onnx"
    path.write_bytes(GRU[:cut])
    with pytest.raises(ModelError, match=r"cut\.onnx cannot be opened by ONNX Runtime: "):
        Session(path)


def test_a_module():
    class Module:
        def state_dict(self):
            return {}

    with pytest.raises(ModelError, match=r"got Module: rnnedge.export\(model, path\) writes one"):
        Session(Module())
    with pytest.raises(
        ModelError, match=r"expected the path of an \.onnx file or its bytes, got int"
    ):
        Session(3)
