"""Sequences in chunks, along whatever axis is time."""

from __future__ import annotations

import numpy as np
import pytest

from rnnedge_runtime.chunking import cut, join, pieces

AXES = {"x": ("batch", "time", 2), "mask": ("time",), "sr": (), "h": (1, "batch", 4)}


def test_pieces_follow_each_other() -> None:
    assert pieces([3, 1, 2]) == [slice(0, 3), slice(3, 4), slice(4, 6)]


def test_chunks_join_to_the_whole() -> None:
    whole = {"x": np.arange(24).reshape(2, 6, 2), "mask": np.arange(6), "sr": np.array(8)}
    parts = [cut(whole, AXES, piece) for piece in pieces([1, 3, 2])]
    assert [part["x"].shape for part in parts] == [(2, 1, 2), (2, 3, 2), (2, 2, 2)]
    joined = join(parts, AXES)
    assert all(np.array_equal(joined[name], whole[name]) for name in whole)


def test_a_chunk_is_a_view() -> None:
    whole = {"x": np.zeros((2, 6, 2))}
    cut(whole, AXES, slice(1, 3))["x"][...] = 1
    assert whole["x"].sum() == 8


def test_the_last_state_is_kept() -> None:
    states = [{"h": np.full((1, 2, 4), number)} for number in range(3)]
    assert np.array_equal(join(states, AXES)["h"], states[2]["h"])
    assert join([{"other": np.array(1)}], AXES)["other"] == 1  # without axes too


def test_parts_of_other_widths_do_not_join() -> None:
    with pytest.raises(ValueError, match="dimension"):
        join([{"x": np.zeros((2, 1, 2))}, {"x": np.zeros((2, 1, 3))}], AXES)
