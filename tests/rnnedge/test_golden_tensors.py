"""The runtime's reader of tensors against onnx: all that onnx writes is read exactly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from rnnedge import GoldenError
from rnnedge_runtime.tensor_file import SUPPORTED, read_tensor


def onnx_values(dtype: str) -> st.SearchStrategy[NDArray[np.generic]]:
    shapes = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    return arrays(np.dtype(dtype), shapes)


def assert_reads(tensor: onnx.TensorProto, values: NDArray[np.generic]) -> None:
    name, given = read_tensor(tensor.SerializeToString(), "x.pb")
    assert name == tensor.name
    assert (given.dtype, given.shape) == (values.dtype, values.shape)
    assert given.tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", SUPPORTED)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
def test_raw_tensors_of_onnx_are_read_exactly(dtype: str, data: st.DataObject, name: str) -> None:
    values = data.draw(onnx_values(dtype))
    assert_reads(onnx.numpy_helper.from_array(values, name), values)


@pytest.mark.parametrize("dtype", SUPPORTED)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_typed_tensors_of_onnx_are_read_exactly(dtype: str, data: st.DataObject) -> None:
    values = data.draw(onnx_values(dtype))
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = onnx.helper.make_tensor("x", kind, values.shape, values.ravel())
    assert not tensor.HasField("raw_data")
    # What onnx itself makes of the numbers it wrote: Python's floats may quiet a NaN.
    assert_reads(tensor, onnx.numpy_helper.to_array(tensor))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_bytes_of_any_kind_give_a_tensor_or_our_error(noise: bytes) -> None:
    try:
        _, values = read_tensor(noise, "x.pb")
    except GoldenError:
        return
    assert values.dtype.name in SUPPORTED


@pytest.mark.parametrize("dtype", SUPPORTED)
def test_a_tensor_of_onnx_that_is_cut_off_anywhere_is_an_error(dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    whole = onnx.numpy_helper.from_array(values, "h_0").SerializeToString()
    assert_reads(onnx.numpy_helper.from_array(values, "h_0"), values)
    for end in range(len(whole)):
        with pytest.raises(GoldenError, match=r"^x\.pb cannot be read as an ONNX tensor: "):
            read_tensor(whole[:end], "x.pb")
