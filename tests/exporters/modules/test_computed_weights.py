"""Weights that are computed at each call are exported as they are now, not as they were left."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import rnnedge
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session


def _quietly(make: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # weight_norm by hooks is deprecated
        return make(*args, **options)


def _reversed_weight_norm() -> nn.Module:
    layer = nn.GRU(4, 5, bidirectional=True)
    return _quietly(weight_norm, layer, "weight_hh_l0_reverse", dim=None)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: _quietly(weight_norm, nn.LSTM(4, 5), "weight_hh_l0"),
    "weight_norm, reverse": _reversed_weight_norm,
    "spectral_norm": lambda: spectral_norm(nn.RNN(4, 5, nonlinearity="relu"), "weight_ih_l0"),
    "prune": lambda: prune.l1_unstructured(
        nn.GRU(4, 5, num_layers=2, batch_first=True), "weight_hh_l1", 0.5
    ),
    "prune, bias": lambda: prune.random_unstructured(nn.LSTM(4, 5), "bias_ih_l0", 0.5),
    "parametrization": lambda: parametrizations.weight_norm(nn.LSTM(4, 5), "weight_hh_l0"),
    "parametrization, spectral": lambda: parametrizations.spectral_norm(
        nn.GRU(4, 6), "weight_hh_l0"
    ),
}


def _loaded(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a module that has run, and then loaded other weights."""
    torch.manual_seed(0)
    module, trained = make(), make()
    module(torch.randn(3, 2, 4))
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.5)
    module.load_state_dict(trained.state_dict())
    return module


def _worst(module: nn.Module, session: Session) -> float:
    """Return the largest error against float64 at shapes not exported with."""
    worst = 0.0
    for time, batch in ((7, 3), (1, 1), (12, 2)):
        x = np.random.default_rng(time).standard_normal((time, batch, 4)).astype(np.float32)
        (*_, got) = reversed(session.run(x).outputs.values())
        result = module(torch.from_numpy(x).double())
        want = (result[0] if isinstance(result, tuple) else result).detach().numpy()
        assert got.shape == want.shape
        worst = max(worst, float(np.abs(got - want).max()))
    return worst


def _reference(module: nn.Module) -> nn.Module:
    """Return the module in float64, as a source that rnnedge has never seen."""
    module.eval()(torch.zeros(1, 1, 4))  # an attribute with a history cannot be copied
    memo = {
        id(leaf): leaf.detach().clone()
        for inner in module.modules()
        for leaf in torch.utils._pytree.tree_leaves(list(vars(inner).values()))
        if isinstance(leaf, Tensor) and leaf.grad_fn is not None
    }
    return copy.deepcopy(module, memo).eval().double()


class First(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


@pytest.mark.parametrize("inside", [False, True], ids=["bare", "module"])
@pytest.mark.parametrize("name", LAYERS)
def test_weights_after_load_state_dict(name: str, inside: bool, tmp_path: Path) -> None:
    layer = _loaded(LAYERS[name])
    module = First(layer) if inside else layer
    example = (torch.randn(5, 2, 4),) if inside else None
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
    assert _worst(_reference(module), Session(tmp_path / "m.onnx")) < 1e-6


@pytest.mark.parametrize("inside", [False, True], ids=["bare", "module"])
def test_int8_is_proven_with_the_weights_of_now(
    inside: bool, tmp_path: Path, worker: Worker
) -> None:
    layer = _loaded(LAYERS["prune"])
    module = First(layer) if inside else layer
    example = (torch.randn(5, 2, 4),) if inside else None
    path = tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=example, quantize="int8")
    report = rnnedge.validate(path, against=module, quick=True, worker=worker)
    assert report, report
    assert report.rounding is not None
    assert report.rounding.missing == ()


def test_the_digest_is_that_of_the_weights_of_now(tmp_path: Path) -> None:
    layer = _loaded(LAYERS["weight_norm"])
    result = rnnedge.export(layer, tmp_path / "m.onnx")
    plain = nn.utils.remove_weight_norm(layer, "weight_hh_l0")
    after = rnnedge.export(plain, tmp_path / "after.onnx")
    assert result.contract.weights_digest == after.contract.weights_digest


def test_the_users_module_is_left_as_it_is(tmp_path: Path) -> None:
    layer = LAYERS["parametrization, spectral"]().train()
    layer(torch.randn(3, 2, 4))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    rnnedge.export(layer, tmp_path / "m.onnx")
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name  # no step of the power iteration
    assert all(inner.training for inner in layer.modules())


