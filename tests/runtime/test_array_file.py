"""Files of numpy from strangers: what they claim is compared with what they hold."""

import io
import pickle
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from rnnedge_runtime import WriteError
from rnnedge_runtime.array_file import read_array, read_arrays, write_arrays

ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "bytes": np.arange(6, dtype=">i8"),
    "flag": np.array([True, False]),
    "scalar": np.array(3, np.int16),
    "empty": np.zeros((0, 4), np.float16),
    "text": np.array("sha256:abc"),
    "swapped-text": np.array(["a", "\U0010ffff"], ">U1"),
    "no-text": np.array("", "<U0"),
}
MOST = 1 << 24
"""Bytes that a refusal may take: far below what the files claim."""


def header(shape, descr="<f4") -> bytes:
    file = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def written(text: str, version: bytes = b"\x01\x00") -> bytes:
    content = text.encode().ljust(9000)
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(content))
    return b"\x93NUMPY" + version + size + content


def archive(sizes: dict[str, int], start: bytes) -> bytes:
    """Return an archive of zeros, each file behind a header."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, size in sizes.items():
            with made.open(name, "w", force_zip64=True) as member:
                member.write(start)
                for _ in range(size >> 20):
                    member.write(bytes(1 << 20))
    return file.getvalue()


def damaged(content: bytes) -> bytes:
    """Return an archive with another byte in the middle of its first array."""
    at = content.index(b"NUMPY") + 140
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


def saved(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def doubled() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the name occurs twice
        for _ in range(2):
            made.writestr("a.npy", header((0,)))
    return file.getvalue()


REFUSED = {
    "claims": (header((1 << 40,)) + bytes(100), r"its header promises 4398046511104 bytes of val"),
    "overflows": (
        header((1 << 62, 1 << 62)),
        r"its header promises \d+ bytes of values, and 0 fol",
    ),
    "no-values": (header((1 << 40, 0)), "expected at most 1048576 along an axis, got"),
    "no-width": (header((1 << 40,), "<U0"), "expected at most 1048576 along an axis, got"),
    "cut-off": (
        header((30,)) + bytes(100),
        r"its header promises 120 bytes of values, and 100 fol",
    ),
    "negative": (written("{'descr':'<f4','fortran_order':False,'shape':(-1,)}"), "negative|shape"),
    "void": (
        header((1,), "|V1000000000") + bytes(9),
        r"expected numbers or text, got \|V1000000000",
    ),
    "sub": (
        written("{'descr':('<f4',(1000000000,)),'fortran_order':False,'shape':(1,)}"),
        "expected numbers or text, got|must fit into a C int",
    ),
    "objects": (header((1,), "|O") + pickle.dumps([1]), "it holds pickled objects, which can run"),
    "nested": (written("(" * 4000 + ")" * 4000), "."),
    "minus": (written("{'descr':" + "-" * 8000 + "1}"), "."),
    "long-header": (b"\x93NUMPY\x03\x00" + b"\xff" * 4 + b" " * 99, "expected a header of 65536"),
    "unknown-version": (b"\x93NUMPY\x09\x00" + b" " * 99, "expected version 1, 2 or 3 of "),
    "text": (b"hello", "it is not one"),
    "characters": (header((2,), "<U1") + struct.pack("<II", 65, 0xF3000003), "are not characters"),
    "swapped": (header((1,), ">U1") + struct.pack("<I", 65), "numbers that are not characters"),
    "nothing": (b"", "."),
    "pickle": (pickle.dumps({"a": 1}), "it is not one"),
    "bomb": (
        archive({"a.npy": 1 << 29}, header((1 << 27,))),
        "that become 536871040 when they are",
    ),
    "bombs": (
        archive({f"{n}.npy": 1 << 26 for n in range(5)}, header((1 << 24,))),
        "that become 335544960 when they are unpacked, and at most 268435456 are read",
    ),
    "twice": (doubled(), "'a' occurs twice in it"),
    "other-files": (archive({"a.txt": 0}, b"hello"), "it is not one"),
    "cut-archive": (saved(a=np.zeros(9))[:-30], "."),
    "damaged": (damaged(saved(a=np.ones(9))), "Bad CRC-32"),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=str)
def test_an_array_is_read_as_numpy_does(array, version, tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    read = read_arrays(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "deflated"])
def test_an_archive_is_read_as_numpy_does(save, tmp_path):
    save(tmp_path / "a.npz", **ARRAYS)
    read = read_arrays(tmp_path / "a.npz")
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def test_silence_that_was_compressed_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((16000, 60, 10), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 100_000
    assert read_arrays(tmp_path / "a.npz")["x"].nbytes == 38_400_000


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_lies_is_refused_before_memory_is_taken(content, message, tmp_path):
    (tmp_path / "a").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as refused:
            read_arrays(tmp_path / "a")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 200
    assert peak < MOST


def test_a_member_that_holds_less_than_it_states(tmp_path):
    with pytest.raises(ValueError, match="its header promises 400 bytes of values, and 40 follow"):
        read_array(io.BytesIO(header((100,)) + bytes(40)), len(header((100,))) + 40)


NAMES = ["file", "allow_pickle", "args", "", "a.npy", "../up", "a/b", "\n\x1b[2J", "n" * 60_000]


def test_arrays_of_any_name_are_written(tmp_path):
    arrays = {name: np.full(2, at, np.float32) for at, name in enumerate(NAMES)}
    with (tmp_path / "a.npz").open("wb") as file:
        write_arrays(file, arrays)
    read = read_arrays(tmp_path / "a.npz")
    assert list(read) == NAMES
    assert all(np.array_equal(read[name], arrays[name]) for name in NAMES)


@pytest.mark.parametrize(
    "name", ["n" * 60_001, "\u00e9" * 30_001, "a\0b"], ids=["long", "wide", "zero"]
)
def test_a_name_that_no_archive_holds_is_refused(name, tmp_path):
    with (
        (tmp_path / "a.npz").open("wb") as file,
        pytest.raises(WriteError, match="expected a name"),
    ):
        write_arrays(file, {name: np.zeros(1)})


def test_objects_are_not_written(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file, pytest.raises(ValueError, match="Object arrays"):
        write_arrays(file, {"a": np.array([None])})
