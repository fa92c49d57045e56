"""Specifications and checkpoints made to take time or memory: one error, soon."""

import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rnnedge.errors import RnnEdgeError
from rnnedge.sources.load import load_source

_MOST_SECONDS = 10.0
"""Of processor time; each takes a tenth of it, and took minutes or ended in a traceback."""
_MOST_BYTES = 3 << 20

_HEADER = b'{"__metadata__":{' + b",".join(b'"%d":""' % number for number in range(900_000)) + b"}}"
FILES = {
    "deep.json": (b'{"a":' * 20_000, "expected at most 65,536 characters"),
    "nested.json": (b"[" * 30_000 + b"]" * 30_000, "nested too deeply"),
    "objects.json": (b'{"a":' * 10_000, "nested too deeply"),
    "double.json": (b'{"cell": "rnn", "cell": "gru"}', "a key occurs twice in one object"),
    "digits.json": (b'{"input_size": ' + b"9" * 9000 + b"}", "expected a readable JSON file: Exc"),
    "deep.toml": (b"a=[" + b"\n[" * 30_000, "nested too deeply"),
    "dotted.toml": (b".".join([b"a"] * 30_000) + b"=1", "expected lines of at most 4,000 char"),
    "long.toml": (b"#" * 70_000, "expected at most 65,536 characters"),
    "layers.toml": (
        b'cell="rnn"\ninput_size=1\nhidden_size=1\nnum_layers=1000000000',
        "num_layers: expected 10,000 or less, got 1000000000",
    ),
    "deep.pkl": (
        b"\x80\x02" + b"]" * 60_000 + b"a" * 59_999 + b".",
        "expected weights by name, got a list",
    ),
    "tuples.pkl": (
        b"\x80\x02)" + b"\x85" * 100_000 + b".",
        "expected weights by name, got a tuple",
    ),
    "claims.pkl": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.", "it is cut short"),
    "header.safetensors": (struct.pack("<Q", len(_HEADER)) + _HEADER, "it does not begin like one"),
}


@pytest.mark.parametrize(("name", "words"), [(n, w) for n, (_, w) in FILES.items()], ids=FILES)
def test_a_file_made_to_take_time_or_memory(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name][0])
    start = time.process_time()
    with pytest.raises(RnnEdgeError) as refused:
        load_source(str(tmp_path / name))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert time.process_time() - start < _MOST_SECONDS


def test_a_pickle_of_too_many_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnedge.sources.checkpoints.unpickling._MOST_INSTRUCTIONS", 1000)
    (tmp_path / "w.pkl").write_bytes(b"\x80\x02](" + b"]" * 1100 + b"e.")
    with pytest.raises(RnnEdgeError, match="it holds more than 1,000 objects: save the weights al"):
        load_source(str(tmp_path / "w.pkl"))


def test_an_archive_that_unpacks_to_far_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnedge_runtime.array_file._MOST_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "w.npz", weight_ih_l0=np.zeros(1_000_000, np.float32))
    tracemalloc.start()
    try:
        with pytest.raises(RnnEdgeError, match="bytes that become 4000128 when they are unpacked"):
            load_source(str(tmp_path / "w.npz"))
        assert tracemalloc.get_traced_memory()[1] < _MOST_BYTES
    finally:
        tracemalloc.stop()
