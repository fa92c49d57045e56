"""The file itself: files of other kinds, data that is elsewhere, versions, domains, local paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import onnx
import pytest
from onnx import helper

from rnnedge import ModelError
from rnnedge.doctor import Finding, examine
from rnnedge.doctor.checks.contents import LOCAL_PATH
from rnnedge.doctor.reading.versions import ONNX_RUNTIME, first_release

Found = Callable[..., dict[str, Finding]]

NO_MODELS = {
    "text": (b"no model at all", "expected an ONNX file, got a text file"),
    "empty": (b"", "expected an ONNX file, got an empty file"),
    "half": (handmade.plain("LSTM").SerializeToString()[:600], "expected an ONNX model: the file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "expected an ONNX file, got a picture"),
}


@pytest.mark.parametrize(("content", "words"), NO_MODELS.values(), ids=NO_MODELS)
def test_what_is_no_model(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError) as raised:
        examine(tmp_path / "model.onnx")
    assert str(raised.value).startswith(f"{tmp_path / 'model.onnx'}: {words}")
    assert "\n" not in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected an ONNX file, found no such file$"):
        examine(tmp_path / "no.onnx")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected an ONNX file, got a folder without \.onnx"):
        examine(tmp_path)


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights are in `weights.bin` next to it."""
    onnx.save(
        handmade.plain("GRU", states=True),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=64,
    )
    return tmp_path / "model.onnx"


def test_external_data_that_is_there(external: Path) -> None:
    diagnosis = examine(external)
    assert "external-data" not in {finding.kind for finding in diagnosis.findings}
    assert "well at 9" in diagnosis.facts[2]


def test_external_data_that_is_missing(external: Path) -> None:
    (external.parent / "weights.bin").unlink()
    diagnosis = examine(external)
    (finding,) = [f for f in diagnosis.findings if f.severity == "error"]
    assert finding.kind == "external-data"
    assert finding.problem.endswith("'weights.bin' is not next to the model")
    assert diagnosis.facts[2] == "not run: its external data is not there"


