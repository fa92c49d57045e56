"""The tolerance: what it is derived from, and what it lets pass."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rnnedge import OptionError, Report, Tolerance, export, validate
from rnnedge.parity import Case
from rnnedge.parity.cases import Inputs, Outputs
from rnnedge.parity.collect import Questioner
from rnnedge.parity.layer_runner import LayerRunner
from rnnedge_exporters.layers.interface import layer_interface
from rnnedge_exporters.layers.weights import read_layer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def test_tolerance_grows_with_the_root_of_the_width() -> None:
    assert Tolerance().floor(256) == pytest.approx(2 * Tolerance().floor(64))
    assert Tolerance().floor(16) == pytest.approx(32 * 4 * 2.0**-24)


def test_absolute_tolerance_is_taken_as_it_is() -> None:
    assert Tolerance(absolute=1e-3).floor(256) == 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"absolute": 0}, r"^absolute: expected above 0 and finite, got 0$"),
        ({"absolute": -1.0}, r"^absolute: expected above 0 and finite, got -1\.0$"),
        ({"absolute": math.nan}, r"^absolute: expected above 0 and finite, got nan$"),
        ({"absolute": math.inf}, r"^absolute: expected above 0 and finite, got inf$"),
        ({"torch_factor": -1}, r"^torch_factor: expected 0 or more, got -1$"),
        ({"torch_factor": math.nan}, r"^torch_factor: expected 0 or more, got nan$"),
        ({"ulps": 0}, r"^ulps: expected above 0 and finite, got 0$"),
    ],
    ids=str,
)
def test_tolerance_out_of_its_range_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Tolerance(**options)


@pytest.mark.parametrize(("inputs", "hidden", "terms"), [(3, 4, 8), (20, 4, 24), (3, 128, 256)])
def test_tolerance_comes_from_the_width_of_the_layer(
    inputs: int, hidden: int, terms: int, model: Path
) -> None:
    layer = nn.GRU(inputs, hidden)
    export(layer, model)
    report = validate(
        model,
        against=layer,
        isolated=False,
        cases=[Case(1, 1)],
        tolerance=Tolerance(torch_factor=0),
    )
    assert {result.allowed for result in report.results} == {Tolerance().floor(terms)}


@pytest.mark.parametrize("weight", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0"])
@pytest.mark.parametrize("hidden", [4, 128])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=["rnn", "lstm", "gru"])
def test_weight_that_is_off_by_a_thousandth_fails(
    kind: type[nn.RNNBase], hidden: int, weight: str, model: Path
) -> None:
    assert not _off(kind, hidden, weight, 1e-3, model)


@pytest.mark.parametrize("hidden", [4, 128])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=["rnn", "lstm", "gru"])
def test_weight_that_is_off_by_its_last_digit_passes(
    kind: type[nn.RNNBase], hidden: int, model: Path
) -> None:
    report = _off(kind, hidden, "weight_ih_l0", 1e-8, model)
    assert report, report


def _off(
    kind: type[nn.RNNBase], hidden: int, weight: str, difference: float, model: Path
) -> Report:
    """Validate a model of which the last number of a weight is off."""
    torch.manual_seed(0)
    layer = kind(3, hidden)
    right = {name: values.clone() for name, values in layer.state_dict().items()}
    with torch.no_grad():
        getattr(layer, weight).view(-1)[-1] += difference
    export(layer, model)
    layer.load_state_dict(right)
    return validate(model, against=layer, isolated=False)


# --- rounding that is measured --------------------------------------------------------------------

CASE = Case(31, 2)


def _chaotic() -> nn.RNN:
    """A layer that makes a hundredfold of a rounding in thirty steps."""
    torch.manual_seed(0)
    layer = nn.RNN(3, 33)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(4)
    return layer


def _moved(off: float) -> dict[str, float]:
    """Return the rounding that is measured for a model which is off by so many times that."""
    layer = _chaotic()
    face = layer_interface(read_layer(layer), lengths=False, states=False)
    right = LayerRunner(layer, face, torch.float64)

    def ask(times: dict[str, float]) -> dict[str, float]:
        def model(inputs: Inputs, case: Case) -> Outputs:
            return {name: y + times.get(name, 0.0) for name, y in right(inputs, case).items()}

        return Questioner(face, model, layer, torch.float64)(CASE).moved

    rounding = ask({})
    return ask({name: off * far for name, far in rounding.items()})


def test_rounding_grows_in_a_chaotic_layer() -> None:
    assert _moved(0)["output"] > 1e-5


def test_error_that_may_be_rounding_is_looked_at_again() -> None:
    """Two samples of moved weights may both miss what a third shows."""
    first, again = _moved(0), _moved(10)
    assert again["output"] > first["output"]


@pytest.mark.parametrize("times", [1, 1000], ids=["small", "large"])
def test_error_that_tells_enough_is_not(times: int) -> None:
    """More samples cost time, and could only let a wrong model pass."""
    assert _moved(times) == _moved(0)


class Forgetful(nn.Module):
    """A cell whose state comes 900 times too large, and whose gate should forget it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(2, 4)

    def forward(
        self, x: Tensor, h: Tensor, c: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take float32 x [batch, 2], h and c [batch, 4], and keep [batch]."""
        h_out, c_out = self.cell(x, (h * keep[:, None], c * keep[:, None]))
        return h_out * 2, h_out, c_out


def test_gate_that_does_not_quite_close_on_a_large_state_is_rounding(model: Path) -> None:
    torch.manual_seed(0)
    module = Forgetful()
    example = (torch.zeros(1, 2), torch.zeros(1, 4), torch.zeros(1, 4), torch.ones(1))
    export(module, model, example_inputs=example, states={"h_out": "h", "c_out": "c"})
    report = validate(model, against=module, isolated=False)
    assert report, report
    saturated = [r for r in report.results if r.case.values == "saturated" and "h" in r.output]
    assert max(r.rounding for r in saturated) > 2.0**-24 * 100
    normal = [r for r in report.results if r.case.values == "normal" and "h" in r.output]
    assert max(r.allowed for r in normal) < 2e-5
