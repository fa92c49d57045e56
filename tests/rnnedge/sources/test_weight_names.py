"""Finding recurrent layers by the names of weights, and the names that wrappers change."""

from __future__ import annotations

import pytest

from rnnedge.sources.weight_names import find_layers, is_recurrent_name, without_wrappers

WRAPPED = {
    "compiled": ["_orig_mod.rnn.a", "_orig_mod.fc.a"],
    "distributed": ["module.rnn.a", "module.fc.a"],
    "both": ["module._orig_mod.rnn.a", "module._orig_mod.fc.a"],
    "other_way_round": ["_orig_mod.module.rnn.a", "_orig_mod.module.fc.a"],
    "inside": ["rnn._orig_mod.a", "fc.a"],
    "sharded": ["_fsdp_wrapped_module.rnn._fsdp_wrapped_module.a", "_fsdp_wrapped_module.fc.a"],
    "checkpointed": ["rnn._checkpoint_wrapped_module.a", "fc.a"],
    "averaged": ["n_averaged", "module.rnn.a", "module.fc.a"],
    "bare": ["rnn.a", "fc.a"],
}


@pytest.mark.parametrize("names", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_are_taken_out_of_names(names: list[str]) -> None:
    assert list(without_wrappers({name: 0 for name in names})) == ["rnn.a", "fc.a"]


@pytest.mark.parametrize(
    "names",
    [
        ["module.rnn.a", "fc.a"],
        ["modules.rnn.a"],
        ["n_averaged", "rnn.a"],
        ["rnn.module.a", "module.a"],
        ["a._orig_mod.b", "a.b"],
        ["my_orig_mod.a"],
        [],
    ],
    ids=["one_attribute", "another_name", "counter", "inside", "twice", "part", "none"],
)
def test_names_that_are_left_as_they_are(names: list[str]) -> None:
    assert list(without_wrappers({name: 0 for name in names})) == names


def test_names_of_a_layer_in_the_checkpoint() -> None:
    (layer,) = find_layers({"a.w_ih": 1, "a.weight_hh_l0_reverse": 2, "b": 3})
    assert layer.names == {
        "weight_ih_l0": "a.w_ih",
        "weight_hh_l0_reverse": "a.weight_hh_l0_reverse",
    }


@pytest.mark.parametrize("name", [f"weight_ih_l{'9' * 5000}", "weight_ih_l٣", "weight_ih_l0_v"])
def test_names_that_are_none_of_a_layer(name: str) -> None:
    assert not is_recurrent_name(name)
