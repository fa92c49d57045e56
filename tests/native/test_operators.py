"""Every operator of the native engine, alone, against ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
from operator_models import MODELS, SHAPES  # noqa: E402
from small_models import normal  # noqa: E402


@pytest.mark.parametrize("name", MODELS)
def test_as_onnx_runtime(name):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(MODELS[name], options)
    plans = [native.Plan(MODELS[name], instructions=each) for each in native.instructions()]
    for batch, time in SHAPES:
        feeds = {}
        for info in session.get_inputs():
            shape = [{"batch": batch, "time": time}.get(axis, axis) for axis in info.shape]
            if info.name.startswith("i_"):
                feeds[info.name] = np.random.default_rng(0).integers(-4, 9, shape)
            else:
                feeds[info.name] = normal(*shape)
        names = [info.name for info in session.get_outputs()]
        expected = dict(zip(names, session.run(None, feeds), strict=True))
        for plan in plans:
            found = plan.run(feeds)
            for output, value in expected.items():
                assert found[output].shape == value.shape, (output, batch, time)
                assert np.allclose(found[output], value, rtol=2e-6, atol=2e-6, equal_nan=True), (
                    output,
                    plan.instructions,
                )
