"""Tensors in their files: every dtype and encoding is read exactly, anything else is an error."""

import numpy as np
import pytest
from golden_files import DATA_TYPES, content, head, number, raw, typed

from rnnedge_runtime import GoldenError
from rnnedge_runtime.tensor_file import SUPPORTED, read_tensor

RAW = raw(np.array([[1.5, -2.0, 0.0]], np.float32), "h_0")


def bits(dtype, size=6):
    """Return values of every kind: the ends, NaN and infinities, negative zero."""
    if dtype == "bool":
        return np.array([True, False] * (size // 2))
    if dtype.startswith("float"):
        return np.array([np.nan, np.inf, -np.inf, -0.0, 1.1, -3.0], dtype)
    ends = np.iinfo(dtype)
    return np.array([ends.min, ends.max, 0, 1, ends.max - 1, ends.min + 1], dtype)


def assert_reads(file, array, name="x"):
    given_name, given = read_tensor(file, "x.pb")
    assert given_name == name
    assert (given.dtype, given.shape) == (array.dtype, array.shape)
    assert given.tobytes() == array.tobytes()


def test_every_dtype_of_the_tests_is_supported():
    assert set(SUPPORTED) == set(DATA_TYPES)


@pytest.mark.parametrize("dtype", SUPPORTED)
def test_raw(dtype):
    array = bits(dtype).reshape(2, 3)
    assert_reads(raw(array, "x"), array)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("dtype", SUPPORTED)
def test_typed(dtype, packed):
    array = bits(dtype).reshape(3, 1, 2)
    assert_reads(typed(array, "x", packed=packed), array)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3), (1,) * 32], ids=str)
@pytest.mark.parametrize(
    "encode", [raw, lambda a, n: typed(a, n, packed=True)], ids=["raw", "typed"]
)
def test_shapes(shape, encode):
    array = np.ones(shape, np.int64)
    assert_reads(encode(array, "x"), array)


READABLE = {
    "no-name": (head("int64", [1]) + number(7, 5), [5], ""),
    "fields-in-another-order": (content(9, b"\5") + content(8, b"x") + head("int8", [1]), [5], "x"),
    "packed-dims": (
        content(1, b"\2\1") + head("int8", [], "x") + content(9, b"\1\2"),
        [[1], [2]],
        "x",
    ),
    "packed-in-two": (
        head("int32", [3], "x") + content(5, b"\1\2") + content(5, b"\3"),
        [1, 2, 3],
        "x",
    ),
    "packed-and-not": (head("int32", [2], "x") + content(5, b"\1") + number(5, 2), [1, 2], "x"),
    "negative-in-five-bytes": (
        head("int32", [1], "x") + number(5, 2**32 - 1),
        [-1],
        "x",
    ),
    "doc-string": (head("int64", [1], "x") + content(12, b"why") + number(7, 5), [5], "x"),
    "metadata": (head("int64", [1], "x") + content(16, b"\n\1a") + number(7, 5), [5], "x"),
    "unknown-fields": (
        head("int64", [1], "x") + number(7, 5) + b"\xc5\x3e1234" + b"\xc1\x3e12345678",
        [5],
        "x",
    ),
    "default-location": (head("int64", [1], "x") + number(14, 0) + number(7, 5), [5], "x"),
    "empty-raw-and-typed": (
        head("int64", [1], "x") + content(9, b"") + number(7, 5),
        [5],
        "x",
    ),
    "unicode-name": (head("int64", [1], "größe") + number(7, 5), [5], "größe"),
}


@pytest.mark.parametrize(("file", "values", "name"), READABLE.values(), ids=READABLE)
def test_what_protobuf_allows_is_read(file, values, name):
    given_name, given = read_tensor(file, "x.pb")
    assert (given_name, given.tolist()) == (name, values)


