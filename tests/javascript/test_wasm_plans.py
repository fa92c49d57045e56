"""The plans of the JavaScript package are those of the runtime, and its kernels compute them."""

from __future__ import annotations

import json
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from operator_models import MODELS, SHAPES
from wasm_plans import Answer, Feeds, answers_of_wasm, differing, plan_in_python

import rnnedge
from rnnedge_runtime.plan.model_file import read_model
from rnnedge_runtime.plan.operators import FOLDS, OPERATORS

Answered = dict[str, tuple[bytes, list[Feeds], list[Answer]]]
LAYERS = [
    *product(("rnn", "lstm", "gru"), ("scan", "operator"), (False, True), (False, True)),
    *(("rnn", "switch", lengths, both) for lengths, both in product((False, True), repeat=2)),
]
"""Cell, lowering, lengths, both directions."""


def name_of(case: tuple[str, str, bool, bool]) -> str:
    cell, lowering, lengths, both = case
    return f"{cell}-{lowering}{'-lengths' if lengths else ''}{'-both' if both else ''}"


def feeds_of(content: bytes, batch: int, time: int) -> Feeds:
    graph = read_model(content, "the model").graph
    random = np.random.default_rng(batch)
    feeds: Feeds = {}
    for info in graph.inputs:
        sizes = {"batch": batch, "time": time}
        shape = [sizes[axis] if isinstance(axis, str) else axis or 0 for axis in info.axes]
        if info.name == "lengths":
            feeds[info.name] = random.integers(0, time + 1, shape)
        elif info.dtype == "float32":
            feeds[info.name] = random.standard_normal(shape).astype(np.float32)
        else:
            feeds[info.name] = random.integers(-4, 9, shape)
    return feeds


def layer(case: tuple[str, str, bool, bool], path: Path) -> bytes:
    """Return a layer of two layers, LSTMs with a projection where the lowering has one."""
    cell, lowering, lengths, both = case
    projected = {"proj_size": 3} if cell == "lstm" and lowering == "scan" else {}
    relu = {"nonlinearity": "relu"} if cell == "rnn" and both else {}
    spec = rnnedge.RNNSpec(
        cell=cell,
        input_size=3,
        hidden_size=6,
        num_layers=2,
        bidirectional=both,
        **projected,
        **relu,
    )
    module = rnnedge.build(spec, seed=1)
    rnnedge.export(module, path, lengths=lengths, lowering=lowering, validate=False, force=True)
    return path.read_bytes()


@pytest.fixture(scope="module")
def answered(node: str, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    folder = tmp_path_factory.mktemp("wasm")
    models = {f"operator-{name}": content for name, content in MODELS.items()}
    models |= {name_of(case): layer(case, folder / "layer.onnx") for case in LAYERS}
    jobs = {
        name: (content, [feeds_of(content, *shape) for shape in SHAPES])
        for name, content in models.items()
    }
    answers = answers_of_wasm(node, package, folder, jobs)
    return {name: (*job, answers[name]) for name, job in jobs.items()}


def check(content: bytes, feeds: Feeds, answer: Answer) -> None:
    assert differing(plan_in_python(content, feeds), answer.plan) == ""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options)
    names = [info.name for info in session.get_outputs()]
    expected = dict(zip(names, session.run(None, feeds), strict=True))
    rows = feeds["lengths"] > 0 if "lengths" in feeds else None
    for name, value in expected.items():
        given = answer.outputs[name]
        assert given.shape == value.shape
        if rows is not None and name != "output":
            given, value = given[:, rows], value[:, rows]  # ONNX Runtime alone has zeros there
        assert np.allclose(given, value, rtol=2e-6, atol=2e-6, equal_nan=True), name


@pytest.mark.parametrize("name", MODELS)
def test_an_operator(name: str, answered: Answered) -> None:
    content, calls, answers = answered[f"operator-{name}"]
    for feeds, answer in zip(calls, answers, strict=True):
        check(content, feeds, answer)


@pytest.mark.parametrize("case", LAYERS, ids=name_of)
def test_a_layer(case: tuple[str, str, bool, bool], answered: Answered) -> None:
    content, calls, answers = answered[name_of(case)]
    for feeds, answer in zip(calls, answers, strict=True):
        check(content, feeds, answer)


def test_the_operators_are_those_of_the_runtime(node: str, package: Path) -> None:
    code = (
        "const [a, b] = [await import('./src/plan/operators/index.js'), "
        "await import('./src/plan/operators/folding.js')];"
        "console.log(JSON.stringify([Object.keys(a.OPERATORS), Object.keys(b.FOLDS)]))"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", code], cwd=package, capture_output=True, check=True
    )
    operators, folds = map(set, json.loads(done.stdout))
    in_integers = {
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "com.microsoft.DynamicQuantizeLSTM",
    }
    assert operators == set(OPERATORS) - in_integers
    assert folds == set(FOLDS)


def test_a_plan_that_differs_is_found(answered: Answered) -> None:
    content, calls, answers = answered["gru-operator"]
    plan = plan_in_python(content, calls[0])
    places = plan["calls"][0]["places"]
    plan["calls"][0]["places"] = (places[0], places[1] + 64, *places[2:])
    assert ".calls[0].places[1]" in differing(plan, answers[0].plan)
