"""What is left out of an exported graph changes no number: small constants, ends of a range."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rnnedge
from rnnedge import Recurrent
from rnnedge_runtime import Session

Op = Callable[[Tensor], Tensor]


class After(nn.Module):
    """What is done to the output of a layer, each under its name."""

    def __init__(self, ops: dict[str, Op]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.ops = ops

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        output, _ = self.rnn(x)
        return {name: op(output) for name, op in self.ops.items()}


def exported(ops: dict[str, Op], path: Path) -> tuple[nn.Module, Session]:
    module = After(ops).eval()
    rnnedge.export(module, path, example_inputs=(torch.randn(2, 4, 5),), states=False)
    return module, Session(path, threads=1)


def errors(module: nn.Module, session: Session) -> dict[str, float]:
    """Return the largest error against float64, as a part of the largest value, at new shapes."""
    twin = copy.deepcopy(module).double()
    worst: dict[str, float] = {}
    for batch, time in ((3, 7), (1, 9)):
        x = np.random.default_rng(batch).standard_normal((batch, time, 5)).astype(np.float32)
        with torch.inference_mode():
            wanted = twin(torch.from_numpy(x).double())
        for name, got in session.run(x).outputs.items():
            want = wanted[name].numpy()
            assert got.shape == want.shape, name
            error = float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))
            worst[name] = max(worst.get(name, 0.0), error if np.isfinite(error) else np.inf)
    return worst


EXACT: dict[str, Op] = {
    "log(relu + 1e-10)": lambda y: torch.log(torch.relu(y) + 1e-10),
    "log(1e-9 + relu)": lambda y: torch.log(1e-9 + torch.relu(y)),
    "relu - (-1e-9)": lambda y: torch.log(torch.relu(y) - -1e-9),
    "a tensor of 1e-9": lambda y: torch.log(torch.relu(y) + torch.tensor(1e-9)),
    "in double": lambda y: torch.log(torch.relu(y).double() + 1e-12),
    "rms norm, 1e-8": lambda y: torch.rsqrt((torch.relu(y) * 1e-6).pow(2).mean(-1) + 1e-8),
    "divided by relu + 1e-9": lambda y: y / (torch.relu(y) + 1e-9),
    "entropy": lambda y: -(y.softmax(-1) * torch.log(torch.relu(y) + 1e-9)).sum(-1),
    "times nearly 1": lambda y: (y * (1 + 2**-17) - y) * 2**17,
    "nearly 1 times": lambda y: ((1 + 2**-17) * y - y) * 2**17,
    "through nearly 1": lambda y: (y / (1 - 2**-17) - y) * 2**17,
    "alpha nearly 1": lambda y: torch.add(y * 0, y, alpha=1 + 2**-17) * 2**17 - y * 2**17,
    "power of nearly 1": lambda y: ((y.abs() + 1) ** (1 + 2**-17) - y.abs() - 1) * 2**17,
    "clamp(min=1e-30)": lambda y: torch.log(y.clamp(min=1e-30)),
    "maximum of 1e-12": lambda y: torch.log(torch.maximum(y, torch.tensor(1e-12))),
    "normalize": lambda y: F.normalize(y * 1e-9, dim=-1, eps=1e-10),
    "layer_norm": lambda y: F.layer_norm(y * 1e-6, (6,), eps=1e-12),
    "batch_norm": lambda y: F.batch_norm(
        y.transpose(1, 2) * 1e-5, y.new_zeros(6), y.new_full((6,), 1e-10), eps=1e-9
    ),
    "ranges that do not meet": lambda y: y.clamp(0, 1).clamp(2, 3),
    "a range below, one above": lambda y: y.clamp(max=-1).clamp(min=0.5),
    "relu of a range below 0": lambda y: torch.relu(y.clamp(-2, -1)),
    "range of a relu": lambda y: torch.relu(y).clamp(-2, -1),
    "ends that add an axis": lambda y: torch.minimum(
        torch.maximum(y[0, 0], torch.full((1, 1), 0.1, dtype=y.dtype)), torch.tensor(0.2)
    ),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Return the error of each of `EXACT`."""
    return errors(*exported(EXACT, tmp_path_factory.mktemp("exact") / "m.onnx"))


@pytest.mark.parametrize("name", EXACT)
def test_no_constant_is_taken_for_another(name: str, found: dict[str, float]) -> None:
    # What is multiplied by 2**17 shows what float32 rounds at 1, 6e-8 of it.
    assert found[name] < (5e-2 if "nearly" in name else 2e-6)


NOTHING: dict[str, tuple[Op, list[str]]] = {
    "neutral": (lambda y: 0 + (1 * (y + 0.0) * 1.0 - 0.0) / 1, []),
    "moved": (lambda y: F.dropout(y, 0.5, training=False).transpose(0, 2).transpose(2, 0), []),
    "clamp": (lambda y: torch.relu(torch.relu(y)).clamp(-0.5, 0.5), ["Clip"]),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_computes_nothing_is_left_out(name: str, tmp_path: Path) -> None:
    op, operators = NOTHING[name]
    path = tmp_path / "m.onnx"
    assert errors(*exported({"output": op}, path))["output"] < 2e-6
    nodes = [node.op_type for node in onnx.load(path).graph.node]
    layer = {"GRU", "Transpose", "Squeeze"}
    assert [node for node in nodes if node not in layer] == operators


class LogCell(nn.Module):
    """A cell of the user's own whose state stays finite by an epsilon alone."""

    hidden_size = 5

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.log(torch.relu(x + h * 0.01) + 1e-10)
        return h, h


def test_the_cell_of_a_recurrent_keeps_its_epsilon(tmp_path: Path) -> None:
    module = Recurrent(LogCell(), batch_first=True)
    path = tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=(torch.randn(2, 4, 5),), states=False)
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))
    want = module(x.double())[0].numpy()
    assert np.abs(Session(path).run(x.numpy()).output - want).max() < 1e-4
