"""Opening a model: files, contracts, devices."""

import json
import re
from dataclasses import replace

import onnxruntime
import pytest
from tiny_models import Tiny

from rnnedge_runtime import ContractError, DeviceError, ModelError, OptionError, Session, StateError
from rnnedge_runtime.contract import Contract, TensorSpec

GRU = Tiny("gru")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(GRU.content)
    return path


@pytest.mark.parametrize("as_given", [str, lambda path: path], ids=["str", "Path"])
def test_a_path(path, as_given):
    assert Session(as_given(path)).contract == GRU.contract


def test_bytes():
    assert Session(GRU.content).interface == GRU.interface


def test_missing_file(tmp_path):
    path = tmp_path / "none.onnx"
    message = f"{path}: expected an ONNX file, found no such file"
    with pytest.raises(ModelError, match=re.escape(message)):
        Session(path)


def test_folder(tmp_path):
    message = "expected an ONNX file, got a folder without .onnx files: name the file itself"
    with pytest.raises(ModelError, match=message):
        Session(tmp_path)


BROKEN = {
    "cut-in-the-weights": GRU.content[: len(GRU.content) // 2],
    "last-byte-missing": GRU.content[:-1],
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_file(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    message = rf"^{re.escape(str(path))} cannot be opened by ONNX Runtime: [^\n]+$"
    with pytest.raises(ModelError, match=message):
        Session(path)


def test_a_name_that_is_not_utf8():
    content = GRU.graph().content().replace(b"h_0", b"h\xff0")
    with pytest.raises(ModelError, match=r"^the model can(not be read|not be opened by ONNX Runt)"):
        Session(content)


def test_opening_a_broken_model_prints_nothing(capfd):
    graph = GRU.graph()
    graph.nodes[0][3]["direction"] = "sideways"
    with pytest.raises(ModelError, match="sideways"):
        Session(graph.content())
    assert capfd.readouterr() == ("", "")


def test_broken_bytes():
    with pytest.raises(ModelError, match=r"^the model cannot be opened by ONNX Runtime: "):
        Session(b"this is not a model")


def test_a_newer_contract_says_what_to_update():
    newer = GRU.graph().content(replace(GRU.contract, format=2))
    message = (
        "the model has contract format 2, and this version reads formats up to 1: "
        "update rnnedge-runtime, or export it again"
    )
    with pytest.raises(ContractError, match=message):
        Session(newer)


def damaged(change):
    values = json.loads(GRU.contract.to_json())
    change(values)
    return json.dumps(values)


DAMAGED = {
    "not-json": "{",
    "empty": "",
    "a-list": "[]",
    "null": "null",
    "without-format": "{}",
    "format-of-wrong-type": damaged(lambda v: v.update(format="1")),
    "without-interface": damaged(lambda v: v.pop("interface")),
    "without-digest": damaged(lambda v: v.pop("weights_digest")),
    "interface-is-a-list": damaged(lambda v: v.update(interface=[])),
    "tensor-without-axes": damaged(lambda v: v["interface"]["inputs"][0].pop("axes")),
    "state-of-an-unknown-input": damaged(
        lambda v: v["interface"]["states"][0].update(input="nowhere")
    ),
    "state-of-an-unknown-output": damaged(
        lambda v: v["interface"]["states"][0].update(output="nowhere")
    ),
    "lengths-of-an-unknown-input": damaged(lambda v: v["interface"].update(lengths="nowhere")),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_contract(text):
    message = r"^the model (has no readable contract|has a damaged contract|has contract format)"
    with pytest.raises(ContractError, match=rf"{message}.*export it again$"):
        Session(GRU.graph().content(text))


def test_what_a_later_version_adds_within_the_format_is_passed_over():
    text = damaged(lambda v: v.update(added=1) or v["layers"][0].update(added=2))
    assert Contract.from_json(text) == GRU.contract


def test_a_contract_survives_json():
    tiny = Tiny("lstm", bidirectional=True, lengths=True)
    assert Contract.from_json(tiny.contract.to_json()) == tiny.contract


@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_a_contract_whose_names_are_not_those_of_the_graph(kind):
    specs = getattr(GRU.interface, kind)
    added = (*specs, TensorSpec("other", "float32", (1,)))
    message = (
        f"the model: its contract promises the {kind} .*other.*, the graph has .*: it was chan"
    )
    with pytest.raises(ModelError, match=message):
        Session(GRU.promising(**{kind: added}))


def test_states_are_not_taken_for_a_model_with_a_contract():
    message = "the model names its states in its contract; leave states= out"
    with pytest.raises(StateError, match=message):
        Session(GRU.content, states={"h_n": "h_0"})


@pytest.mark.parametrize("device", ["tpu", "CPU", None, "cuda:0"])
def test_an_unknown_device(device):
    message = f"device: expected 'cpu', 'cuda' or 'auto', got {device!r}"
    with pytest.raises(DeviceError, match=message):
        Session(GRU.content, device=device)


@pytest.mark.usefixtures("no_cuda")
def test_cuda_where_there_is_none_says_why_and_what_to_do():
    message = (
        rf"device='cuda': ONNX Runtime {re.escape(onnxruntime.__version__)} has no CUDA here: "
        r"this build has only .*; replace onnxruntime by onnxruntime-gpu .*, or use device=\"cpu\""
    )
    with pytest.raises(DeviceError, match=message):
        Session(GRU.content, device="cuda")


@pytest.mark.usefixtures("no_cuda")
def test_auto_takes_the_cpu_where_there_is_no_cuda_and_says_so():
    assert Session(GRU.content, device="auto").device == "cpu"


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 1025, 10**20])
def test_a_wrong_number_of_threads(threads):
    message = f"threads: expected None or an integer from 1 to 1024, got {threads!r}"
    with pytest.raises(OptionError, match=re.escape(message)):
        Session(GRU.content, threads=threads)


def test_without_onnxruntime_the_command_to_install_it(python):
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "import rnnedge_runtime\n"
        "try: rnnedge_runtime.Session('model.onnx', engine='onnxruntime')\n"
        "except ImportError as error: print(error)\n"
    )
    assert python("-c", code).stdout == (
        "rnnedge_runtime.Session needs onnxruntime, which is not installed: "
        'pip install "rnnedge-runtime[cpu]"\n'
    )
