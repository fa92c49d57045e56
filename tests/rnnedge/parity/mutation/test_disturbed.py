"""Copies of a model, each with one weight tensor changed, or one row of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from rnnedge.parity.mutation.disturbed import disturbed, weight_tensors

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x, bool c) => (float[2,3] y)
<float[2,3] w = {0, 1, -2, 3, 4, 5}, int8[2,3] q = {0, 1, 2, 3, 4, 127}, float scale = {0.5},
 int64[2] shape = {2, 3}, float[0] empty = {}>
{
  wide = DequantizeLinear(q, scale)
  k = Constant<value = float[3] {1, 2, 3}>()
  flat = Reshape(wide, shape)
  a = Add(x, flat)
  b = Add(a, w)
  y = If(c) <
    then_branch = t () => (ty) { v = Constant<value = float[3] {-1, -1, -1}>() ty = Add(b, v) },
    else_branch = e () => (ey) <float16[3] u = {1, 2, 3}> { f = Cast<to = 1>(u) ey = Add(b, f) }>
}"""


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return parser.parse_model(MODEL)


def test_every_weight_is_found(model: onnx.ModelProto) -> None:
    names = [name for name, _ in weight_tensors(model)]
    assert names == ["w", "q", "scale", "k", "If / v", "If / u"]


def test_one_tensor_is_changed_in_each_copy(model: onnx.ModelProto) -> None:
    own = {name: numpy_helper.to_array(t) for name, t in weight_tensors(model)}
    for mutant in disturbed(model):
        copy = onnx.load_from_string(mutant.content())
        onnx.checker.check_model(copy)
        arrays = {name: numpy_helper.to_array(t) for name, t in weight_tensors(copy)}
        changed = [name for name, a in arrays.items() if not np.array_equal(a, own[name])]
        assert changed == [mutant.tensor]
        assert arrays[mutant.tensor].dtype == own[mutant.tensor].dtype


def test_every_number_is_changed(model: onnx.ModelProto) -> None:
    own = {name: numpy_helper.to_array(t) for name, t in weight_tensors(model)}
    for mutant in disturbed(model):
        if mutant.name == mutant.tensor:
            copy = onnx.load_from_string(mutant.content())
            arrays = {name: numpy_helper.to_array(t) for name, t in weight_tensors(copy)}
            assert (arrays[mutant.name] != own[mutant.name]).all(), mutant.name


def test_rows(model: onnx.ModelProto) -> None:
    names = [mutant.name for mutant in disturbed(model) if mutant.name != mutant.tensor]
    assert names == ["w[1, :]", "q[1, :]", "k[1]", "If / v[1]", "If / u[1]"]


def test_scales_stay_above_zero(model: onnx.ModelProto) -> None:
    (mutant,) = (m for m in disturbed(model) if m.name == "scale")
    arrays = dict(weight_tensors(onnx.load_from_string(mutant.content())))
    assert numpy_helper.to_array(arrays["scale"]) > 0.7


def test_the_model_is_as_it_was(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    for mutant in disturbed(model):
        mutant.content()
    assert model.SerializeToString() == before
