"""Every command on files as the exporters of others write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import Done
from foreign_files import FILES, Foreign

from rnnedge_runtime import Session
from rnnedge_runtime.__main__ import main as device_main
from rnnedge_runtime.binding import dtype_of
from rnnedge_runtime.contract import BATCH, TIME
from rnnedge_runtime.latency import random_inputs

NO_REFUSALS = {name: foreign for name, foreign in FILES.items() if foreign.streams}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file, and a copy of each that is another file."""
    made = tmp_path_factory.mktemp("foreign")
    for name, foreign in FILES.items():
        model = foreign.build()
        onnx.save(model, made / f"{name}.onnx")
        model.doc_string = "a copy"
        onnx.save(model, made / f"{name}-copy.onnx")
    return made


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Foreign]:
    return str(folder / f"{request.param}.onnx"), FILES[request.param]


def test_states(file):
    path, foreign = file
    session = Session(path)
    assert {pair.output: pair.input for pair in session.interface.states} == foreign.states
    assert session.doubts == ()


def test_axes(file):
    path, foreign = file
    session = Session(path)
    session.probe_axes()
    assert {spec.name: spec.axes for spec in session.interface.data_inputs} == foreign.axes


def test_axes_of_outputs_have_the_sizes_that_they_are_called(file):
    path, _ = file
    session = Session(path)
    result = session.run(random_inputs(session, 12, 5))
    for spec in session.interface.outputs:
        for axis, size in zip(spec.axes, result.outputs[spec.name].shape, strict=True):
            expected = {TIME: 12, BATCH: 5}.get(str(axis), axis)
            assert isinstance(expected, str) or expected == size


def test_check(file, capsys):
    path, _ = file
    assert device_main(["check", path]) == 0, capsys.readouterr().out
    assert "FAIL" not in capsys.readouterr().out


def test_bench(file, rnn: Callable[..., Done]):
    done = rnn("bench", file[0], "--count", "1", "--warmup", "0")
    assert (done.code, done.err) == (0, "")


def test_run(file, rnn: Callable[..., Done], tmp_path: Path):
    path, _ = file
    session = Session(path)
    given = []
    for spec in session.interface.data_inputs:
        sizes = {TIME: 6, BATCH: 2}
        shape = [axis if isinstance(axis, int) else sizes.get(axis, 2) for axis in spec.axes]
        np.save(tmp_path / f"{len(given)}.npy", np.ones(shape, dtype_of(spec.dtype)))
        given += [f"--input={spec.name}={len(given)}.npy"]
    done = rnn("run", path, *given)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("name", NO_REFUSALS)
def test_bench_stream(name, folder: Path, rnn: Callable[..., Done]):
    done = rnn("bench", str(folder / f"{name}.onnx"), "--stream", "--count", "1", "--warmup", "0")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("name", [n for n in NO_REFUSALS if TIME in str(FILES[n].axes)])
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_frames_give_the_answers_of_the_whole(name, engine, folder: Path):
    session = Session(str(folder / f"{name}.onnx"), threads=1, engine=engine)
    inputs = random_inputs(session, 8, 2)
    whole = session.run(inputs)
    stream = session.stream(batch=2)
    (spec,) = session.interface.data_inputs
    frames = [
        stream.step(np.take(inputs[spec.name], step, spec.axes.index(TIME))) for step in range(8)
    ]
    (out,) = session.interface.data_outputs
    joined = np.stack(frames, out.axes.index(TIME))
    np.testing.assert_allclose(joined, whole.outputs[out.name], rtol=1e-5, atol=2e-6)


def test_doctor(file, rnn: Callable[..., Done]):
    done = rnn("doctor", file[0])
    assert (done.code, done.err) == (0, "")


def test_validate(file, rnn: Callable[..., Done]):
    path, _ = file
    done = rnn("validate", path, "--against", path.replace(".onnx", "-copy.onnx"), "--quick")
    assert (done.code, done.err) == (0, "")
