"""Loops that no one body fits are refused with their line; what is wrong by chance is too."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnnedge


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.u, self.v = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6)


class EverySecondTurn(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = torch.tanh((self.u if t % 2 else self.v)(h) + self.w(x[:, t]))
        return h


class NumberOfTheTurn(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = h * (1 / (t + 1)) + self.w(x[:, t])
        return h


class BranchOnValues(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            if x[:, t].sum() > 0:
                h = torch.tanh(self.u(h) + self.w(x[:, t]))
        return h


class GrowingList(Base):
    """Each turn looks at all turns before it."""

    def forward(self, x: Tensor) -> Tensor:
        past = [x.new_zeros(x.size(0), 6)]
        for t in range(x.size(1)):
            mean = torch.stack(past).mean(0)
            past.append(torch.tanh(self.u(mean) + self.w(x[:, t])))
        return past[-1]


class BreaksLate(Base):
    """The traces are shorter than the turn at which it stops."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            if t == 12:
                break
            h = torch.tanh(self.u(h) + self.w(x[:, t]))
        return h


class LongerIsDifferent(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = torch.tanh(self.u(h) + self.w(x[:, t]))
        return h * 2 if x.size(1) > 60 else h


class InsideTheTurns(Base):
    """As many inner turns as outer ones."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            for s in range(t + 1):
                h = torch.tanh(self.u(h) + self.w(x[:, s]))
        return h


class AnotherOrder(Base):
    """What is carried in an attribute is used before the turn that sets it."""

    def forward(self, x: Tensor) -> Tensor:
        last, h = x.new_zeros(x.size(0), 6), x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = torch.tanh(self.u(last) + self.w(x[:, x.size(1) - 1 - (t * t) % x.size(1)]))
            last = h
        return last


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (EverySecondTurn, "what it reads from outside is not one step .*; it carries h"),
        (NumberOfTheTurn, r"a number is computed in Python from the turn \(1.0, 0.5, …\)"),
        (BranchOnValues, "depends on the values of a tensor .*; it carries h"),
        (GrowingList, ""),
        (BreaksLate, "other numbers at batch 4, time 50"),
        (LongerIsDifferent, "other numbers at batch 2, time 200"),
        (InsideTheTurns, ""),
        (AnotherOrder, ""),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_refused_with_its_line(kind: type[nn.Module], why: str, tmp_path: Path) -> None:
    line = r"the loop at line \d+ of test_refused_loops.py \(for t in range\(.*\):\)"
    with pytest.raises(rnnedge.LoopError, match=f"{line} cannot become a Scan: .*{why}") as caught:
        rnnedge.export(kind(), tmp_path / "m.onnx", example_inputs=(torch.randn(2, 9, 4),))
    assert "rnnedge.Recurrent(cell)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


class Plain(Base):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), 6)
        for t in range(x.size(1)):
            h = torch.tanh(self.u(h) + self.w(x[:, t]))
        return h


@pytest.mark.parametrize("axes", [{}, {"x": {0: "batch"}}], ids=["none", "batch"])
def test_a_loop_over_an_axis_that_is_left_fixed(
    axes: dict[str, dict[int, str]], tmp_path: Path
) -> None:
    message = "over axis 1 of x.*, an axis that dynamic_axes leaves fixed: name it there"
    with pytest.raises(rnnedge.LoopError, match=message):
        rnnedge.export(
            Plain(), tmp_path / "m.onnx", example_inputs=(torch.randn(2, 9, 4),), dynamic_axes=axes
        )
