"""A decoder whose frames are its next input, as in Tacotron, writes what a loop in PyTorch does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import InputError, Session

MEL, MEMORY, STEPS = 3, 5, 12


class Decoder(nn.Module):
    """A step with attention over a memory; `gate` is a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.query = nn.LSTMCell(MEL + MEMORY, 6), nn.Linear(6, MEMORY)
        self.mel, self.gate = nn.Linear(6 + MEMORY, MEL), nn.Linear(6 + MEMORY, 1)

    def forward(
        self, frame: Tensor, memory: Tensor, h: Tensor, c: Tensor, context: Tensor
    ) -> tuple[Tensor, ...]:
        h, c = self.cell(torch.cat([frame, context], -1), (h, c))
        weights = torch.softmax((memory @ self.query(h).unsqueeze(2)).squeeze(2), 1)
        context = (weights.unsqueeze(1) @ memory).squeeze(1)
        both = torch.cat([h, context], -1)
        return self.mel(both), self.gate(both), weights, h, c, context


class Layer(nn.Module):
    """A layer over time, no stop, and a frame of two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.gru(x.flatten(2))[0])
        return output.unflatten(2, (2, 2))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Decoder, Path]:
    torch.manual_seed(1)
    module, path = Decoder().eval(), tmp_path_factory.mktemp("decoder") / "m.onnx"
    for weight in module.parameters():
        weight.data *= 3
    rnnedge.export(
        module,
        path,
        example_inputs=(
            torch.zeros(2, MEL),
            torch.randn(2, 7, MEMORY),
            *(torch.zeros(2, n) for n in (6, 6, MEMORY)),
        ),
        dynamic_axes={
            "memory": {0: "batch", 1: "source"},
            **{name: {0: "batch"} for name in ("frame", "h", "c", "context")},
        },
        states={"h_out": "h", "c_out": "c", "context_out": "context"},
    )
    return module, path


def steps_in_pytorch(
    module: Decoder, memory: Tensor, start: Tensor, threshold: float
) -> Iterator[Any]:
    """Yield frame, gate and weights of each step of one row, until the gate opens."""
    states = [torch.zeros(1, n) for n in (6, 6, MEMORY)]
    frame = start
    with torch.no_grad():
        for _ in range(STEPS):
            frame, gate, weights, *states = module(frame, memory, *states)
            yield frame[0], gate[0], weights[0]
            if float(gate) > threshold:
                return


@pytest.mark.parametrize("engine", ["onnxruntime", "auto"])
def test_frames_are_those_of_a_loop_over_pytorch(
    decoder: tuple[Decoder, Path], engine: Any
) -> None:
    module, path = decoder
    memory, start = torch.randn(6, 4, MEMORY) * 2, torch.randn(6, MEL)
    session = Session(path, threads=1, engine=engine)
    names = [spec.name for spec in session.interface.data_outputs]
    inputs = {"memory": memory.numpy()}
    whole = session.generate(start.numpy(), STEPS, threshold=1e9, inputs=inputs)
    threshold = float(np.quantile(whole.outputs[names[1]], 0.8))
    made = session.generate(start.numpy(), STEPS, threshold=threshold, inputs=inputs)
    for row in range(6):
        one = slice(row, row + 1)
        steps = list(steps_in_pytorch(module, memory[one], start[one], threshold))
        assert made.lengths[row] == len(steps)
        frames, gates, weights = (torch.stack(part).numpy() for part in zip(*steps, strict=True))
        assert made.finished[row] == (gates[-1] > threshold)
        count = len(steps)
        np.testing.assert_allclose(made.frames[row, :count], frames, rtol=0, atol=1e-4)
        np.testing.assert_allclose(made.outputs[names[2]][row, :count], weights, atol=1e-4)
        assert not made.frames[row, count:].any()
    assert len(set(made.lengths.tolist())) > 1  # rows end apart


def test_a_layer_without_a_stop(tmp_path: Path) -> None:
    module = Layer().eval()
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(torch.randn(2, 5, 2, 2),))
    made = Session(tmp_path / "m.onnx", threads=1).generate(np.ones((3, 2, 2), np.float32), 4)
    assert made.lengths.tolist() == [4, 4, 4]
    assert not made.finished.any()
    with torch.no_grad():
        fed = torch.cat([torch.ones(3, 1, 2, 2), torch.tensor(made.frames[:, :-1])], 1)
        np.testing.assert_allclose(made.frames, module(fed).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": np.zeros((2, 4), np.float32)}, r"start: expected finite float32\[batch, 3\]"),
        ({"start": np.zeros((3, 3), np.float32)}, "as many frames as memory has rows, 2, got 3"),
        ({"inputs": {}}, "frame: several of the model fit: pass frame='frame' or frame='memory'"),
        ({"stop": "nothing"}, "stop: 'nothing' is not a float output"),
        ({"max_steps": 0}, "max_steps: expected an integer of 1 or more"),
        ({"threshold": float("nan")}, "threshold: expected a finite number"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused(decoder: tuple[Decoder, Path], options: dict[str, Any], message: str) -> None:
    session = Session(decoder[1], threads=1)
    given = {"inputs": {"memory": np.zeros((2, 4, MEMORY), np.float32)}, "start": None}
    given |= {"max_steps": 3} | options
    with pytest.raises(InputError, match=message):
        session.generate(given.pop("start"), given.pop("max_steps"), **given)
