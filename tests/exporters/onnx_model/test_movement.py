"""What a node moves: the one list of operators that change no number."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from rnnedge_exporters.onnx_model.movement import MOVEMENT, is_movement, moved


def test_first_input_of_most_operators() -> None:
    assert moved(helper.make_node("Gather", ["table", "rows"], ["y"])) == ["table"]


def test_every_input_of_a_concat() -> None:
    assert moved(helper.make_node("Concat", ["a", "b"], ["y"], axis=0)) == ["a", "b"]


def test_values_of_onnx_ir() -> None:
    node = ir.from_proto(helper.make_node("Slice", ["x", "starts", "ends"], ["y"]))
    assert [value.name for value in moved(node)] == ["x"]


def test_what_computes_moves_nothing() -> None:
    assert moved(helper.make_node("Relu", ["x"], ["y"])) == []


def test_an_operator_of_the_same_name_elsewhere_is_not_known() -> None:
    assert not is_movement(helper.make_node("Transpose", ["x"], ["y"], domain="my.operators"))


_X = np.array([[1.5, -2.25], [3.0, 0.5]], np.float32)
_CALLS: dict[str, tuple[list[np.ndarray], dict[str, object]]] = {
    "Identity": ([_X], {}),
    "Cast": ([_X], {"to": onnx.TensorProto.DOUBLE}),
    "Transpose": ([_X], {}),
    "Reshape": ([_X, np.array([4])], {}),
    "Squeeze": ([_X[None], np.array([0])], {}),
    "Unsqueeze": ([_X, np.array([0])], {}),
    "Flatten": ([_X], {}),
    "Slice": ([_X, np.array([0]), np.array([1])], {}),
    "Gather": ([_X, np.array([1])], {}),
    "Split": ([_X], {"num_outputs": 1}),
    "Concat": ([_X, _X], {"axis": 0}),
    "Expand": ([_X, np.array([2, 2, 2])], {}),
    "ReverseSequence": ([_X, np.array([2, 1])], {}),
}
_SEQUENCES = {"SplitToSequence", "SequenceAt"}


def test_every_operator_of_the_list_is_tried() -> None:
    assert set(MOVEMENT) == set(_CALLS) | _SEQUENCES


@pytest.mark.parametrize("operator", _CALLS)
def test_every_number_that_comes_out_went_in(operator: str) -> None:
    arrays, options = _CALLS[operator]
    names = [f"x{index}" for index in range(len(arrays))]
    node = helper.make_node(operator, names, ["y"], **options)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in zip(names, arrays, strict=True)
    ]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.UNDEFINED, None)
    graph = helper.make_graph([node], "graph", inputs, [output])
    made = ReferenceEvaluator(helper.make_model(graph)).run(
        None, dict(zip(names, arrays, strict=True))
    )[0]
    assert np.isin(made, arrays[0]).all()
