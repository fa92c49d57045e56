"""What is seen of each weight on the user's own sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnedge_exporters import export
from rnnedge_exporters.calibration.moments import Moments, collect_moments
from rnnedge_exporters.calibration.sequences import read_sequences
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.contract import Interface, StatePair, TensorSpec

X = TensorSpec("x", "float32", ("batch", "time", 3))


def _data(*lengths: int) -> list[dict[str, NDArray[Any]]]:
    random = np.random.default_rng(0)
    return [{"x": random.standard_normal((n, 3)).astype(np.float32)} for n in lengths]


def _collect(module: nn.Module, *lengths: int, **face: Any) -> Moments:
    interface = Interface((X,), (), **face)
    return collect_moments(module, interface, read_sequences(_data(*lengths), interface))


def _moments(*rows: Tensor) -> NDArray[np.float64]:
    x = torch.cat([row.reshape(-1, row.shape[-1]) for row in rows]).double().detach().numpy()
    return x.T @ x / len(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.RNN(3, 5, nonlinearity="relu", **o),
        lambda **o: nn.GRU(3, 5, **o),
        lambda **o: nn.LSTM(3, 5, **o),
        lambda **o: nn.LSTM(3, 5, proj_size=2, **o),
    ],
    ids=["relu", "gru", "lstm", "proj"],
)
def test_layer_of_both_directions(make: Any) -> None:
    """States are those that PyTorch gives out, one step late, from each direction's own end."""
    torch.manual_seed(0)
    layer = make(num_layers=2, bidirectional=True, batch_first=True)
    seen = _collect(layer, 4, 7, 6).of
    size = layer.proj_size or 5
    first = make(bidirectional=True, batch_first=True)
    first.load_state_dict({k: v for k, v in layer.state_dict().items() if "_l0" in k})
    for part, chosen in (([0, 2], True), ([1], False)):
        inputs = [torch.from_numpy(_data(4, 7, 6)[n]["x"])[None] for n in part]
        between, outputs = [first(x)[0] for x in inputs], [layer(x)[0] for x in inputs]
        for index, fed, given in ((0, inputs, between), (1, between, outputs)):
            ahead = [nn.functional.pad(y[:, :-1, :size], (0, 0, 1, 0)) for y in given]
            back = [nn.functional.pad(y[:, 1:, size:], (0, 0, 0, 1)) for y in given]
            for name, rows in (
                (f"weight_ih_l{index}", fed),
                (f"weight_ih_l{index}_reverse", fed),
                (f"weight_hh_l{index}", ahead),
                (f"weight_hh_l{index}_reverse", back),
            ):
                found = seen[name].chosen if chosen else seen[name].checked
                np.testing.assert_allclose(found, _moments(*rows), rtol=1e-4, atol=1e-6)
    assert not any("hr" in name for name in seen)


def test_single_sequence_is_cut_in_two() -> None:
    x = torch.from_numpy(_data(9)[0]["x"])
    seen = _collect(nn.GRU(3, 5, batch_first=True), 9).of["weight_ih_l0"]
    np.testing.assert_allclose(seen.chosen, _moments(x[:5]), rtol=1e-5)
    np.testing.assert_allclose(seen.checked, _moments(x[5:]), rtol=1e-5)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_states_that_are_given(kind: type[nn.RNNBase]) -> None:
    layer = kind(3, 5, batch_first=True)
    names = ["h_0", "c_0"][: 1 + (kind is nn.LSTM)]
    states = [TensorSpec(name, "float32", (1, "batch", 5)) for name in names]
    finals = [TensorSpec(f"{name[0]}_n", "float32", (1, "batch", 5)) for name in names]
    pairs = tuple(StatePair(a.name, b.name) for a, b in zip(states, finals, strict=True))
    interface = Interface((X, *states), tuple(finals), pairs)
    data = [arrays | {"h_0": np.full((1, 1, 5), 0.5, np.float32)} for arrays in _data(1, 1)]
    seen = collect_moments(layer, interface, read_sequences(data, interface)).of
    np.testing.assert_allclose(seen["weight_hh_l0"].chosen, np.full((5, 5), 0.25))


class Packed(nn.Module):
    """Packs rows of its own making, which start from a state, for a cell and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.rnn, self.cell, self.head = nn.GRU(3, 5), nn.LSTMCell(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        rows = pack_padded_sequence(
            torch.cat([x, -x], 1), torch.tensor([2, len(x)]), enforce_sorted=False
        )
        _, last = self.rnn(rows, torch.ones(1, 2, 5))
        h, c = self.cell(last[0])
        return self.head(self.cell(h[:, [0, 1, 2, 3, 0]], (h, c))[0])


def test_packed_rows_cells_and_linear_layers() -> None:
    module = Packed()
    seen = _collect(module, 4, 6).of
    assert set(seen) == {
        *("rnn.weight_ih_l0", "rnn.weight_hh_l0"),
        *("cell.weight_ih", "cell.weight_hh", "head.weight"),
    }
    x = torch.from_numpy(_data(4, 6)[0]["x"])
    np.testing.assert_allclose(
        seen["rnn.weight_ih_l0"].chosen, _moments(x[:2], -x), rtol=1e-4, atol=1e-6
    )
    start = torch.ones(1, 1, 5)
    states = [module.rnn(rows[:, None], start)[0][:, 0] for rows in (x[:2], -x)]
    before = [torch.cat([start[0], s[:-1]]) for s in states]
    np.testing.assert_allclose(
        seen["rnn.weight_hh_l0"].chosen, _moments(*before), rtol=1e-4, atol=1e-6
    )
    h, _ = module.cell(torch.stack([s[-1] for s in states]))
    np.testing.assert_allclose(seen["cell.weight_hh"].chosen, _moments(h), rtol=1e-4, atol=1e-6)


def test_module_and_random_numbers_are_left_as_they_are() -> None:
    module = Packed()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    _collect(module, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(inner._forward_pre_hooks for inner in module.modules())


def test_what_the_forward_raises_is_said_in_one_line() -> None:
    class Picky(Packed):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("too\nshort")

    with pytest.raises(
        ExportError,
        match=r"^Picky does not take sequence 0 of the calibration data: ValueError: too short$",
    ):
        _collect(Picky(), 2, 2)


@pytest.mark.parametrize("options", [{}, {"dtype": "float16"}])
def test_goes_with_int8_alone(options: dict[str, Any], tmp_path: Any) -> None:
    with pytest.raises(ExportError, match=r"^calibrate: requires quantize='int8', whose "):
        export(nn.GRU(3, 4), tmp_path / "m.onnx", calibrate=_data(4), **options)
