"""Every module of the zoo, exported once, at shapes that it was not exported with."""

from __future__ import annotations

import copy
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch

import rnnedge
from rnnedge_runtime.engine.library import onnxruntime
from rnnedge_runtime.proof.self_check import check

if TYPE_CHECKING:
    from conftest import Exported

    from rnnedge_exporters.sandbox.session import Worker

SHAPES = [(1, 1), (2, 3), (4, 5), (6, 2), (10, 1), (22, 4), (50, 3)]
"""(time, batch); time is even where it is not 1, for the module that joins two steps."""


@pytest.fixture
def shapes(exported: Exported) -> list[tuple[int, int]]:
    return [shape for shape in SHAPES if exported.name != "two_speeds" or shape[0] > 1]


def test_answers_what_torch_answers(exported: Exported, shapes: list[tuple[int, int]]) -> None:
    for time, batch in shapes:
        inputs = exported.inputs(time, batch)
        expected = exported.in_torch(inputs)
        given = list(exported.in_onnx(inputs).items())
        by_name = dict(given)
        names = [spec.name for spec in exported.session.interface.outputs][: len(expected)]
        for name, value in zip(names, expected, strict=True):
            assert by_name[name].shape == value.shape, (name, time, batch)
            assert np.abs(by_name[name] - value).max() < 1e-5, (name, time, batch)


def test_validator_agrees(exported: Exported, worker: Worker) -> None:
    report = rnnedge.validate(exported.path, against=exported.module, worker=worker)
    assert report, report


def test_chunks_equal_the_whole(exported: Exported) -> None:
    face = exported.session.interface
    timed = any("time" in spec.axes for spec in face.data_inputs)
    if not face.states or exported.result.contract.hindrances or not timed:
        pytest.skip("cannot be streamed exactly, or has no time axis")
    time, batch = 20, 1 if exported.name == "unbatched" else 2
    inputs = exported.inputs(time, batch)
    for pair in face.states:
        inputs[pair.input] = np.zeros_like(inputs[pair.input])
    whole = exported.in_onnx(inputs)
    (spec,) = face.data_inputs
    axis = spec.axes.index("time")
    for sizes in ([1] * 20, [2] * 10, [7, 7, 6], [3, 1, 11, 5]):
        stream = exported.session.stream(batch)
        ends = np.cumsum(sizes)
        parts = np.split(inputs[spec.name], ends[:-1], axis)
        answers = [stream.step(part) for part in parts]
        named = [a if isinstance(a, dict) else {face.data_outputs[0].name: a} for a in answers]
        for output in face.data_outputs:
            pieces = [answer[output.name] for answer in named]
            open_end = "time" in output.axes
            joined = np.concatenate(pieces, output.axes.index("time")) if open_end else pieces[-1]
            assert np.abs(joined - whole[output.name]).max() < 1e-6, (output.name, sizes)
        for pair, final in zip(face.states, stream.state, strict=True):
            assert np.abs(final - whole[pair.output]).max() < 1e-6, (pair.output, sizes)


def test_device_check_raises_no_false_alarm(exported: Exported) -> None:
    named = {axis for spec in exported.session.interface.inputs for axis in spec.axes}
    if exported.name == "two_speeds" or named & {"time_1", "batch_1"}:
        pytest.skip("takes an even number of steps only, or has axes that the check cannot size")
    failed = [finding for finding in check(exported.session) if finding.passed is False]
    assert not failed


def test_engine_has_nothing_to_remark(
    exported: Exported, shapes: list[tuple[int, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    """Each name of an axis is one size: ONNX Runtime plans its memory by them, and warns."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    session = onnxruntime.InferenceSession(exported.path, options)
    for time, batch in shapes:
        session.run(None, exported.inputs(time, batch))
    said = capfd.readouterr().err
    assert "Shape mismatch" not in said, said


def test_file_is_valid(exported: Exported) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True, check_type=True)


def test_file_names_nothing_of_this_machine(exported: Exported) -> None:
    content = exported.path.read_bytes()
    secrets = [str(Path.home()), str(Path(__file__).parent), sys.prefix, socket.gethostname()]
    for secret in secrets:
        if len(secret) > 4:  # shorter ones turn up in weights by chance
            assert secret.encode() not in content
    assert b"module_zoo" not in content


def test_a_second_export_is_the_same_and_leaves_the_module_as_it_was(
    exported: Exported, pytestconfig: pytest.Config
) -> None:
    if len(exported.name) % 3 and not pytestconfig.getoption("--full"):
        pytest.skip("make test-all exports every module twice, make test some")
    module = copy.deepcopy(exported.module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    flags = [inner.training for inner in module.modules()]
    hooks = [dict(inner._forward_pre_hooks) for inner in module.modules()]
    forwards = [vars(inner).get("forward") for inner in module.modules()]
    kind = type(module)
    again = exported.path.with_name("again.onnx")
    rnnedge.export(module, again, example_inputs=exported.example)
    assert again.read_bytes() == exported.path.read_bytes()
    assert type(module) is kind
    assert flags == [inner.training for inner in module.modules()]
    assert hooks == [dict(inner._forward_pre_hooks) for inner in module.modules()]
    assert forwards == [vars(inner).get("forward") for inner in module.modules()]
    assert list(before) == list(module.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch._VF._pack_padded_sequence is not None  # torch's own function is back
    assert "_pack_padded_sequence" not in vars(torch._VF)
