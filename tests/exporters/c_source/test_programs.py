"""C programs pass their golden vectors, compiled with every warning as an error."""

import shutil

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge_exporters.c_source.target import write_program
from tests.exporters.c_source.conftest import needs_compiler

pytestmark = needs_compiler


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.gru = nn.GRU(8, 16, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, tokens):
        return self.head(self.norm(self.gru(self.embedding(tokens))[0])).log_softmax(-1)


class Listener(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv = nn.Conv1d(6, 8, 3)
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)
        self.activation = activation

    def forward(self, x):
        x = nn.functional.pad(x.transpose(1, 2), (2, 0))
        x = self.activation(self.conv(x)).transpose(1, 2)
        return torch.sigmoid(self.head(self.lstm(x)[0]))


class TwoInputs(nn.Module):
    """Inputs and outputs whose names mean something in C."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True)

    def forward(self, double, state):
        output, _ = self.gru(torch.cat([double, state], -1))
        return output, (output > 0).long()


LAYERS = {
    "rnn": nn.RNN(5, 7),
    "rnn_relu": nn.RNN(5, 7, 2, nonlinearity="relu", bias=False),
    "rnn_3": nn.RNN(5, 7, 3),
    "gru": nn.GRU(10, 32),
    "gru_2": nn.GRU(5, 7, 2, batch_first=True),
    "gru_3": nn.GRU(5, 6, 3, bias=False),
    "lstm": nn.LSTM(5, 7),
    "lstm_2": nn.LSTM(5, 9, 2, batch_first=True),
    "lstm_projected": nn.LSTM(5, 7, 3, proj_size=3),
}
BOTH_WAYS = {
    "rnn": nn.RNN(5, 7, 1, bidirectional=True),
    "rnn_2": nn.RNN(5, 7, 2, bidirectional=True, nonlinearity="relu"),
    "gru_3": nn.GRU(5, 6, 3, bidirectional=True, batch_first=True),
    "lstm_2": nn.LSTM(5, 6, 2, bidirectional=True),
    "lstm_projected": nn.LSTM(5, 7, 2, proj_size=3, bidirectional=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_runs_in_steps(name, write, prove):
    program = write(LAYERS[name])
    assert program.max_steps is None
    assert "step output" in prove(program)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_directions_run_whole_sequences(name, write, prove):
    program = write(BOTH_WAYS[name], max_steps=6)
    printed = prove(program)
    assert "run output" in printed
    assert "step output" not in printed


@pytest.mark.parametrize(
    ("name", "storage"),
    [
        ("rnn_3", {"dtype": "float16"}),
        ("gru", {"quantize": "int8"}),
        ("lstm_2", {"dtype": "float16"}),
        ("lstm_projected", {"quantize": "int8"}),
    ],
)
def test_stored_weights_are_widened(name, storage, write, prove):
    prove(write(LAYERS[name], **storage))


@pytest.mark.parametrize("name", ["rnn_3", "rnn_relu", "gru_2", "lstm_2", "lstm_projected"])
def test_layers_compute_in_integers(name, write, prove):
    program = write(LAYERS[name], quantize="int8:all")
    assert "integer_row(&l->hh" in (program.folder / "kws.c").read_text()
    prove(program)


@pytest.mark.parametrize("name", ["gru_3", "lstm_projected"])
def test_both_directions_compute_in_integers(name, write, prove):
    prove(write(BOTH_WAYS[name], quantize="int8:all", max_steps=6))


def test_rows_are_rounded_each_by_itself(write, prove):
    prove(write(LAYERS["gru"], quantize="int8:all", batch=3))


def test_a_wide_product_computes_in_integers(write, prove, headed):
    program = write(headed(nn.ReLU()), quantize="int8:all", example_inputs=(torch.randn(2, 5, 3),))
    assert "+ integer_row(&product_" in (program.folder / "kws.c").read_text()
    prove(program, flags="-O1")


def test_a_wrong_integer_fails(write, prove):
    program = write(LAYERS["gru"], quantize="int8:all")
    weights = program.folder / "kws_weights.c"
    head, sign, rest = weights.read_text().partition("hh[3072] = {\n  ")
    value, comma, rest = rest.partition(",")
    weights.write_text(f"{head}{sign}{int(value) ^ 32}{comma}{rest}")
    prove(program, passes=False)


@pytest.mark.parametrize("storage", [{}, {"quantize": "int8"}])
def test_a_module_with_a_table_and_a_norm(storage, write, prove):
    tokens = torch.randint(0, 20, (2, 9))
    prove(write(Tagger(), example_inputs=(tokens,), **storage))


@pytest.mark.parametrize("activation", [nn.functional.gelu, nn.functional.softplus])
def test_a_convolution_keeps_its_context(activation, write, prove):
    prove(write(Listener(activation), example_inputs=(torch.randn(2, 9, 6),)))


def test_a_module_runs_whole_sequences(write, prove):
    prove(write(Listener(torch.relu), example_inputs=(torch.randn(2, 9, 6),), max_steps=5))


def test_several_inputs_and_outputs_whose_names_are_words_of_c(write, prove):
    inputs = (torch.randn(2, 9, 4), torch.randn(2, 9, 2))
    program = write(TwoInputs(), example_inputs=inputs)
    header = (program.folder / "kws.h").read_text()
    assert "const float *double_value" in header
    assert "int64_t *" in header
    prove(program)


def test_names_of_a_model_stay_in_their_comments(tmp_path, prove):
    """Whoever made the file: its names must not become code, nor end a line."""
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "made.onnx"
    rnnedge.export(LAYERS["gru"], path, target="c", validate=False)
    model = onnx.load(path)
    del model.metadata_props[:]
    hostile = "*/ #error ??/\n#error \\"
    for number, node in enumerate(model.graph.node):
        node.name = f"{number} {hostile}"
        node.input[:] = [hostile if name == "input" else name for name in node.input]
    model.graph.input[0].name = hostile
    program = write_program(model.SerializeToString(), tmp_path / "kws")
    assert "#error" in (program.folder / "kws.h").read_text()
    prove(program)


def test_a_digest_of_another_form_is_not_written(tmp_path):
    path = tmp_path / "made.onnx"
    rnnedge.export(LAYERS["gru"], path, target="c", validate=False)
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    (contract,) = (one for one in model.metadata_props if one.key == "rnnedge.contract")
    contract.value = contract.value.replace('"sha256:', '"\\" #error ')
    program = write_program(model.SerializeToString(), tmp_path / "kws")
    assert "#error" not in (program.folder / "kws.h").read_text()


@pytest.mark.parametrize("both", [False, True])
def test_a_batch_of_rows(both, write, prove):
    layer = nn.LSTM(5, 7, 2, batch_first=True, bidirectional=both)
    prove(write(layer, batch=3, max_steps=6 if both else None))


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang")
def test_clang_and_optimization(write, prove):
    prove(write(LAYERS["lstm_2"], quantize="int8"), compiler="clang", flags="-O2 -Wconversion")
    prove(write(LAYERS["gru"], folder="gru"), flags="-O3 -march=native -ffp-contract=fast")


def test_memory_is_used_as_c_allows(write, prove):
    flags = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    program = write(Listener(torch.relu), example_inputs=(torch.randn(2, 9, 6),))
    makefile = program.folder / "Makefile"
    prove(program, flags=flags)
    assert "build" in makefile.read_text()


def test_wrong_weights_fail(write, prove):
    program = write(LAYERS["gru"])
    weights = program.folder / "kws_weights.c"
    text = weights.read_text()
    first = text.index("{") + 4
    weights.write_text(text[:first] + text[first:].replace("0.1", "0.2", 1))
    assert "FAILED" in prove(program, passes=False)
