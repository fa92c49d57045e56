"""A CUDA provider that is installed and does not start, stood in for on a machine without one."""

import re

import onnxruntime
import pytest
from tiny_models import Tiny

from rnnedge_runtime import DeviceError, ModelError, Session

GRU = Tiny("gru")
CUDA = "CUDAExecutionProvider"

pytestmark = pytest.mark.usefixtures("no_cuda")


def preload_dlls():
    print("Failed to load libcudnn.so.9: cannot open shared object file")
    print("Please follow the instructions.")


@pytest.fixture(params=["left-out", "raises"])
def refused(request, monkeypatch):
    """How ONNX Runtime answers: a session without CUDA, or an error."""

    class Refusing(onnxruntime.InferenceSession):
        def __init__(self, model, settings, providers, **options):
            if request.param == "raises" and len(providers) == 2:
                raise RuntimeError("CUDA failure 35: the driver is too old")
            super().__init__(model, settings, providers=providers[-1:], **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Refusing)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload_dlls, raising=False)
    return request.param


def test_cuda_says_why(refused, capfd):
    reason = {
        "left-out": "Failed to load libcudnn.so.9: cannot open shared object file",
        "raises": "CUDA failure 35: the driver is too old",
    }[refused]
    message = (
        "its CUDA provider is installed but did not start: check the NVIDIA driver, and that CUDA "
        f"and cuDNN have the versions that this onnxruntime-gpu was built for ({reason})"
    )
    with pytest.raises(DeviceError, match=rf"{re.escape(message)}$"):
        Session(GRU.content, device="cuda")
    assert capfd.readouterr() == ("", "")


def test_auto_takes_the_cpu(refused):
    session = Session(GRU.content, device="auto")
    assert session.device == "cpu"
    assert session.run(GRU.input(3, 2)).output.shape == (3, 2, 3)


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_broken_model_is_not_the_fault_of_cuda(refused, device):
    with pytest.raises(ModelError, match=r"^the model cannot be opened by ONNX Runtime: "):
        Session(b"no model", device=device)


def test_an_onnxruntime_that_cannot_preload(refused, monkeypatch):
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    with pytest.raises(DeviceError, match="did not start"):
        Session(GRU.content, device="cuda")


@pytest.mark.parametrize("tf32", [False, True])
def test_what_cuda_is_asked_for(monkeypatch, tf32):
    asked = []

    class Asking(onnxruntime.InferenceSession):
        def __init__(self, model, settings, providers, **options):
            asked.append(providers)
            super().__init__(model, settings, providers=providers[-1:], **options)

        def get_providers(self):
            return [CUDA, *super().get_providers()]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Asking)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    assert Session(GRU.content, device="cuda", tf32=tf32).device == "cuda"
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "1" if tf32 else "0"}
    assert asked == [[(CUDA, options), "CPUExecutionProvider"]]