def test_external_data_that_is_cut_short(external: Path) -> None:
    content = (external.parent / "weights.bin").read_bytes()
    (external.parent / "weights.bin").write_bytes(content[:50])
    (finding,) = [f for f in examine(external).findings if f.severity == "error"]
    assert "'weights.bin' has 50 bytes, and " in finding.problem


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd"])
def test_external_data_outside_the_folder(location: str, external: Path) -> None:
    (external.parent.parent / "weights.bin").write_bytes(b"")
    model = onnx.load(external, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    external.write_bytes(model.SerializeToString())
    (finding,) = [f for f in examine(external).findings if f.severity == "error"]
    assert finding.problem.endswith(f"'{location}' is outside the model's folder")


@pytest.mark.parametrize(
    ("opset", "version", "release"),
    [(17, 8, "1.12"), (18, 8, "1.14"), (19, 9, "1.16"), (21, 10, "1.18"), (7, 3, "1.0")],
)
def test_first_release(opset: int, version: int, release: str) -> None:
    assert first_release(opset, version) == release


def test_newer_than_every_release() -> None:
    assert first_release(99, 8) is None


def test_releases_only_gain() -> None:
    opsets, versions = [row[1] for row in ONNX_RUNTIME], [row[2] for row in ONNX_RUNTIME]
    assert opsets == sorted(opsets)
    assert versions == sorted(versions)


def test_opset_that_only_newer_runtimes_load(found: Found) -> None:
    finding = found(handmade.plain("RNN", states=True, opset=19))["versions"]
    assert finding.where == "opset 19, IR 8"
    assert finding.problem == "only ONNX Runtime 1.15 or newer loads it"


def test_ir_version_that_is_newer_than_it_needs(found: Found) -> None:
    model = handmade.plain("RNN", states=True)
    model.ir_version = 10
    finding = found(model)["ir-version"]
    assert finding.remedy == "lower the IR version: opset 17 alone needs 1.12"
    assert finding.fixable


def test_old_opset(found: Found) -> None:
    model = handmade.plain("RNN", states=True, opset=6)
    assert found(model)["opset"].problem == "ONNX Runtime supports opset 7 and newer"


@pytest.mark.parametrize(
    ("domain", "severity", "words"),
    [
        ("com.microsoft", "warning", "ONNX Runtime's own operators"),
        ("org.pytorch.aten", "error", "PyTorch's own operators"),
        ("acme", "warning", "which no runtime is known to have"),
    ],
)
def test_domain(domain: str, severity: str, words: str, found: Found) -> None:
    node = helper.make_node("Gelu", ["a"], ["b"], name="own", domain=domain)
    finding = found(handmade.with_head([node], domains=[domain]))["domain"]
    assert (finding.severity, finding.where) == (severity, "own")
    assert words in finding.problem


def test_what_the_runtime_refuses(found: Found) -> None:
    node = helper.make_node("Gelu", ["a"], ["b"], domain="acme")
    finding = found(handmade.with_head([node], domains=["acme"]))["refused"]
    assert finding.severity == "error"
    assert finding.problem == (
        "ONNX Runtime refuses the file: Fatal error: acme:Gelu(-1) is not a registered function/op"
    )


def test_batch_first_layout(found: Found) -> None:
    findings = found(handmade.plain("LSTM", layout=1))
    assert findings["layout"].severity == "error"
    assert "refused" not in findings


PATHS = {
    'File "/home/ann/train.py", line 3, in forward': "/home/ann/train.py",
    'File "/home/ann/my models/train.py", line 3': "/home/ann/my models/train.py",
    r"File C:\Users\ann\train.py": r"C:\Users\ann\train.py",
    "/opt/venv/lib/torch/nn/modules/rnn.py": "/opt/venv/lib/torch/nn/modules/rnn.py",
}


@pytest.mark.parametrize(("text", "path"), PATHS.items(), ids=["unix", "space", "windows", "bare"])
def test_local_path(text: str, path: str) -> None:
    assert LOCAL_PATH.findall(text) == [path]


@pytest.mark.parametrize(
    "text",
    ["https://onnx.ai/onnx/x.py", "torch/nn/modules/rnn.py", "/rnn/GRU.weight", "../a/b.py", "a/b"],
)
def test_what_is_no_local_path(text: str) -> None:
    assert LOCAL_PATH.findall(text) == []


def test_local_paths_in_the_metadata(found: Found) -> None:
    model = handmade.plain("RNN", states=True)
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "trace", 'File "/home/ann/train.py", line 3'
    model.graph.node[1].doc_string = "made by /home/ann/other.py"
    finding = found(model)["local-paths"]
    assert finding.problem.startswith("2 absolute path(s) ")
    assert finding.problem.endswith("such as /home/ann/train.py")


def test_what_the_checker_refuses(found: Found) -> None:
    model = handmade.plain("RNN", states=True)
    model.graph.node[0].attribute.append(helper.make_attribute("colour", 1))
    findings = found(model)
    assert not {"invalid", "refused"}.isdisjoint(findings)


def test_functions_are_looked_into(found: Found) -> None:
    """A file of the exporter's 2.5 days: the layer is a local function."""
    model = handmade.plain("GRU")
    weights = [t.name for t in model.graph.initializer if t.name != "flat"]
    body = [n for n in model.graph.node]
    function = helper.make_function(
        *("local", "Layer", ["x", *weights], ["y"], body, [helper.make_opsetid("", 17)]),
    )
    call = helper.make_node("Layer", ["x", *weights], ["y"], domain="local")
    del model.graph.node[:], model.graph.output[1:]
    model.graph.node.append(call)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    findings = found(model)
    assert "states-hidden" in findings
    assert "domain" not in findings


def test_input_that_is_also_a_weight(found: Found) -> None:
    """Files of IR version 3 list their weights among the inputs."""
    model = handmade.plain("GRU", states=True)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        model.graph.input.append(handmade.value(tensor.name, array.shape, kind))
    assert set(found(model)) == {"empty-crash", "hides-nan", "not-pytorch"}


def test_indices_stay_inside_the_table(found: Found) -> None:
    layer = handmade.recurrent_weights("RNN")
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["x"]),
        helper.make_node("RNN", ["x", *layer], ["Y"], hidden_size=4),
        helper.make_node("Squeeze", ["Y", "one"], ["y"]),
    ]
    model = handmade.build(
        nodes,
        [handmade.value("tokens", ["time", "batch"], onnx.TensorProto.INT64)],
        [handmade.value("y", ["time", "batch", 4])],
        {**layer, "table": handmade.random(2, 3), "one": np.array([1], np.int64)},
    )
    assert "no-run" not in found(model)
