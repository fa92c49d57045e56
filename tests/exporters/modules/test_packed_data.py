"""The data of a packed sequence is what PyTorch has, at any order of lengths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from packed_modules import (
    EXAMPLE,
    SORTED,
    UNSORTED,
    Packed,
    check,
    compare,
    export,
    in_onnx,
    in_torch,
    module,
    rows,
)
from torch.nn.utils.rnn import PackedSequence, unpack_sequence
from torch.nn.utils.rnn import pack_padded_sequence as pack
from torch.nn.utils.rnn import pad_packed_sequence as unpack

import rnnedge

if TYPE_CHECKING:
    from packed_modules import Forward
    from torch import Tensor

    from rnnedge_runtime import Session


def packed(m: Packed, x: Tensor, n: Tensor) -> PackedSequence:
    """Run the layer over rows that PyTorch sorts."""
    return m.rnn(pack(x, n, batch_first=True, enforce_sorted=False))[0]


def padded(sequence: PackedSequence) -> Tensor:
    return unpack(sequence, batch_first=True)[0]


def _softmax(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    p = packed(m, x, n)
    return padded(p._replace(data=F.softmax(p.data, 1)))


def _over_all_steps(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
    data = packed(m, x, n).data
    return (
        data.mean(0),
        data.cumsum(0),
        data.max(0).values,
        data.softmax(0),
        data.sum(0) / n.size(0),
    )


def _itself(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    p = packed(m, x, n)
    return p.data, p.data.sum(0) / p.data.shape[0]


def _features(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
    data = packed(m, x, n).data
    return data[:, :3], torch.cat([data, data * 2], 1), data.sum(-1), m.head(data)


def _norms(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    p = packed(m, x, n)
    return padded(PackedSequence(m.norm(p.data), *p[1:])), m.scale(p.data)


def _dropped(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    p = packed(m, x, n)
    return padded(
        PackedSequence(m.drop(p.data), p.batch_sizes, p.sorted_indices, p.unsorted_indices)
    )


def _next_layer(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    p = packed(m, x, n)
    output, h_n = m.second(PackedSequence(torch.tanh(p.data) + 1, *p[1:]))
    return padded(output), h_n


def _unsorted_by_hand(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Without its indices, the rows of a sequence stay sorted."""
    p = packed(m, x, n)
    output, h_n = m.second(PackedSequence(p.data * 2, p.batch_sizes))
    return (*unpack(output, batch_first=True, padding_value=-1), h_n)


