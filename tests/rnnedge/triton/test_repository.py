"""`rnnedge triton`: what Triton gets, and that it answers as a stream does."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from triton_server import FIELDS, Server, published_fields, read_config

import rnnedge
from rnnedge.triton import ServingOptions, write_repository
from rnnedge_runtime import Session
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.errors import WriteError

FEATURES = 5


class Filtered(nn.Module):
    """Two inputs, and an output of one number for each row."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(FEATURES, 6, num_layers=2)

    def forward(self, x, gain, h_0):
        output, h_n = self.rnn(x * gain, h_0)
        return output.sigmoid(), output[-1].sum(-1), h_n


LAYERS = {
    "rnn": (nn.RNN(FEATURES, 6), {}),
    "relu, scan": (nn.RNN(FEATURES, 6, nonlinearity="relu"), {"target": "cuda"}),
    "lstm, two layers": (nn.LSTM(FEATURES, 6, num_layers=2), {}),
    "lstm, projected": (nn.LSTM(FEATURES, 6, proj_size=3, batch_first=True), {}),
    "gru, lengths": (nn.GRU(FEATURES, 6, batch_first=True), {"lengths": True}),
    "gru, int8": (nn.GRU(FEATURES, 6), {"quantize": "int8"}),
    "no states, two directions": (nn.GRU(FEATURES, 6, bidirectional=True), {"states": False}),
    "module": (
        Filtered(),
        {
            "example_inputs": (torch.ones(3, 2, FEATURES), torch.ones(2, 1), torch.zeros(2, 2, 6)),
            "dynamic_axes": {
                "x": {0: "time", 1: "batch"},
                "gain": {0: "batch"},
                "h_0": {1: "batch"},
            },
            "states": {"h_n": "h_0"},
        },
    ),
}


@pytest.fixture(scope="module", params=LAYERS, ids=str)
def served(request, tmp_path_factory):
    """The exported file, and what was written of it."""
    module, options = LAYERS[request.param]
    folder = tmp_path_factory.mktemp("served")
    path = folder / "layer.onnx"
    rnnedge.export(module, path, validate=False, **options)
    return path, write_repository(path, folder / "repository")


def rows_of(session, steps, seed):
    """Inputs of one row by name, without the batch axis."""
    random = np.random.default_rng(seed)
    rows = {}
    for spec in session.interface.data_inputs:
        sizes = [steps if axis == "time" else axis for axis in spec.axes if axis != BATCH]
        rows[spec.name] = random.standard_normal(sizes).astype(np.float32)
    return rows


def with_batch(session, rows):
    """The same as a stream of one row takes them."""
    places = {spec.name: spec.axes.index(BATCH) for spec in session.interface.data_inputs}
    return {name: np.expand_dims(row, places[name]) for name, row in rows.items()}


def without_batch(session, answer):
    specs = session.interface.data_outputs
    named = answer if isinstance(answer, dict) else {specs[0].name: answer}
    return {spec.name: named[spec.name].squeeze(spec.axes.index(BATCH)) for spec in specs}


def test_sequences_that_share_calls_get_what_their_streams_give(served):
    path, written = served
    server = Server(written.folder)
    session = Session(path, engine="onnxruntime", threads=1)
    keeps = bool(session.interface.states)
    streams = {number: session.stream() if keeps else session for number in range(4)}
    # A sequence that starts late, one that pauses, and one that ends.
    rounds = [(3, [0, 1]), (1, [0, 1, 2]), (1, [1, 2, 3]), (4, [2, 3]), (1, [0, 2])]
    for number, (steps, present) in enumerate(rounds):
        requests = {one: rows_of(session, steps, 10 * number + one) for one in present}
        lengths = {session.interface.lengths: [steps]} if session.interface.lengths else {}
        answers = server.infer({one: {**rows, **lengths} for one, rows in requests.items()})
        for one, rows in requests.items():
            given = with_batch(session, rows)
            answer = streams[one].step(given) if keeps else session.run(given).outputs
            expected = without_batch(session, answer)
            assert set(answers[one]) == set(expected)
            # The scale of int8 activations is that of all rows of a call.
            tolerance = 0.05 if "DynamicQuantizeLinear" in operators(path) else 2e-6
            for name, array in expected.items():
                got = answers[one][name].reshape(array.shape)
                np.testing.assert_allclose(got, array, rtol=0, atol=tolerance)


