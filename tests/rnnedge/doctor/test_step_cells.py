"""One step of a cell that an exporter took apart into its gates."""

from __future__ import annotations

from collections.abc import Callable

import handmade
import onnx
import pytest
from onnx import helper

from rnnedge.doctor import Examination, Finding

NODE = helper.make_node
NAMES = {
    "usual": ("h_0", "c_0", "h_n", "c_n"),
    "numbered": ("input_1", "input_2", "lstm_1", "lstm_2"),
}


def _lstm(names: tuple[str, ...], *, keeps: bool = True, features: int = 3) -> onnx.ModelProto:
    h, c, h_n, c_n = names
    nodes = [
        NODE("MatMul", ["x", "W"], ["xw"]),
        NODE("MatMul", [h, "R"], ["hr"]),
        NODE("Add", ["xw", "hr"], ["sum"]),
        NODE("Split", ["sum"], ["i", "f", "g", "o"], axis=1),
        *(NODE("Sigmoid", [gate], [f"{gate}_"]) for gate in "ifo"),
        NODE("Tanh", ["g"], ["g_"]),
        NODE("Mul", ["f_", c], ["kept"]),
        NODE("Mul", ["i_", "g_"], ["new"]),
        NODE("Add", ["kept", "new"], [c_n]),
        NODE("Tanh", [c_n], ["squashed"]),
        NODE("Mul", ["o_", "squashed"], [h_n]),
        NODE("MatMul", [h_n, "head"], ["y"]),
    ]
    state = ["batch", 4]
    outputs = [handmade.value("y", ["batch", 2]), handmade.value(h_n, state)]
    return handmade.build(
        nodes,
        [handmade.value("x", ["batch", features]), *(handmade.value(n, state) for n in (h, c))],
        [*outputs, *[handmade.value(c_n, state)] * keeps],
        {
            "W": handmade.random(features, 16),
            "R": handmade.random(4, 16, seed=1),
            "head": handmade.random(4, 2),
        },
    )


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_its_states_are_told(names: tuple[str, ...], examined: Callable[..., Examination]) -> None:
    found = examined(_lstm(names))
    h, c, h_n, c_n = names
    assert (
        f"one step of a cell in single operators, with the states {h} to {h_n}, {c} to {c_n}"
        in (" ".join(found.facts))
    )
    assert found.general == ()


def test_a_cell_state_that_is_lost(found: Callable[..., dict[str, Finding]]) -> None:
    finding = found(_lstm(NAMES["usual"], keeps=False))["state-lost"]
    assert (finding.where, finding.severity) == ("c_0", "warning")


def test_data_of_the_same_size_is_no_lost_state(
    found: Callable[..., dict[str, Finding]],
) -> None:
    assert found(_lstm(NAMES["usual"], features=4)) == {}
