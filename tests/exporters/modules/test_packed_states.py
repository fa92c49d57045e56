"""A state belongs to its row, whatever the order of the lengths from call to call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from packed_modules import EXAMPLE, UNSORTED, Packed, check, export, in_torch, module, rows
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.nn.utils.rnn import pack_padded_sequence as pack
from torch.nn.utils.rnn import pad_packed_sequence as unpack

import rnnedge
from rnnedge_runtime import Session, StateError

if TYPE_CHECKING:
    from packed_modules import Forward

CALLS = [[2, 7, 4, 7], [6, 1, 3, 6], [1, 2, 6, 3]]
"""Lengths of the same four rows in calls that follow one another, each in another order."""


def two_layers(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    p, _ = m.rnn(pack(x, n, batch_first=True, enforce_sorted=False))
    output, h_n = m.second(PackedSequence(torch.relu(p.data), *p[1:]))
    return unpack(output, batch_first=True, total_length=x.size(1))[0], h_n


@pytest.fixture(scope="module", params=["LSTM", "GRU", "RNN"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Packed, Session]:
    made = module(two_layers, request.param)
    session, result = export(made, tmp_path_factory.mktemp("states"))
    assert not result.contract.hindrances
    return made, session


def test_each_row_goes_on_from_its_own_state(exported: tuple[Packed, Session]) -> None:
    made, session = exported
    calls = [rows(lengths) for lengths in CALLS]
    state: Any = None
    answers = []
    for x, lengths in zip(calls, CALLS, strict=True):
        run = session.run(x, lengths=lengths, state=state)
        state = run.state
        answers.append(run.output)
    for row in range(4):
        steps = [x[row, : lengths[row]] for x, lengths in zip(calls, CALLS, strict=True)]
        whole = np.concatenate(steps)[None]
        output, h_n = in_torch(made, whole, [whole.shape[1]])
        joined = np.concatenate(
            [y[row, : lengths[row]] for y, lengths in zip(answers, CALLS, strict=True)]
        )
        assert np.abs(joined - output[0]).max() < 1e-5
        names = [pair.output for pair in session.interface.states]
        final = next(s for s, name in zip(state, names, strict=True) if s.shape[2] == 3)
        assert np.abs(final[0, row] - h_n[0, 0]).max() < 1e-5


def test_rows_of_a_pool_are_their_own(exported: tuple[Packed, Session]) -> None:
    _, session = exported
    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    whole = session.run(x).output
    with session.pool() as pool:
        streams = [pool.open() for _ in range(3)]
        for step in range(6):
            order = np.roll([0, 1, 2], step)[: 2 + step % 2]
            taken = {streams[row]: x[row, step] for row in order}
            if len(taken) == 2:  # the third goes on alone
                rest = ({0, 1, 2} - set(order.tolist())).pop()
                given = pool.step({streams[rest]: x[rest, step]})
                assert np.abs(given[streams[rest]] - whole[rest, step]).max() < 1e-5
            for stream, y in pool.step(taken).items():
                assert np.abs(y - whole[streams.index(stream), step]).max() < 1e-5


def _indexed(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    ends, order = torch.sort(n, descending=True)
    p = pack(x[order], ends, batch_first=True)
    output = unpack(m.rnn(p)[0], batch_first=True, total_length=x.size(1))[0]
    return output[order.argsort()]


def _selected(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    order = n.argsort(descending=True)
    p = pack(x.index_select(0, order), n.index_select(0, order), batch_first=True)
    return m.rnn(p)[1][0].index_select(1, order.argsort())


def _negative(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    ends, order = (-n).sort()
    p = pack(x.transpose(0, 1)[:, order], -ends)
    output = unpack(m.rnn(p)[0], batch_first=True, total_length=x.size(1))[0]
    places = torch.zeros_like(order).scatter_(0, order, torch.arange(order.numel()))
    return output[places]


def _without_indices(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    p = pack(x, n, batch_first=True, enforce_sorted=False)
    return m.rnn(PackedSequence(p.data, p.batch_sizes))[1][0]


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (_indexed, "rnn sees rows that are moved or mixed by sort: let pack_padded_sequence sort"),
        (_selected, "rnn sees rows that are moved or mixed by argsort"),
        (_negative, "rnn sees rows that are moved or mixed by sort"),
        (_without_indices, "output has rows that are moved or mixed by sort"),
    ],
)
def test_rows_that_are_moved_are_right_and_not_lifted(
    forward: Forward, reason: str, tmp_path: Path
) -> None:
    made = module(forward)
    session, result = export(made, tmp_path)
    check(made, session, UNSORTED)
    assert not session.interface.states
    assert any(reason in hindrance for hindrance in result.contract.hindrances)
    assert any("(line " in note for note in result.notes)


def test_rows_that_are_moved_cannot_be_lifted(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"rnn sees rows that are moved .*\(line \d+ of"):
        export(module(_indexed), tmp_path, states=True)


class OwnState(nn.Module):
    """Sorts its rows, and leaves the state that it takes and gives in the sorted order."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        ends, order = torch.sort(lengths, descending=True)
        output, h_out = self.rnn(pack(x[order], ends, batch_first=True), h)
        padded, _ = unpack(output, batch_first=True, total_length=x.size(1))
        return padded[order.argsort()], h_out


def test_a_state_of_sorted_rows_is_no_stream(tmp_path: Path) -> None:
    session, _ = export(OwnState(), tmp_path, example_inputs=(*EXAMPLE, torch.zeros(1, 3, 3)))
    for start in (lambda: session.stream(2), session.pool):
        with pytest.raises(StateError, match="rnn sees rows that are moved or mixed by sort"):
            start()


def test_the_last_step_of_padded_rows_is_not_that_of_their_chunks(tmp_path: Path) -> None:
    class LastStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(4, 5, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = pack(x, lengths, batch_first=True, enforce_sorted=False)
            output, _ = unpack(self.rnn(packed)[0], True, total_length=x.size(1))
            return output[:, -1]

    example = (torch.randn(3, 6, 4), torch.tensor([6, 2, 4]))
    made = rnnedge.export(LastStep(), tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.states == ()
    assert "rows that end at other steps" in made.contract.hindrances[0]
