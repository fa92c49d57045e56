"""An exception of a signal handler, such as a timer's, ends what runs, and stays itself."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnnedge


class TooLongError(Exception):
    """What the application's handler raises."""


class Model(nn.Module):
    """A module in whose call number `at` a signal comes."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(2, 3, batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        CALLS.append(1)
        if len(CALLS) == AT[0]:
            signal.raise_signal(signal.SIGTERM)
        return self.head(self.rnn(x)[0])


CALLS: list[int] = []
AT = [0]


@pytest.fixture
def handled() -> Iterator[None]:
    def handler(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGTERM, handler)
    yield
    signal.signal(signal.SIGTERM, before)


def interrupted(run: Callable[[], object], at: int) -> bool:
    """Run with a signal in one call; returns whether there were as many."""
    CALLS.clear()
    AT[0] = at
    try:
        run()
    except TooLongError:
        return True
    finally:
        AT[0] = 0
    assert len(CALLS) < at, f"the exception of call {at} was swallowed"
    return False


@pytest.mark.usefixtures("handled")
def test_export_and_validation(tmp_path: Path) -> None:
    model, x, path = Model().eval(), torch.zeros(2, 3, 2), tmp_path / "m.onnx"

    def export() -> None:
        rnnedge.export(model, path, example_inputs=(x,), validate=False)

    def validate() -> None:
        rnnedge.validate(path, against=model, quick=True, isolated=False)

    for run, step in ((export, 1), (validate, 4)):
        at = 1
        while interrupted(run, at):
            at += step
        assert at > 10