UNREADABLE = {
    "nothing": (b"", r"expected data_type 1 \(float32\), .*, got none"),
    "strings": (number(2, 8) + content(6, b"a"), "expected data_type .*, got 8"),
    "bfloat16": (number(1, 1) + number(2, 16) + number(5, 1), "expected data_type .*, got 16"),
    "type-of-the-future": (number(2, 99), "expected data_type .*, got 99"),
    "external": (
        head("float32", [1]) + content(13, b"\n\1a") + number(14, 1),
        "expected the values in the file itself, found external data",
    ),
    "external-by-location": (head("float32", [1]) + number(14, 1), "found external data"),
    "segment": (head("float32", [1]) + content(3, b""), "expected one whole tensor"),
    "too-few-bytes": (
        head("float32", [2]) + content(9, b"1234"),
        r"expected 2 values for dims \[2\], got 1",
    ),
    "part-of-a-value": (head("float32", [1]) + content(9, b"12345"), "float32 values, got 5 bytes"),
    "part-of-a-packed-value": (head("float64", [1]) + content(10, b"1234"), "got 4 bytes"),
    "too-many": (
        head("int8", [1]) + content(9, b"12"),
        r"expected 1 values for dims \[1\], got 2",
    ),
    "no-values": (head("int8", [3]), r"expected 3 values for dims \[3\], got 0"),
    "values-twice": (
        head("int64", [1]) + content(9, b"12345678") + number(7, 1),
        r"expected int64 values in field 9 or 7, got fields \[7, 9\]",
    ),
    "values-of-another-type": (
        head("float32", [1]) + number(7, 1),
        r"expected float32 values in field 9 or 4, got fields \[7\]",
    ),
    "out-of-range": (head("int8", [1]) + number(5, 128), "expected int8 values, got 128"),
    "negative-unsigned": (head("uint8", [1]) + number(5, -1), "expected uint8 values, got -1"),
    "half-of-17-bits": (head("float16", [1]) + number(5, 65536), "got 65536"),
    "uint32-of-33-bits": (head("uint32", [1]) + number(11, 2**32), "got 4294967296"),
    "bool-of-two": (head("bool", [1]) + content(9, b"\2"), "expected bool values, got 2"),
    "negative-size": (head("int8", [-1]), r"sizes of 0 or more, got dims \[-1\]"),
    "too-many-axes": (head("int8", [1] * 33) + content(9, b"1"), "expected up to 32 sizes"),
    "huge": (head("int8", [2**62, 2**62]) + content(9, b"1"), "expected 2126764"),
    "huge-and-empty": (head("int8", [0, *[2**62] * 3]), "cannot be read"),
    "name-not-utf8": (head("int8", [1]) + content(8, b"\xff") + content(9, b"1"), "utf-8"),
    "field-zero": (b"\0\0" + RAW, "field 0 at byte 0 has an encoding that ONNX does not use"),
    "group": (b"\x0b" + RAW, "field 1 at byte 0 has an encoding"),
    "wire-type-7": (b"\xa7\x06" + RAW, "field 100 at byte 0 has an encoding"),
    "dims-as-float": (b"\x0d1234", "field 1 at byte 0 has an encoding"),
    "text": (b"this is not a tensor", "has an encoding that ONNX does not use"),
    "endless-number": (b"\x08" + b"\xff" * 11, "is longer than 10 bytes"),
    "length-past-the-end": (content(9, b"12345678")[:-1], "cut off in field 9, .* at byte 10"),
    "endless-length": (b"\x4a" + b"\xff" * 9 + b"\1", "the data is cut off in field 9"),
}


@pytest.mark.parametrize(("file", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_anything_else_is_an_error(file, message):
    with pytest.raises(GoldenError, match=message) as caught:
        read_tensor(file, "input_0.pb")
    assert str(caught.value).startswith("input_0.pb cannot be read as an ONNX tensor: ")
    assert str(caught.value).endswith(": write or copy it again")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", range(len(RAW)))
def test_a_file_that_is_cut_off_is_an_error(end):
    with pytest.raises(GoldenError, match=r"^input_0.pb cannot be read as an ONNX tensor"):
        read_tensor(RAW[:end], "input_0.pb")


@pytest.mark.parametrize("dtype", SUPPORTED)
def test_a_typed_file_that_is_cut_off_is_an_error(dtype):
    file = typed(bits(dtype), "x", packed=True)
    for end in range(len(file)):
        with pytest.raises(GoldenError):
            read_tensor(file[:end], "x.pb")


def test_noise_is_an_error_and_never_another():
    random = np.random.default_rng(0)
    for size in random.integers(1, 60, 3000):
        noise = random.integers(0, 256, size, np.uint8).tobytes()
        with pytest.raises(GoldenError):
            read_tensor(noise, "x.pb")


def test_a_damaged_file_gives_a_tensor_or_our_error():
    random = np.random.default_rng(0)
    for _ in range(3000):
        damaged = bytearray(RAW)
        damaged[random.integers(len(damaged))] = random.integers(256)
        try:
            _, array = read_tensor(bytes(damaged), "x.pb")
        except GoldenError:
            continue
        assert array.dtype.name in SUPPORTED