class WeightDrop(nn.Module):
    """Dropout on recurrent weights as AWD-LSTM has it: set in the forward of a module around."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.LSTM(4, 5)
        weight = self.module._parameters.pop("weight_hh_l0")
        assert weight is not None
        self.raw = nn.Parameter(weight.data)

    def forward(self, x: Tensor) -> Tensor:
        self.module.weight_hh_l0 = F.dropout(self.raw, 0.5, self.training)
        return self.module(x)[0]


class WeightDropInPlace(nn.Module):
    """The same as fastai has it: put where the parameters are."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.GRU(4, 5)
        self.raw = nn.Parameter(self.module.weight_hh_l0.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        self.module._parameters["weight_hh_l0"] = F.dropout(self.raw * 2, 0.5, self.training)
        return self.module(x)[0]


def _twice_the_raw(layer: Any, _: object) -> None:
    layer.weight_hh_l0 = layer.raw * 2


def _hooked() -> nn.Module:
    layer: Any = nn.GRU(4, 5)
    layer.raw = nn.Parameter(layer._parameters.pop("weight_hh_l0").data)
    layer.weight_hh_l0 = layer.raw.data
    layer.register_forward_pre_hook(_twice_the_raw)
    return layer


@pytest.mark.parametrize(
    "make",
    [WeightDrop, WeightDropInPlace, lambda: First(_hooked())],
    ids=["awd-lstm", "fastai", "own hook"],
)
def test_weights_computed_by_the_users_own_code(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = make()
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(torch.randn(5, 2, 4),))
    assert _worst(_reference(module), Session(tmp_path / "m.onnx")) < 1e-6


def test_weights_of_the_users_own_code_are_not_rounded(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"rnn\.weight_hh_l0 is computed when the module"):
        rnnedge.export(
            First(_hooked()),
            tmp_path / "m.onnx",
            example_inputs=(torch.randn(5, 2, 4),),
            quantize="int8",
        )


class OtherWeightsEachTime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 4)
        self.raw = nn.Parameter(self.rnn._parameters.pop("weight_hh_l0").data)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        for factor in (1, 2):
            self.rnn.weight_hh_l0 = self.raw * factor
            x = self.rnn(x)[0]
        return x


def test_weights_that_differ_between_two_calls_are_refused(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"rnn\.weight_hh_l0 .* differs between two"):
        rnnedge.export(
            OtherWeightsEachTime(), tmp_path / "m.onnx", example_inputs=(torch.randn(5, 2, 4),)
        )


def _doubled(_: object, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (arguments[0] * 2, *arguments[1:])


def _halved(_: object, __: object, result: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
    return result[0] / 2, result[1]


def _only_looks(*_: object) -> None:
    return None


@pytest.mark.parametrize("kind", ["before", "after", "looks"])
def test_hooks_on_a_layer_inside_are_honoured(kind: str, tmp_path: Path) -> None:
    layer = nn.LSTM(4, 5)
    if kind == "before":
        layer.register_forward_pre_hook(_doubled)
    else:
        layer.register_forward_hook(_halved if kind == "after" else _only_looks)
    module = First(layer)
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(torch.randn(5, 2, 4),))
    assert _worst(_reference(module), Session(tmp_path / "m.onnx")) < 1e-6


@pytest.mark.parametrize("hook", [_doubled, _halved, _twice_the_raw], ids=lambda h: h.__name__)
def test_hooks_that_change_a_bare_layer_are_refused(
    hook: Callable[..., Any], tmp_path: Path
) -> None:
    layer = _hooked() if hook is _twice_the_raw else nn.GRU(4, 5)
    if hook is _halved:
        layer.register_forward_hook(hook)
    else:
        layer.register_forward_pre_hook(hook)
    with pytest.raises(
        rnnedge.ExportError, match=f"the forward hook .*{hook.__name__} changes what the layer"
    ):
        rnnedge.export(layer, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_hooks_that_only_look_are_no_hindrance(tmp_path: Path) -> None:
    layer = nn.GRU(4, 5)
    layer.register_forward_hook(_only_looks)
    rnnedge.export(layer, tmp_path / "m.onnx")
    assert _worst(_reference(layer), Session(tmp_path / "m.onnx")) < 1e-6


def test_another_forward_on_the_instance_is_refused(tmp_path: Path) -> None:
    layer = nn.GRU(4, 5)
    own = layer.forward
    layer.forward = lambda input, hx=None: own(input * 2, hx)  # type: ignore[method-assign]
    for module in (layer, First(layer)):
        with pytest.raises(rnnedge.ExportError, match="another forward was assigned to this GRU"):
            rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(torch.randn(5, 2, 4),))
