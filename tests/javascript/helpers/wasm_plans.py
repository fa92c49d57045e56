"""Plans of the runtime and of the JavaScript package, of the same models, side by side."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.plan.known import dtype_of
from rnnedge_runtime.plan.model_file import read_model
from rnnedge_runtime.plan.operators import FOLDS, OPERATORS
from rnnedge_runtime.plan.tracer import Kept, Recipe, Tracer

Array = NDArray[Any]
Feeds = dict[str, Array]
SCRIPT = Path(__file__).with_name("wasm_jobs.mjs")
_CALL = ("operation", "kind", "sizes", "axes", "places", "distances", "numbers", "packed")


@dataclass(frozen=True)
class Answer:
    """What the wasm engine gave for one call, and the plan that it made."""

    outputs: Feeds
    plan: dict[str, Any]


class RecordingPacker:
    """Packs nothing, and keeps what it was given."""

    def layer(self, weights: Any) -> dict[str, Any]:
        return {
            "cell": weights.cell,
            "nonlinearity": weights.nonlinearity,
            "weightIh": _listed(weights.weight_ih),
            "weightHh": _listed(weights.weight_hh),
            "bias": _listed(weights.bias),
            "biasN": _listed(weights.bias_n),
            "projection": _listed(weights.projection),
        }

    def matrix(self, weights: Array, bias: Array | None) -> dict[str, Any]:
        return {"rows": _listed(weights), "bias": _listed(bias)}

    def integer_matrix(self, weights: Any, bias: Array | None) -> object:
        raise AssertionError("the wasm engine computes nothing in integers")


def plan_in_python(content: bytes, feeds: Mapping[str, Array]) -> dict[str, Any]:
    """Return the plan that the runtime makes, as `wasm_jobs.mjs` writes one down."""
    graph = read_model(content, "the model").graph
    inputs = [info for info in graph.inputs if info.name in feeds]
    tracer = Tracer(OPERATORS, FOLDS, RecordingPacker(), Kept())
    recipe: Recipe = tracer.run(
        graph, {info.name: (feeds[info.name].shape, dtype_of(info)) for info in inputs}
    )
    given = recipe.arguments
    return {
        "arena": given["arena"],
        "inputs": list(given["inputs"]),
        "outputs": [
            {"name": name, "shape": list(shape), "dtype": dtype}
            for name, shape, dtype in recipe.outputs
        ],
        "constants": [[str(array.dtype), *_listed(array)] for array in given["constants"]],
        "calls": [
            dict(zip(_CALL, (*call[:6], call[6:8], call[8]), strict=True))
            for call in given["calls"]
        ],
    }


def answers_of_wasm(
    node: str, package: Path, folder: Path, jobs: Mapping[str, tuple[bytes, list[Feeds]]]
) -> dict[str, list[Answer]]:
    """Run models in Node, each with several feeds."""
    listed = []
    for name, (content, calls) in jobs.items():
        (folder / name).write_bytes(content)
        written = [
            _written(folder, f"{name}.in{index}", feeds) for index, feeds in enumerate(calls)
        ]
        listed.append({"model": name, "calls": written})
    (folder / "jobs.json").write_text(json.dumps(listed), encoding="utf-8")
    done = subprocess.run(
        [node, str(SCRIPT), str(package), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return {
        name: [_answer(folder, call) for call in about["calls"]] for name, about in found.items()
    }


def _written(folder: Path, stem: str, feeds: Feeds) -> dict[str, Any]:
    inputs = []
    for index, (name, value) in enumerate(feeds.items()):
        file = f"{stem}.{index}"
        (folder / file).write_bytes(np.ascontiguousarray(value).tobytes())
        inputs.append({"name": name, "dtype": str(value.dtype), "shape": value.shape, "file": file})
    return {"inputs": inputs}


def _answer(folder: Path, call: dict[str, Any]) -> Answer:
    outputs = {
        about["name"]: np.frombuffer((folder / about["file"]).read_bytes(), about["dtype"]).reshape(
            about["shape"]
        )
        for about in call["outputs"]
    }
    return Answer(outputs, call["plan"])


def _listed(array: Array | None) -> Any:
    if array is None:
        return None
    return [list(array.shape), np.asarray(array).astype(float).reshape(-1).tolist()]


def differing(python: Any, javascript: Any, where: str = "") -> str:
    """Return where two plans differ, or nothing; numbers are compared as float32."""
    if isinstance(python, dict):
        for key, value in python.items():
            if found := differing(value, javascript.get(key), f"{where}.{key}"):
                return found
        return ""
    if isinstance(python, list | tuple):
        if len(python) != len(javascript):
            return f"{where}: {len(python)} in Python, {len(javascript)} in JavaScript"
        for index, pair in enumerate(zip(python, javascript, strict=True)):
            if found := differing(*pair, f"{where}[{index}]"):
                return found
        return ""
    if isinstance(python, float):
        same = np.isclose(python, float(javascript), rtol=2e-7, atol=0, equal_nan=True)
        return "" if same else f"{where}: {python} in Python, {javascript} in JavaScript"
    return "" if python == javascript else f"{where}: {python!r}, {javascript!r}"