def _own_indices(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    p = packed(m, x, n)
    twice = PackedSequence(p.data, p.batch_sizes, p.unsorted_indices, p.sorted_indices)
    h_0 = torch.arange(x.size(0)).view(1, -1, 1) * torch.ones(1, x.size(0), 3)
    output, h_n = m.second(twice, h_0)
    return padded(output), h_n


def _given_state(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    h_0 = torch.arange(x.size(0)).view(1, -1, 1) * torch.ones(1, x.size(0), 3)
    return m.second(packed(m, x, n), h_0)[1]


def _fields(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor | None, ...]:
    p = packed(m, x, n)
    data, *rest = p
    return (data, *rest, p[1], p.data.new_ones(p.batch_sizes.size(0)), p.batch_sizes[0] + 0)


def _two_sequences(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    other = pack(x, n, batch_first=True, enforce_sorted=False)
    return torch.cat([packed(m, x, n).data, other.data], 1)


def _tokens(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    p = pack((x[..., 0] > 0).long(), n, batch_first=True, enforce_sorted=False)
    return m.second(PackedSequence(m.table(p.data), *p[1:]))[1], padded(p)


def _attention(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    p = packed(m, x, n)
    weights = padded(PackedSequence(m.head(p.data).sum(-1).exp(), *p[1:]))
    return (padded(p) * (weights / weights.sum(1, keepdim=True)).unsqueeze(-1)).sum(1)


def _again(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    output, ends = unpack(packed(m, x, n), batch_first=True)
    p = pack(output, ends, batch_first=True, enforce_sorted=False)
    return m.second(p)[1], p.data


def _moved(m: Packed, x: Tensor, n: Tensor) -> Tensor:
    return padded(packed(m, x, n).cpu().float().to("cpu"))


def _in_place(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
    """What is done to the data is seen, what is done to the tensors around it later is not."""
    p = packed(m, x, n)
    before = padded(p)
    before.mul_(2)
    same = p.data.mul_(3)
    kept = PackedSequence(F.relu(p.data, inplace=True), *p[1:])
    return before, same, padded(p), padded(kept), m.second(p)[1]


def _packed_before(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
    x, n = x * 1, n + 0
    p = pack(x, n, batch_first=True, enforce_sorted=False)
    x[:, 0] = 0
    n.clamp_(max=1)
    again = pack(x, n, batch_first=True, enforce_sorted=False)
    return m.rnn(p)[1][0], m.rnn(again)[1][0]


def _other_kinds(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
    """Of rank 4 and of truth, without a layer."""
    p = pack(x.unsqueeze(-1) * torch.ones(2), n, batch_first=True, enforce_sorted=False)
    mask = pack(x > 0, n, batch_first=True, enforce_sorted=False)
    flipped = unpack(mask._replace(data=~mask.data), batch_first=True, padding_value=1)[0]
    flat = unpack(p._replace(data=p.data.flatten(1)), padding_value=2)[0]
    return p.data, flat, flipped, padded(mask)


CASES: dict[str, Forward] = {
    "other kinds": _other_kinds,
    "in place": _in_place,
    "packed before": _packed_before,
    "softmax over features": _softmax,
    "over all steps": _over_all_steps,
    "returned": _itself,
    "features": _features,
    "norms": _norms,
    "dropout": _dropped,
    "next layer": _next_layer,
    "without indices": _unsorted_by_hand,
    "its own indices": _own_indices,
    "a state given": _given_state,
    "fields": _fields,
    "two sequences": _two_sequences,
    "tokens": _tokens,
    "attention": _attention,
    "packed again": _again,
    "moved": _moved,
    "the sequence itself": packed,
}


Whole = tuple[rnnedge.ExportResult, list[list[Any]]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One file of all cases, and its answers: to export each alone takes a second."""
    made = module(lambda m, x, n: [forward(m, x, n) for forward in CASES.values()])
    session, result = export(made, tmp_path_factory.mktemp("packed"))
    return result, [in_onnx(session, rows(lengths), lengths) for lengths in UNSORTED]


@pytest.mark.parametrize("name", CASES)
def test_is_what_torch_has(name: str, whole: Whole) -> None:
    before = list(CASES)[: list(CASES).index(name)]
    first = sum(len(in_torch(module(CASES[case]), rows([2, 3]), [2, 3])) for case in before)
    for lengths, given in zip(UNSORTED, whole[1], strict=True):
        compare(given[first:], in_torch(module(CASES[name]), rows(lengths), lengths))


def test_of_rows_that_are_sorted(tmp_path: Path) -> None:
    def forward(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        p, _ = m.rnn(pack(x, n, batch_first=True))
        again = PackedSequence(p.data.relu(), p.batch_sizes)
        return p.data.softmax(0), p.batch_sizes, padded(again), m.second(again)[1]

    made = module(forward)
    session, _ = export(made, tmp_path, example_inputs=(EXAMPLE[0], torch.tensor([7, 4, 2])))
    check(made, session, SORTED)


def test_no_rows_with_steps(tmp_path: Path) -> None:
    """PyTorch refuses rows of length zero; a file answers as if there were none."""
    session, _ = export(module(_next_layer), tmp_path)
    x = rows([3, 4])
    some, h_some = in_onnx(session, x, [0, 4])[:2]
    alone, h_alone = in_onnx(session, x[1:], [4])[:2]
    assert np.allclose(some[1:], alone, atol=1e-6)
    assert not some[0].any()
    assert np.allclose(h_some[:, 1:], h_alone, atol=1e-6)
    none, h_none = in_onnx(session, x, [0, 0])[:2]
    assert none.shape == (2, 0, 3)
    assert not h_none.any()


def test_what_is_not_looked_at_leaves_nothing_behind(tmp_path: Path) -> None:
    """A sequence that goes from layer to layer is never gathered, scattered or sorted."""

    def forward(m: Packed, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        p = packed(m, x, n)
        p = PackedSequence(m.drop(p.data), p.batch_sizes, p.sorted_indices, p.unsorted_indices)
        output, h_n = m.second(p)
        return unpack(output, batch_first=True, total_length=x.size(1))[0], h_n

    made = module(forward)
    session, result = export(made, tmp_path)
    check(made, session, UNSORTED)
    assert not result.contract.hindrances
    found = (tmp_path / "m.onnx").read_bytes()
    for operator in (b"Pack", b"GatherND", b"ScatterND", b"TopK", b"NonZero"):
        assert operator not in found


def test_work_on_single_steps_can_be_streamed(tmp_path: Path) -> None:
    def forward(m: Packed, x: Tensor, n: Tensor) -> Tensor:
        p = packed(m, x, n)
        p = p._replace(data=m.scale(torch.tanh(p.data)))
        return unpack(m.second(p)[0], batch_first=True, total_length=x.size(1))[0]

    made = module(forward)
    session, result = export(made, tmp_path)
    check(made, session, UNSORTED)
    assert not result.contract.hindrances
    x = np.random.default_rng(3).standard_normal((2, 9, 4)).astype(np.float32)
    stream = session.stream(2)
    parts = [stream.step(part) for part in np.split(x, [1, 3, 8], 1)]
    assert np.allclose(np.concatenate(parts, 1), session.run(x).output, atol=1e-6)


def test_steps_of_all_rows_keep_states_from_being_lifted(whole: Whole) -> None:
    result, _ = whole
    assert not result.contract.interface.states
    assert set(result.contract.hindrances) >= {
        "an output ends at the longest row: give pad_packed_sequence total_length",
        "an output is the data of a packed sequence",
        "mean over time",
        "cumsum over time",
    }


def test_one_tensor_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"\(batch\) would be fixed to 3 by line \d+ of"):
        export(module(lambda m, x, n: unpack_sequence(packed(m, x, n))[0]), tmp_path)


def test_a_sequence_made_by_hand_is_refused(tmp_path: Path) -> None:
    def forward(m: Packed, x: Tensor, n: Tensor) -> Tensor:
        return m.rnn(PackedSequence(x[:, 0], torch.full((1,), x.size(0))))[0].data

    with pytest.raises(rnnedge.ExportError, match="a PackedSequence was made by hand"):
        export(module(forward), tmp_path)


TOTALS: dict[str, Forward] = {
    "time": lambda m, x, n: unpack(packed(m, x, n), total_length=x.size(1)),
    "constant": lambda m, x, n: unpack(packed(m, x, n), batch_first=True, total_length=20),
    "longer": lambda m, x, n: unpack(packed(m, x, n), True, -3.0, x.size(1) + 3),
    "longest": lambda m, x, n: unpack(packed(m, x, n), True, -2.0, n.max().item()),
    "none": lambda m, x, n: unpack(packed(m, x, n), padding_value=float("-inf")),
    "masked": lambda m, x, n: unpack(
        pack(x, n, batch_first=True, enforce_sorted=False), padding_value=2.5
    ),
    "time first": lambda m, x, n: unpack(
        pack(x.transpose(0, 1), n, enforce_sorted=False), batch_first=True
    ),
}


@pytest.fixture(scope="module")
def totals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Packed, Session]:
    """Every total length, value and layout, in one file."""
    made = module(lambda m, x, n: [forward(m, x, n) for forward in TOTALS.values()])
    return made, export(made, tmp_path_factory.mktemp("totals"))[0]


def test_padding(totals: tuple[Packed, Session]) -> None:
    check(*totals, UNSORTED)


def test_a_total_length_that_is_too_small_fails(totals: tuple[Packed, Session]) -> None:
    """PyTorch raises a ValueError; the file must not cut rows off."""
    with pytest.raises(Exception, match="Expand"):
        in_onnx(totals[1], rows([21, 3]), [21, 3])