def operators(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def test_the_rewritten_file_is_a_model_with_a_true_contract(served):
    _, written = served
    onnx.checker.check_model(written.folder / "1" / "model.onnx", full_check=True)
    session = Session(written.folder / "1" / "model.onnx")
    assert session.interface == written.interface
    specs = [*session.interface.inputs, *session.interface.outputs]
    assert all(spec.axes[0] == BATCH for spec in specs)
    assert not written.difference


def test_the_fields_are_those_that_triton_publishes():
    published = published_fields()
    if published is None:
        pytest.skip("tritonclient is not installed")
    assert published == FIELDS


def gru_file(path, nodes=(), *, batch=BATCH, inputs=(), outputs=()):
    """A file of another maker: a GRU over `x` with the state `h`, and further nodes."""
    info = helper.make_tensor_value_info
    random = np.random.default_rng(0)
    weights = {"W": (1, 12, FEATURES), "R": (1, 12, 4)}
    graph = helper.make_graph(
        [
            helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["", "hn"], hidden_size=4),
            helper.make_node("Squeeze", ["hn", "zero"], ["last"]),
            *nodes,
        ],
        "theirs",
        [
            info("x", TensorProto.FLOAT, ["time", batch, FEATURES]),
            info("h", TensorProto.FLOAT, [1, batch, 4]),
            *inputs,
        ],
        [info("last", TensorProto.FLOAT, [batch, 4]), *outputs],
        [
            numpy_helper.from_array(np.array([0]), "zero"),
            *(
                numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
                for name, shape in weights.items()
            ),
        ],
    )
    graph.output.append(info("hn", TensorProto.FLOAT, [1, batch, 4]))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_a_graph_inside_an_if_reads_the_moved_state(tmp_path):
    """Names of the outer graph are read in inner ones, and the state is an output there too."""
    info = helper.make_tensor_value_info
    out = [info("chosen", TensorProto.FLOAT, None)]
    then = helper.make_graph([helper.make_node("Add", ["h", "hn"], ["chosen"])], "then", [], out)
    out = [info("chosen", TensorProto.FLOAT, None)]
    other = helper.make_graph([helper.make_node("Neg", ["hn"], ["chosen"])], "other", [], out)
    nodes = [
        helper.make_node("Squeeze", ["sr"], ["scalar"]),
        helper.make_node("Cast", ["scalar"], ["on"], to=TensorProto.BOOL),
        helper.make_node("If", ["on"], ["both"], then_branch=then, else_branch=other),
    ]
    path = gru_file(
        tmp_path / "theirs.onnx",
        nodes,
        inputs=[info("sr", TensorProto.INT64, [])],
        outputs=[info("both", TensorProto.FLOAT, [1, BATCH, 4])],
    )
    written = write_repository(path, tmp_path / "repository", constants={"sr": 1})
    server = Server(written.folder)
    assert [each.name for each in server.config.input] == ["x"]
    stream = Session(path, engine="onnxruntime").stream(constants={"sr": np.array(1)})
    for step in range(3):
        row = np.full((2, FEATURES), 0.1 * step, np.float32)
        expected = stream.step({"x": row[:, None]})
        answer = server.infer({7: {"x": row}})[7]
        np.testing.assert_array_equal(answer["last"], expected["last"][0])
        np.testing.assert_array_equal(answer["both"], expected["both"][:, 0])


def test_the_configuration_says_what_was_asked_for(tmp_path):
    options = ServingOptions(
        max_batch=7,
        streams=12,
        idle_seconds=2.5,
        max_delay_ms=1.5,
        device="cuda",
        instances=2,
    )
    path = gru_file(tmp_path / "theirs.onnx")
    written = write_repository(path, tmp_path / "repository", name="kws.v2", options=options)
    config = read_config(written.folder / "config.pbtxt")
    assert (config.name, config.max_batch_size) == ("kws.v2", 7)
    assert config.sequence_batching.max_sequence_idle_microseconds == 2_500_000
    assert config.sequence_batching.oldest.max_candidate_sequences == 12
    assert config.sequence_batching.oldest.max_queue_delay_microseconds == 1500
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, 1)
    assert not config.parameters


