"""Example inputs from a line such as `x=float32[batch,time,40]`."""

from __future__ import annotations

import pytest
import torch

from rnnedge import InputError
from rnnedge.sources.input_specs import parse_inputs


def test_named_axes_are_dynamic() -> None:
    examples = parse_inputs(["x=float32[batch, time, 40]", "h=float32[2,batch,8]"])
    assert examples.tensors["x"].shape == (3, 11, 40)
    assert examples.dynamic_axes == {"x": {0: "batch", 1: "time"}, "h": {1: "batch"}}


def test_other_names_have_sizes_of_their_own() -> None:
    shape = parse_inputs(["x=float32[batch,words,letters,words]"]).tensors["x"].shape
    assert shape == (3, 5, 7, 5)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("int64", 1), ("int32", 1), ("bool", False)],
)
def test_types(dtype: str, value: float) -> None:
    tensor = parse_inputs([f"x={dtype}[2]"]).tensors["x"]
    assert tensor.dtype == getattr(torch, dtype)
    assert tensor.tolist() == [value, value]


def test_no_axes() -> None:
    assert parse_inputs(["x=float32[]"]).tensors["x"].shape == ()


def test_the_same_numbers_each_time() -> None:
    first, second = (parse_inputs(["x=float32[batch,4]"]).tensors["x"] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("line", ["x", "x=float32", "x=half[3]", "1=float32[3]", "x=float32[3]y"])
def test_line_of_another_form(line: str) -> None:
    with pytest.raises(
        InputError, match=r"^--input \S+: expected name=dtype\[axis,axis,\.\.\.\], "
    ):
        parse_inputs([line])


def test_input_that_is_there_twice() -> None:
    words = r"^--input x=float32\[4\]: x is already specified; name each input once$"
    with pytest.raises(InputError, match=words):
        parse_inputs(["x=float32[3]", "x=float32[4]"])


@pytest.mark.parametrize("line", ["x=float32[batch,99999999999]", "x=int64[99999,99999,99999]"])
def test_input_that_is_too_large(line: str) -> None:
    with pytest.raises(InputError, match=r": expected at most 268,435,456 numbers, got [\d,]+; na"):
        parse_inputs([line])
