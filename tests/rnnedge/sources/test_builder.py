"""`build`: the layer that a specification describes, seeded, and open to weights from elsewhere."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from rnnedge import RNNSpec, SourceError, SpecError, build

SPEC = RNNSpec(cell="lstm", input_size=3, hidden_size=4, num_layers=2, bidirectional=True)


@pytest.mark.parametrize(
    "spec",
    [
        RNNSpec(cell=cell, input_size=3, hidden_size=4, num_layers=2, batch_first=first, bias=bias)
        for cell, first, bias in itertools.product(("rnn", "lstm", "gru"), *[(False, True)] * 2)
    ]
    + [
        RNNSpec(input_size=3, hidden_size=4, nonlinearity="relu"),
        RNNSpec(cell="lstm", input_size=3, hidden_size=4, proj_size=2, bidirectional=True),
        RNNSpec(cell="gru", input_size=3, hidden_size=4, num_layers=2, dropout=0.5),
    ],
    ids=str,
)
def test_layer_is_what_the_specification_says(spec: RNNSpec) -> None:
    assert RNNSpec.from_layer(build(spec)) == spec


def test_seed_gives_the_same_weights() -> None:
    first, second = build(SPEC, seed=3), build(SPEC, seed=3)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])


def test_seed_gives_the_weights_that_torch_gives() -> None:
    torch.manual_seed(3)
    plain = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    assert torch.equal(build(SPEC, seed=3).weight_hh_l1, plain.weight_hh_l1)


def test_another_seed_gives_other_weights() -> None:
    assert not torch.equal(build(SPEC, seed=3).weight_ih_l0, build(SPEC, seed=4).weight_ih_l0)


def test_seed_leaves_the_random_state_of_torch_alone() -> None:
    before = torch.get_rng_state()
    build(SPEC, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_seed_draws_from_torch() -> None:
    torch.manual_seed(5)
    first = build(SPEC)
    torch.manual_seed(5)
    assert torch.equal(first.weight_ih_l0, build(SPEC).weight_ih_l0)


@pytest.mark.parametrize("size", [10**11, 10**20], ids=["memory", "int64"])
def test_weights_too_large_to_allocate(size: int) -> None:
    words = r"^rnn\(3->10+\): its weights take [\d,]+ bytes, more than PyTorch can allocate here$"
    with pytest.raises(SpecError, match=words):
        build(RNNSpec(input_size=3, hidden_size=size))


@pytest.mark.parametrize("prefix", ["", "lstm.", "model.encoder.rnn."])
def test_weights_of_a_larger_model(prefix: str) -> None:
    source = build(SPEC, seed=1)
    weights = {f"{prefix}{name}": weight for name, weight in source.state_dict().items()}
    layer = build(SPEC, seed=2)
    layer.load_state_dict(weights)
    for name, weight in source.state_dict().items():
        assert torch.equal(layer.state_dict()[name], weight)


def test_weights_of_a_bare_cell() -> None:
    cell = nn.LSTMCell(3, 4)
    layer = build(RNNSpec(cell="lstm", input_size=3, hidden_size=4))
    layer.load_state_dict(cell.state_dict())
    assert torch.equal(layer.weight_hh_l0, cell.weight_hh)


def test_mapping_that_is_loaded_stays() -> None:
    weights = {f"rnn.{name}": weight for name, weight in build(SPEC).state_dict().items()}
    names = list(weights)
    build(SPEC).load_state_dict(weights)
    assert list(weights) == names


def test_layer_inside_a_larger_model() -> None:
    model = nn.Sequential(build(SPEC, seed=1))
    other = nn.Sequential(build(SPEC, seed=2))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other[0].weight_hh_l0, model[0].weight_hh_l0)


def test_weights_of_two_layers() -> None:
    weights = {
        f"{prefix}.{name}": weight
        for prefix in ("enc", "dec")
        for name, weight in build(SPEC).state_dict().items()
    }
    with pytest.raises(SourceError, match=r"^2 recurrent layers, with the prefixes 'enc\.', 'dec"):
        build(SPEC).load_state_dict(weights)


def test_weights_of_another_shape() -> None:
    other = RNNSpec(cell="lstm", input_size=3, hidden_size=5, num_layers=2, bidirectional=True)
    with pytest.raises(RuntimeError, match="size mismatch for weight_ih_l0"):
        build(SPEC).load_state_dict(build(other).state_dict())


def test_weights_without_a_recurrent_layer() -> None:
    with pytest.raises(SourceError, match=r"^expected weights named like weight_ih_l0"):
        build(SPEC).load_state_dict(nn.Linear(3, 4).state_dict())
