"""`OnnxRuntimeEngine`: what every engine has to do, done by ONNX Runtime."""

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime.contract import METADATA_KEY
from rnnedge_runtime.engine.onnx_runtime import OnnxRuntimeEngine
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.errors import ModelError

GRU = Tiny("gru")


class Public:
    """An object without its private attributes, as another version of the library may be."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


@pytest.fixture
def engine():
    return OnnxRuntimeEngine(GRU.content, device="cpu", options=EngineOptions(threads=1))


def test_it_reports_the_graph(engine):
    assert engine.inputs == GRU.interface.inputs
    assert engine.outputs == GRU.interface.outputs
    assert engine.metadata[METADATA_KEY] == GRU.contract.to_json()


def test_it_reports_where_nodes_run(engine):
    assert engine.providers == ("CPUExecutionProvider",)
    nodes = engine.nodes()
    if nodes is None:
        pytest.skip("this ONNX Runtime does not report it")
    assert {node.provider for node in nodes} == {"CPUExecutionProvider"}
    assert "GRU" in {node.operator for node in nodes}


@pytest.mark.parametrize("names", [["output"], ["h_n", "output"]], ids=len)
def test_outputs_come_in_the_order_that_was_asked_for(engine, names):
    x, state = GRU.input(3, 2), GRU.state(2)
    output, (h_n,) = GRU.expected(x, state)
    values = engine.run(names, {"input": x, "h_0": state[0]})
    for name, value in zip(names, values, strict=True):
        np.testing.assert_allclose(value, {"output": output, "h_n": h_n}[name], atol=1e-6)


@pytest.mark.parametrize("way", ["as-it-is", "without-private-names", "on-another-device"])
def test_a_bound_call_reads_and_writes_the_same_memory(engine, way):
    x, state = GRU.input(2, 1), GRU.state(1)
    frame, h_0, h_n, output = (
        engine.tensor(array.copy(), on_device=True)
        for array in (x[:1], state[0], state[0], np.zeros((1, 1, 3), np.float32))
    )
    if way == "without-private-names":
        engine.session = Public(engine.session)
    if way == "on-another-device":
        engine.device = "cuda"  # the tensors stay on the CPU, and are bound again for each call
    run = engine.bind({"input": frame, "h_0": h_0}, {"output": output, "h_n": h_n})
    expected = GRU.expected(x, state)[0]
    run()
    np.testing.assert_allclose(output.read(), expected[:1], atol=1e-6)
    frame.write(x[1:])
    h_0.write(h_n.read())
    run()
    np.testing.assert_allclose(output.read(), expected[1:], atol=1e-6)


def test_a_tensor_on_the_cpu_uses_the_memory_that_it_was_given(engine):
    array = np.zeros((1, 1, 3), np.float32)
    tensor = engine.tensor(array, on_device=False)
    array[...] = 7
    assert (tensor.read() == 7).all()
    assert tensor.read() is not array


def test_a_damaged_model_is_refused():
    with pytest.raises(ModelError, match=r"^the model cannot be opened by ONNX Runtime: "):
        OnnxRuntimeEngine(b"no model", device="cpu", options=EngineOptions())
