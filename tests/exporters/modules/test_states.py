"""Lifted states, states of the module's own, and what stands in the way."""

from pathlib import Path

import module_zoo
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
import rnnedge_exporters
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session
from rnnedge_runtime.proof.self_check import check


class Filter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x)[0])


class Averaged(Filter):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(1)


class Stepper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: Tensor, h_in: Tensor) -> Tensor:
        h_out = self.cell(x, h_in)
        return h_out


class Starts(nn.Module):
    """Keeps a state that is a number other than zero."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4)
        self.hidden = torch.ones(1, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        output, self.hidden = self.rnn(x, self.hidden)
        return output


class OwnContext(nn.Module):
    """A convolution that joins what it kept of the last chunk in front of the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(3, 4, 3), nn.GRU(4, 5, batch_first=True)

    def forward(self, x: Tensor, context: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = torch.cat([context, x], 1)
        output, h_n = self.rnn(self.conv(joined.transpose(1, 2)).transpose(1, 2), h)
        context_n = joined[:, -2:]
        return output, context_n, h_n


class WithoutTheFirst(nn.Module):
    """Leaves out two steps of each chunk, which only whoever cuts the chunks can know of."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 5, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = self.rnn(x[:, 2:], h)
        return output, h_n


class Ahead(OwnContext):
    """Its convolution sees the next step; at the end of a chunk there is none."""

    def forward(self, x: Tensor, context: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joined = nn.functional.pad(torch.cat([context[:, 1:], x], 1), (0, 0, 0, 1))
        output, h_n = self.rnn(self.conv(joined.transpose(1, 2)).transpose(1, 2), h)
        context_n = joined[:, -3:-1]
        return output, context_n, h_n


X = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(1))


def test_true_lifts_states_by_path(tmp_path: Path) -> None:
    result = rnnedge.export(Filter(), tmp_path / "m.onnx", example_inputs=(X,), states=True)
    (pair,) = result.contract.interface.states
    assert (pair.input, pair.output) == ("encoder.h_0", "encoder.h_n")


def test_false_leaves_the_module_as_written(tmp_path: Path) -> None:
    result = rnnedge.export(Filter(), tmp_path / "m.onnx", example_inputs=(X,), states=False)
    assert [spec.name for spec in result.contract.interface.inputs] == ["x"]
    assert not result.contract.interface.states


def test_true_names_what_cannot_be_streamed(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"mean over time \(line \d+ of test_states"):
        rnnedge.export(Averaged(), tmp_path / "m.onnx", example_inputs=(X,), states=True)
    assert not list(tmp_path.iterdir())


def test_by_default_what_cannot_be_streamed_is_a_note(tmp_path: Path) -> None:
    result = rnnedge.export(Averaged(), tmp_path / "m.onnx", example_inputs=(X,))
    assert any("states were not lifted, since mean over time" in note for note in result.notes)
    assert not result.contract.interface.states


class ComputedStart(nn.Module):
    """Starts from what it computes of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.start = nn.GRU(3, 4, batch_first=True), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rnn(x, self.start(x.amax(1))[None])[0]
        return output


def test_true_names_a_start_that_depends_on_the_input(tmp_path: Path) -> None:
    example, path = (torch.zeros(2, 5, 3),), tmp_path / "m.onnx"
    with pytest.raises(rnnedge.ExportError, match="rnn starts from a state that the module"):
        rnnedge.export(ComputedStart(), path, example_inputs=example, states=True)


def test_an_axis_that_stays_fixed_is_a_note(tmp_path: Path, worker: Worker) -> None:
    module, example = module_zoo.MODULES["attention_step"]
    result = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
    assert any(note.startswith("axis 1 of memory is fixed to 7, and need") for note in result.notes)
    axes = {"memory": {0: "batch", 1: "positions"}, "token": {0: "batch"}, "hidden": {1: "batch"}}
    opened = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example, dynamic_axes=axes)
    assert opened.contract.interface.inputs[0].axes == ("batch", "positions", 6)
    assert rnnedge.validate(tmp_path / "m.onnx", against=module, worker=worker)


@pytest.mark.parametrize(
    ("name", "contexts"),
    [
        ("causal_padded", {"conv.context_0": 4}),
        ("causal_cut", {"first.context_0": 2, "second.context_0": 1}),
    ],
)
def test_causal_convolution_keeps_a_context(
    name: str, contexts: dict[str, int], tmp_path: Path
) -> None:
    module, example = module_zoo.MODULES[name]
    result = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example, states=True)
    sizes = {spec.name: spec.axes[2] for spec in result.contract.interface.state_inputs}
    assert {key: sizes[key] for key in contexts} == contexts


def test_convolution_that_looks_ahead_is_named(tmp_path: Path) -> None:
    module, example = module_zoo.MODULES["ctc"]
    with pytest.raises(rnnedge.ExportError, match="conv1d looks ahead, or in strides, across"):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example, states=True)


def test_stream_of_a_hindered_model_is_refused(tmp_path: Path) -> None:
    module = nn.LSTM(3, 4, bidirectional=True)
    rnnedge.export(module, tmp_path / "m.onnx")
    with pytest.raises(rnnedge.StateError, match="cannot be streamed"):
        Session(tmp_path / "m.onnx").stream()