def test_a_name_of_any_letters_is_read_back(tmp_path):
    path = gru_file(tmp_path / "theirs.onnx")
    model = onnx.load(path)
    name = 'é "\\\n'
    model.graph.output[0].name = name
    model.graph.node[1].output[0] = name
    onnx.save(model, path)
    written = write_repository(path, tmp_path / "repository")
    config = read_config(written.folder / "config.pbtxt")
    assert [each.name for each in config.output] == [name]


def test_the_command_line(rnn, tmp_path):
    gru_file(tmp_path / "theirs.onnx")
    done = rnn("triton", "theirs.onnx", "-o", "repository")
    assert done.code == 0
    assert "note: h float32[1, batch, 4] became h float32[batch, 1, 4]" in done.out
    assert "the same to the bit" in done.out
    assert "wrote repository/theirs (sha256 " in done.out
    again = rnn("triton", "theirs.onnx", "-o", "repository", "--json")  # its own work is replaced
    assert json.loads(again.out)["states"] == [{"input": "h", "output": "hn"}]


REFUSED = {
    "two directions": (
        lambda path: rnnedge.export(nn.GRU(4, 4, bidirectional=True), path, validate=False),
        "the layer is bidirectional; export it without states (--no-states)",
    ),
    "a fixed batch": (
        lambda path: gru_file(path, batch=1),
        "x float32[time, 1, 5]: Triton joins requests along a batch axis, and this input has none: "
        "export it with a dynamic batch axis",
    ),
    "a single number": (
        lambda path: gru_file(
            path,
            [helper.make_node("Identity", ["sr"], ["same"])],
            inputs=[helper.make_tensor_value_info("sr", TensorProto.INT64, [])],
            outputs=[helper.make_tensor_value_info("same", TensorProto.INT64, [])],
        ),
        "give its value (--constant sr=...)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(rnn, tmp_path, case):
    make, message = REFUSED[case]
    make(tmp_path / "model.onnx")
    done = rnn("triton", "model.onnx", "-o", "repository")
    assert done.code == 1
    assert message in done.err
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "../up"], "name: expected letters"),
        (["--constant", "y=1"], "constants: the model has no input 'y'; it has x"),
        (["--constant", "x=1"], "has a batch axis: a client gives it"),
        (["--constant", "x"], "expected NAME=NUMBER"),
        (["--idle-seconds", "inf"], "idle_seconds: expected a number above 0"),
    ],
)
def test_options_refused(rnn, tmp_path, options, message):
    gru_file(tmp_path / "theirs.onnx")
    done = rnn("triton", "theirs.onnx", "-o", "repository", *options)
    assert done.code in (1, 2)
    assert message in done.err


def test_a_repository_that_cannot_be_made(tmp_path):
    gru_file(tmp_path / "theirs.onnx")
    (tmp_path / "repository").symlink_to("nowhere")
    with pytest.raises(WriteError, match="repository: cannot be written: "):
        write_repository(tmp_path / "theirs.onnx", tmp_path / "repository")


def test_a_model_of_another_maker_is_not_replaced(rnn, tmp_path):
    gru_file(tmp_path / "theirs.onnx")
    (tmp_path / "repository" / "theirs").mkdir(parents=True)
    (tmp_path / "repository" / "theirs" / "config.pbtxt").write_text("name: 'theirs'")
    done = rnn("triton", "theirs.onnx", "-o", "repository")
    assert done.code == 1
    assert "expected an empty folder or a model that rnnedge wrote, found config.pbtxt" in done.err


def test_a_rewriting_that_changes_answers_is_not_written(rnn, tmp_path, monkeypatch):
    """The check of the command itself can fail: one weight is changed on the way."""
    gru_file(tmp_path / "theirs.onnx")
    from rnnedge.triton import repository

    def wrong(model, *given):
        made, interface = real(model, *given)
        weights = next(tensor for tensor in made.graph.initializer if tensor.name == "R")
        array = numpy_helper.to_array(weights) + np.float32(0.01)
        weights.CopyFrom(numpy_helper.from_array(array, "R"))
        return made, interface

    real = repository.batch_first
    monkeypatch.setattr(repository, "batch_first", wrong)
    done = rnn("triton", "theirs.onnx", "-o", "repository")
    assert done.code == 3
    assert "the model for Triton differs by" in done.err
    assert not (tmp_path / "repository").exists()
