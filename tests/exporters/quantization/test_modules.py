"""Whole modules: recurrent layers and what is around them, in fewer bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from integer_model import Arithmetic
from torch import Tensor, nn
from widened_layer import widened_layer

from rnnedge_exporters import Recurrent, export
from rnnedge_runtime import Session

OPTIONS = {"int8": {"quantize": "int8"}, "float16": {"dtype": "float16"}}


class Tagger(nn.Module):
    """Embedding, convolution, both directions, a head that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.conv = nn.Conv1d(12, 12, 3, padding=1)
        self.rnn = nn.LSTM(12, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 20)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(self.embed(tokens).transpose(1, 2)).relu().transpose(1, 2)
        output, (h_n, _) = self.rnn(x)
        return self.head(output), self.head(torch.cat([h_n[0], h_n[1]], 1))


@pytest.fixture
def tagger() -> Tagger:
    torch.manual_seed(2)
    return Tagger()


TOKENS = torch.zeros(2, 7, dtype=torch.long)


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("stored", OPTIONS)
def test_it_computes_with_the_weights_that_are_stored(
    stored: str, opset: int, tagger: Tagger, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export(tagger, path, example_inputs=(TOKENS,), opset=opset, **OPTIONS[stored])
    onnx.checker.check_model(onnx.load(path), full_check=True)
    tokens = np.random.default_rng(0).integers(0, 50, (3, 11))
    with torch.no_grad():
        twin = widened_layer(tagger, stored).double()
        expected = [value.numpy() for value in twin(torch.from_numpy(tokens))]
    given = Session(path).run(tokens).outputs.values()
    for value, wanted in zip(given, expected, strict=True):
        assert value.shape == wanted.shape
        assert np.abs(value - wanted).max() < 1e-5


def test_every_layer_is_reported(tagger: Tagger, tmp_path: Path) -> None:
    result = export(tagger, tmp_path / "m.onnx", example_inputs=(TOKENS,), quantize="int8")
    report = {layer.name: layer for layer in result.quantization}
    assert set(report) == {"rnn", "embed.weight", "conv.weight", "head.weight"}
    kinds = {name: layer.kind for name, layer in report.items()}
    assert kinds["rnn"] == "lstm"
    assert kinds["embed.weight"] == "Gather"
    assert kinds["conv.weight"] == "Conv"
    assert kinds["head.weight"] in ("MatMul", "Gemm")
    for layer in report.values():
        assert layer.done == "stored in int8"
        assert layer.reason
        assert layer.bytes_after < 0.45 * layer.bytes_before
        assert layer.weight_error > 0


@pytest.mark.parametrize(("quantize", "domains"), [("int8", [""]), ("int8:all", ["", "com.micro"])])
def test_integers_inside_a_module(
    quantize: str, domains: list[str], tagger: Tagger, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    result = export(tagger, path, example_inputs=(TOKENS,), quantize=quantize)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain[:9] for opset in model.opset_import] == domains
    assert result.contract.quantization == quantize
    tokens = np.random.default_rng(0).integers(0, 50, (3, 11))
    with torch.no_grad():
        expected = tagger(torch.from_numpy(tokens))[0].numpy()
    assert np.abs(Session(path).run(tokens).outputs["output"] - expected).max() < 0.02


def test_half_on_cuda_keeps_the_rest_in_float32(tagger: Tagger, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(tagger, path, example_inputs=(TOKENS,), dtype="float16", target="cuda")
    tokens = np.random.default_rng(0).integers(0, 50, (3, 11))
    with torch.no_grad():
        expected = tagger(torch.from_numpy(tokens))[0].numpy()
    assert np.abs(Session(path).run(tokens).outputs["output"] - expected).max() < 5e-3


class Leaky(nn.Module):
    """A cell of the user's own."""

    hidden_size = 20

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(32, 20)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = 0.5 * h + 0.5 * torch.tanh(self.mix(torch.cat([x, h], 1)))
        return h, h


@pytest.mark.parametrize("stored", OPTIONS)
def test_the_cell_of_a_user(stored: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    layer = Recurrent(Leaky())
    path = tmp_path / "model.onnx"
    example = (torch.zeros(5, 2, 12),)
    result = export(layer, path, example_inputs=example, states=False, **OPTIONS[stored])
    assert [(one.name, one.done) for one in result.quantization] == [
        ("cell.mix.weight", f"stored in {stored}")
    ]
    x = torch.randn(9, 3, 12)
    with torch.no_grad():
        expected = widened_layer(layer, stored).double()(x.double())[0].numpy()
    given = next(iter(Session(path).run(x.numpy()).outputs.values()))
    assert np.abs(given - expected).max() < 1e-5


@pytest.mark.parametrize("options", [*OPTIONS.values(), {"quantize": "int8:all"}])
def test_same_source_gives_the_same_bytes(options: dict, tagger: Tagger, tmp_path: Path) -> None:
    first = export(tagger, tmp_path / "a.onnx", example_inputs=(TOKENS,), **options)
    second = export(tagger, tmp_path / "b.onnx", example_inputs=(TOKENS,), **options)
    assert first.path.read_bytes() == second.path.read_bytes()


class Speller(nn.Module):
    """A large head, over every step and over the last."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 256, batch_first=True)
        self.head = nn.Linear(256, 1024)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = self.rnn(x)
        return self.head(output), self.head(h_n[0])


def test_a_large_linear_layer_computes_in_int8(tmp_path: Path) -> None:
    torch.manual_seed(1)
    speller, path = Speller(), tmp_path / "model.onnx"
    example = (torch.zeros(2, 5, 6),)
    result = export(speller, path, example_inputs=example, states=False, quantize="int8")
    done = {layer.name: layer.done for layer in result.quantization}
    assert done == {"rnn": "stored in int8", "head.weight": "computes in int8"}
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("MatMulInteger") == 2
    assert not {"MatMul", "Gemm"} & set(operators)
    assert result.bytes < 0.3 * 4 * sum(p.numel() for p in speller.parameters())
    x = torch.randn(3, 7, 6)
    with torch.no_grad():
        outputs, h_n = widened_layer(speller, "int8").rnn(x)
    given = Session(path).run(x.numpy()).outputs.values()
    weight, bias = (p.detach().numpy() for p in speller.head.parameters())
    for state, value in zip((outputs, h_n[0]), given, strict=True):
        expected = Arithmetic().integer(state.numpy().reshape(-1, 256), weight) + bias
        assert np.abs(value - expected.reshape(value.shape)).max() < 1e-3


class Stacked(nn.Module):
    """Two layers, of which the second takes what the first gives, and another next to them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(8, 16, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(32, 16, batch_first=True)
        self.beside = nn.LSTM(8, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)[0])[0] + self.beside(2 * x + 1)[0]


def test_an_lstm_that_follows_another_takes_its_input_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Stacked().eval(), tmp_path / "model.onnx"
    export(module, path, example_inputs=(torch.randn(2, 5, 8),), quantize="int8:all")
    nodes = onnx.load(path).graph.node
    lstms = [node.name for node in nodes if node.op_type == "DynamicQuantizeLSTM"]
    parts = [node.name for node in nodes if node.op_type == "DynamicQuantizeLinear"]
    assert [name.split("/")[0] for name in lstms] == ["first", "second", "beside"]
    assert [name.split("/")[0] for name in parts] == ["first", "beside"]