def test_mapping_pairs_the_modules_own_states(tmp_path: Path) -> None:
    module = Stepper().eval()
    path = tmp_path / "m.onnx"
    rnnedge.export(
        module, path, example_inputs=(X[:, 0], torch.zeros(2, 4)), states={"h_out": "h_in"}
    )
    stream = Session(path).stream(batch=2)
    h = torch.zeros(2, 4)
    for t in range(6):
        h = module(X[:, t], h)
        stream.step(X[:, t].numpy())
        assert np.abs(stream.state[0] - h.detach().numpy()).max() < 1e-6


CONTEXT = (X, torch.zeros(2, 2, 3), torch.zeros(1, 2, 5))
TOLD = {"context_n": "context", "h_n": "h"}
AXES = {"x": {0: "batch", 1: "time"}, "context": {0: "batch"}, "h": {1: "batch"}}
"""Only `x` has a time axis; that of the context would be one too, for it is joined to it."""


def test_a_module_that_keeps_a_context_of_its_own_is_streamed(
    tmp_path: Path, worker: Worker
) -> None:
    path, module = tmp_path / "m.onnx", OwnContext()
    result = rnnedge.export(module, path, example_inputs=CONTEXT, states=TOLD, dynamic_axes=AXES)
    (note,) = result.notes
    assert note.startswith("chunks gave what the whole sequence gave when tried, though conv1d loo")
    assert rnnedge.validate(path, against=module, worker=worker)
    x = np.random.default_rng(0).standard_normal((2, 9, 3)).astype(np.float32)
    whole, stream = Session(path).run(x).output, Session(path).stream(batch=2)
    chunks = [stream.step(part) for part in np.split(x, [1, 3], axis=1)]
    np.testing.assert_allclose(np.concatenate(chunks, 1), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("module", "example", "states"),
    [(WithoutTheFirst(), CONTEXT[::2], {"h_n": "h"}), (Ahead(), CONTEXT, TOLD)],
    ids=["left out", "ahead"],
)
def test_chunks_that_are_not_the_whole_are_a_note(
    module: nn.Module, example: tuple[Tensor, ...], states: dict[str, str], tmp_path: Path
) -> None:
    axes = {name: AXES[name] for name in ("x", *states.values())}
    result = rnnedge.export(
        module, tmp_path / "m.onnx", example_inputs=example, states=states, dynamic_axes=axes
    )
    assert result.notes[-1].startswith("a stream is refused, since chunks do not give what the wh")
    assert result.notes[-1].endswith("takes and gives the states, for chunks cut otherwise")
    with pytest.raises(
        rnnedge.StateError, match=r"use Session\.run, which takes a state and gives"
    ):
        Session(tmp_path / "m.onnx").stream(batch=2)


def test_a_sequence_that_leaves_no_steps_to_a_layer_is_refused(tmp_path: Path) -> None:
    """ONNX Runtime's GRU would end this process."""
    rnnedge.export(WithoutTheFirst(), tmp_path / "m.onnx", example_inputs=CONTEXT[::2])
    session = Session(tmp_path / "m.onnx")
    assert session.run(X[:, :3].numpy())
    with pytest.raises(rnnedge.InputError, match=r"^x: expected more than 2 step\(s\): output"):
        session.run(X[:, :2].numpy())
    assert not [finding for finding in check(session) if finding.passed is False]


def test_a_batch_of_one_opens_the_batch_of_every_input(tmp_path: Path) -> None:
    module, (obs, h, c, done) = module_zoo.MODULES["policy"]
    result = rnnedge.export(
        module,
        tmp_path / "m.onnx",
        example_inputs=(obs[:1], h[:1], c[:1], done[:1]),
        states={"h_out": "h", "c_out": "c"},
    )
    assert [spec.axes[0] for spec in result.contract.interface.inputs] == ["batch"] * 4
    stream = Session(tmp_path / "m.onnx").stream(batch=3)
    for _ in range(2):
        stream.step({"obs": np.zeros((3, 6), np.float32), "done": np.zeros(3, bool)})
    assert stream.state[0].shape == (3, 8)


def test_a_state_that_cannot_be_handed_on_is_refused(tmp_path: Path) -> None:
    module, example = module_zoo.MODULES["policy"]
    with pytest.raises(rnnedge.ExportError, match=r"h_out float32\[batch, 8\] cannot be handed on"):
        rnnedge.export(
            module,
            tmp_path / "m.onnx",
            example_inputs=(example[0], example[1][:1], example[2][:1], example[3]),
            states={"h_out": "h", "c_out": "c"},
        )


@pytest.mark.parametrize(
    ("states", "message"),
    [({"h_oops": "h_in"}, "no output 'h_oops'"), ({"h_out": "h_oops"}, "no input 'h_oops'")],
)
def test_mapping_with_a_wrong_name(tmp_path: Path, states: dict[str, str], message: str) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(
            Stepper(),
            tmp_path / "m.onnx",
            example_inputs=(X[:, 0], torch.zeros(2, 4)),
            states=states,
        )


def test_kept_state_that_is_not_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"self\.hidden holds a state that is not zero"):
        rnnedge.export(Starts(), tmp_path / "m.onnx", example_inputs=(X[:1].transpose(0, 1),))


def test_mapping_for_a_bare_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rnnedge_exporters.ExportError, match="True or False for a bare layer"):
        rnnedge.export(nn.GRU(3, 4), tmp_path / "m.onnx", states={"h_n": "h_0"})
