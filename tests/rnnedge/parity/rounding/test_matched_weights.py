"""Which rounded weights of a file are those of which parameter."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from rnnedge.parity.rounding.matched_weights import hold
from rnnedge.parity.rounding.quantized_weights import StoredWeight


def _stored(values: np.ndarray, scale: float, dtype: str = "int8") -> StoredWeight:
    half = np.full(values.shape, scale / 2, np.float32)
    ends = np.abs(values) >= np.abs(values).max()
    return StoredWeight(values.astype(np.float32), half, ends, dtype)


def _linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(20, 10, bias=False)


def test_rounded_weight_is_found_as_it_is_and_transposed() -> None:
    linear = _linear()
    weight = linear.weight.detach().numpy()
    rounded = np.rint(weight / 0.01) * np.float32(0.01)
    for layout in (rounded, rounded.T, rounded[None]):
        held = hold(linear, [_stored(layout, 0.01)])
        assert held.missing == ()
        assert held.rounded == 1
        assert np.array_equal(held.module.weight.numpy(), rounded.astype(np.float32))
    assert np.array_equal(linear.weight.detach().numpy(), weight)


def test_what_is_further_than_half_a_step_is_not() -> None:
    linear = _linear()
    rounded = np.rint(linear.weight.detach().numpy() / 0.01) * np.float32(0.01)
    rounded[3, 4] += 0.01
    held = hold(linear, [_stored(rounded, 0.01)])
    assert held.missing == ("weight",)
    assert torch.equal(held.module.weight, linear.weight)


def test_few_may_be_cut_to_the_largest_integer() -> None:
    linear = _linear()
    with torch.no_grad():
        linear.weight[0, :2] = 1.0
    weight = linear.weight.detach().numpy()
    cut = np.clip(np.rint(weight / 0.01), -25, 25) * np.float32(0.01)
    assert hold(linear, [_stored(cut, 0.01)]).missing == ()
    more = np.clip(np.rint(weight / 0.01), -5, 5) * np.float32(0.01)
    assert hold(linear, [_stored(more, 0.01)]).missing == ("weight",)


def test_block_of_another_gate_is_not_taken() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(6, 6, bias=False)
    arrays = [w.detach().numpy() for w in gru.parameters()]
    rounded = [np.rint(a / 0.01) * np.float32(0.01) for a in arrays]
    turned = [np.concatenate([a[6:12], a[:6], a[12:]]) for a in rounded]
    held = hold(gru, [_stored(a, 0.01) for a in turned])
    assert held.missing == ()
    for found, right in zip(held.module.parameters(), rounded, strict=True):
        assert np.array_equal(found.numpy(), right.astype(np.float32))


def test_computed_weights_are_found_and_the_module_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 8, bias=False)),
        nn.utils.parametrizations.weight_norm(nn.GRU(8, 8, bias=False), "weight_hh_l0"),
    )
    linear, gru = module
    arrays = [w.detach().numpy() for w in (linear.weight, gru.weight_ih_l0, gru.weight_hh_l0)]
    rounded = [np.rint(a / 0.01) * np.float32(0.01) for a in arrays]
    held = hold(module, [_stored(a, 0.01) for a in rounded])
    assert held.missing == ()
    assert np.array_equal(held.module[0].weight.numpy(), rounded[0].astype(np.float32))
    assert np.array_equal(held.module[1].weight_hh_l0.numpy(), rounded[2].astype(np.float32))
    x = torch.zeros(3, 2, 8)
    assert held.module(x)[0].shape == module(x)[0].shape == (3, 2, 8)
    assert nn.utils.parametrize.is_parametrized(linear)
    assert np.array_equal(linear.weight.detach().numpy(), arrays[0])
