"""Files of integers are compared with their activations in float32 too, where nothing hides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn

from rnnedge import export, validate
from rnnedge.parity.rounding.widened import widen

Array = np.ndarray[Any, Any]


class Speller(nn.Module):
    """Letters and features to scores, with two layers that compute in int8."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.project = nn.Embedding(40, 16), nn.Linear(8, 16)
        self.lstm, self.head = nn.LSTM(16, 32, num_layers=2), nn.Linear(32, 20)

    def forward(self, letters: Tensor, features: Tensor) -> Tensor:
        x = self.embed(letters) + self.project(features)
        y: Tensor = self.head(self.lstm(x)[0]).log_softmax(-1)
        return y


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    module, path = Speller().eval(), tmp_path_factory.mktemp("speller") / "right.onnx"
    example = (torch.zeros(4, 2, dtype=torch.int64), torch.zeros(4, 2, 8))
    export(module, path, example_inputs=example, quantize="int8:all", validate=False)
    return path, module


def test_the_right_file_passes(speller: tuple[Path, nn.Module]) -> None:
    path, module = speller
    report = validate(path, against=module, isolated=False, quick=True)
    assert report, report
    names = [output.name for output in report.outputs]
    assert f"{names[0]}, activations in float32" in names


def _channel(array: Array) -> Array:
    changed = array.copy()
    changed.reshape(-1)[1] *= 2
    return changed


def _gates(array: Array) -> Array:
    """Swap two gates of [directions, features, gates*hidden]."""
    hidden = array.shape[-1] // 4
    order = np.arange(array.shape[-1]).reshape(4, hidden)[[1, 0, 2, 3]].ravel()
    return array[..., order]


def _rows(array: Array) -> Array:
    return array[::-1].copy()


def _zero(array: Array) -> Array:
    changed = array.copy()
    changed.reshape(-1)[3] = 6
    return changed


BROKEN: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "scale of a channel": ("lstm/l1/W_scale", _channel),
    "scale of a channel of the state": ("lstm/l0/R_scale", _channel),
    "zero point of a channel": ("lstm/l1/W_zero_point", _zero),
    "swapped gates": ("lstm/l1/W", _gates),
    "a bias": ("lstm/l1/B", _channel),
    "scale of a row": ("embed.weight_scale", _channel),
    "rows of a table": ("embed.weight", _rows),
    "a bias before it": ("project.bias", _channel),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_fail(speller: tuple[Path, nn.Module], kind: str, tmp_path: Path) -> None:
    path, module = speller
    name, change = BROKEN[kind]
    model = onnx.load(path)
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    onnx.save(model, tmp_path / "wrong.onnx")
    report = validate(tmp_path / "wrong.onnx", against=module, isolated=False, quick=True)
    assert not report, report


def test_the_cause_is_said(speller: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, module = speller
    model = onnx.load(path)
    (tensor,) = (t for t in model.graph.initializer if t.name == "lstm/l1/W_scale")
    tensor.CopyFrom(numpy_helper.from_array(_channel(numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    report = validate(tmp_path / "wrong.onnx", against=module, isolated=False, quick=True)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "wrong weights"
    (missing,) = report.diagnosis.evidence.split("; in no rounding of the file: ")[1:]
    assert "lstm.weight_ih_l1" in missing.split(", ")
    failed = {output.name for output in report.outputs if not output}
    assert failed
    assert all(name.endswith(", activations in float32") for name in failed)


# --- operators ------------------------------------------------------------------------------------

HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n'
W = "int8[3,2] w = {1, -2, 3, 4, -5, 6}"
RIGHT = np.array([[1, -2], [3, 4], [-5, 6]], np.float32)
PRODUCTS = {
    "MatMulInteger": (
        f"""g (float[2,3] x) => (float[2,2] y) <{W}, int8[2] wz = {{1, -1}}, float s = {{0.5}}> {{
        q, qs, qz = DynamicQuantizeLinear(x)
        i = MatMulInteger(q, w, qz, wz)
        f = Cast<to = 1>(i)
        t = Mul(qs, s)
        y = Mul(f, t) }}""",
        (RIGHT - [1, -1]) * 0.5,
    ),
    "DynamicQuantizeMatMul": (
        f"""g (float[2,3] x) => (float[2,2] y) <{W}, float[2] s = {{0.5, 2}}> {{
        y = com.microsoft.DynamicQuantizeMatMul(x, w, s) }}""",
        RIGHT * [0.5, 2],
    ),
    "MatMulIntegerToFloat": (
        f"""g (float[2,3] x) => (float[2,2] y)
        <{W}, float[2] s = {{0.5, 2}}, int8[2] z = {{0, 0}}> {{
        q, qs, qz = DynamicQuantizeLinear(x)
        y = com.microsoft.MatMulIntegerToFloat(q, w, qs, s, qz, z) }}""",
        RIGHT * [0.5, 2],
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str) -> None:
    text, weights = PRODUCTS[name]
    model = parser.parse_model(HEAD + text)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    rounded = _run(model, x)
    widen(model)
    exact = _run(model, x)
    np.testing.assert_allclose(exact, x @ weights, rtol=1e-5, atol=1e-6)
    assert 1e-5 < np.abs(rounded - exact).max() < 0.3


def test_convolutions() -> None:
    text = """g (float[1,1,5] x) => (float[1,1,4] y) <int8[1,1,2] w = {3, -7}, float s = {0.5}> {
    q, qs, qz = DynamicQuantizeLinear(x)
    i = ConvInteger(q, w, qz)
    f = Cast<to = 1>(i)
    t = Mul(qs, s)
    y = Mul(f, t) }"""
    model = parser.parse_model(HEAD + text)
    widen(model)
    x = np.random.default_rng(0).standard_normal((1, 1, 5)).astype(np.float32)
    expected = (3 * x[..., :-1] - 7 * x[..., 1:]) * 0.5
    np.testing.assert_allclose(_run(model, x), expected, rtol=1e-5, atol=1e-6)


def test_products_inside_a_branch() -> None:
    text = f"""g (float[2,3] x) => (float[2,2] y) <{W}, float[2] s = {{1, 1}}, bool c = {{1}}> {{
    y = If(c) <
      then_branch = t () => (a) {{ a = com.microsoft.DynamicQuantizeMatMul(x, w, s) }},
      else_branch = e () => (b) {{ b = com.microsoft.DynamicQuantizeMatMul(x, w, s) }}> }}"""
    model = parser.parse_model(HEAD + text)
    widen(model)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_allclose(_run(model, x), x @ RIGHT, rtol=1e-5, atol=1e-6)


def _run(model: onnx.ModelProto, x: Array) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    answer: Array = session.run(None, {"x": x})[0]
    return answer
