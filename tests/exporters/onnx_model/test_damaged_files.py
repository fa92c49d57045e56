"""Files whose tensors, functions or external data do not hold what they state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnedge.doctor import examine
from rnnedge.inspection import inspect_model
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.loading import load
from rnnedge_exporters.onnx_model.nodes import array_of
from rnnedge_exporters.onnx_model.serialize import serialize_model
from rnnedge_exporters.quantization.onnx_file.reading import read_model
from rnnedge_runtime.errors import ModelError


def _model(weight: onnx.TensorProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> bytes:
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3])  # noqa: E731
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if functions:
        nodes = [helper.make_node("F", ["x"], ["y"], domain="own")]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], [weight])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    content: bytes = made.SerializeToString()
    return content


def _weight(**fields: int) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    for name, value in fields.items():
        setattr(tensor, name, value)
    return tensor


def _sized(*sizes: int) -> onnx.TensorProto:
    tensor = _weight()
    del tensor.dims[:]
    tensor.dims.extend(sizes)
    return tensor


def _external(location: str, offset: str = "0", length: str = "36") -> onnx.TensorProto:
    tensor = _weight(data_location=TensorProto.EXTERNAL)
    tensor.ClearField("raw_data")
    for key, text in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=text)
    return tensor


DAMAGED = {
    "more": _sized(3, 4),
    "none": _sized(0, 3),
    "huge": _sized(2**62, 2**62),
    "negative": _sized(-3, 3),
    "no-dtype": _weight(data_type=9999),
    "text": _weight(data_type=TensorProto.STRING),
}


@pytest.mark.parametrize("weight", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_tensor(weight: onnx.TensorProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_model(weight))
    array = array_of(weight)
    assert array is None or array.dtype == object
    with pytest.raises((ExportError, ModelError), match=r"m\.onnx"):
        read_model(path)


@pytest.mark.parametrize("name", ["more", "no-dtype"])
def test_the_doctor_examines_a_damaged_tensor(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_model(DAMAGED[name]))
    assert not examine(path)


EXTERNAL = {
    "text": (_external("w.bin", "first"), "'w.bin' has no offset and length where w is"),
    "long": (_external("w.bin", "9" * 5000), "'w.bin' has no offset and length"),
    "negative": (_external("w.bin", "-4"), "'w.bin' has no offset and length"),
    "beyond": (_external("w.bin", "1"), "'w.bin' has 36 bytes, and w ends at 37"),
    "zero-byte": (_external("w\0.bin"), r"'w\\x00.bin' is outside the model's folder"),
    "outside": (_external("../w.bin"), "'../w.bin' is outside the model's folder"),
    "escape": (_external("\x1b[2J\n"), r"'\\x1b\[2J\\n' is not next to the model"),
    "long-name": (_external("w" * 999), "'w+' is outside the model's folder"),
    "circle": (_external("circle"), "'circle' is outside the model's folder"),
    "folder": (_external("."), "'.' is not next to the model"),
    "link": (_external("link"), "."),
}


@pytest.mark.parametrize(("weight", "words"), EXTERNAL.values(), ids=EXTERNAL)
def test_external_data_that_cannot_be_read(
    weight: onnx.TensorProto, words: str, tmp_path: Path
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(36))
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to("/dev/zero")
    path = tmp_path / "m.onnx"
    path.write_bytes(_model(weight))
    (told,) = OnnxFile(path).broken_data
    assert told.isprintable()
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(told)
    with pytest.raises((ExportError, ModelError)):
        read_model(path)


def _function(name: str, calls: str, times: int = 1) -> onnx.FunctionProto:
    domain = "own" if calls.isupper() else ""
    names = ["x", *(f"t{n}" for n in range(times - 1)), "y"]
    nodes = [
        helper.make_node(calls, [names[n]], [names[n + 1]], domain=domain) for n in range(times)
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["x"], ["y"], nodes, opsets)


FUNCTIONS = {
    "itself": ((_function("F", "F"),), "the function 'F' calls itself"),
    "each-other": ((_function("F", "G"), _function("G", "F")), "the function '[FG]' calls itself"),
    "doubled": (
        (
            *(_function("FG"[n > 0] * max(n, 1), "G" * (n + 1), 2) for n in range(30)),
            _function("G" * 30, "Neg"),
        ),
        "nodes when those that it calls are put in",
    ),
}


@pytest.mark.parametrize("read", [OnnxFile, read_model], ids=["doctor", "quantize"])
@pytest.mark.parametrize(("functions", "words"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_without_an_end(
    functions: tuple[onnx.FunctionProto, ...],
    words: str,
    read: Callable[[Path], object],
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(_model(_weight(), functions))
    with pytest.raises(ModelError, match=words):
        read(path)


@pytest.mark.parametrize("count", [0, 2])
def test_a_constant_without_one_value(count: int, tmp_path: Path) -> None:
    content = onnx.ModelProto.FromString(_model(_weight()))
    node = content.graph.node.add(op_type="Constant", output=["c"])
    for name in ("value_int", "value_ints")[:count]:
        node.attribute.add(name=name, type=onnx.AttributeProto.INT, i=1)
    path = tmp_path / "m.onnx"
    path.write_bytes(content.SerializeToString())
    assert not OnnxFile(path).is_constant("c")


def test_an_attribute_of_no_type_cannot_be_written(tmp_path: Path) -> None:
    content = onnx.ModelProto.FromString(_model(_weight()))
    content.graph.node[0].attribute.add(name="alpha", i=1)
    path = tmp_path / "m.onnx"
    path.write_bytes(content.SerializeToString())
    with pytest.raises(ExportError, match="the model cannot be written as ONNX: "):
        serialize_model(read_model(path))


def test_external_data_that_nothing_reads_may_be_missing(tmp_path: Path) -> None:
    content = onnx.ModelProto.FromString(_model(_weight()))
    content.graph.node.add(op_type="Constant", output=["c"]).attribute.add(
        name="value", type=onnx.AttributeProto.TENSOR, t=_external("none.bin")
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(content.SerializeToString())
    assert inspect_model(path).operators == {"MatMul": 1, "Constant": 1}
    with pytest.raises(ModelError, match=r"m\.onnx: cannot be read: "):
        load(path)
