"""Exports what the tests of the JavaScript package read.

    python tests/javascript/helpers/javascript_models.py

Each model lies in a folder with its golden vectors. `cases.json` has what the Python runtime says
and gives: the messages of refused calls, the outputs of streams, and the sizes of axes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from javascript_decoders import decoder_cases
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import RnnEdgeError, Session
from rnnedge_runtime.axis_sizes import size_of
from rnnedge_runtime.contract import METADATA_KEY, Contract

FOLDER = Path(__file__).resolve().parents[3] / "javascript" / "tests" / "models"
"""Where `npm test` looks for them."""
STEPS, BATCH = 7, 2


class TwoInputs(nn.Module):
    """A signal, a mask over its steps, and ids that condition it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 3)
        self.layer = nn.GRU(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, signal: Tensor, ids: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
        hidden, _ = self.layer(torch.cat([signal * gain, self.table(ids)], -1))
        return self.head(hidden), hidden.mean(-1)


class Strided(nn.Module):
    """A convolution that drops steps in front of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, stride=2)
        self.layer = nn.LSTM(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]
        return out


def _two_inputs(path: Path) -> nn.Module:
    model = TwoInputs().eval()
    inputs = (
        torch.rand(STEPS, BATCH, 1),
        torch.zeros(STEPS, BATCH, dtype=torch.int64),
        torch.rand(1),
    )
    axes = {name: {0: "time", 1: "batch"} for name in ("signal", "ids")}
    rnnedge.export(model, path, example_inputs=inputs, dynamic_axes=axes, validate=False)
    return model


def _strided(path: Path) -> nn.Module:
    model = Strided().eval()
    axes = {"x": {0: "batch", 1: "time"}}
    inputs = (torch.rand(BATCH, 9, 3),)
    rnnedge.export(model, path, example_inputs=inputs, dynamic_axes=axes, validate=False)
    return model


def _layer(*, lengths: bool = False, export: Mapping[str, Any] | None = None, **spec: Any) -> Any:
    def write(path: Path) -> nn.Module:
        model = rnnedge.build(rnnedge.RNNSpec(input_size=3, hidden_size=4, **spec), seed=0)
        rnnedge.export(model, path, lengths=lengths, validate=False, **(export or {}))
        return model

    return write


MODELS: dict[str, Callable[[Path], nn.Module]] = {
    "rnn": _layer(cell="rnn"),
    "relu": _layer(cell="rnn", nonlinearity="relu", num_layers=2),
    "lstm": _layer(cell="lstm", batch_first=True),
    "gru": _layer(cell="gru"),
    "lengths": _layer(cell="lstm", lengths=True),
    "bidirectional": _layer(cell="gru", bidirectional=True, lengths=True),
    "projected": _layer(cell="lstm", proj_size=2, num_layers=2),
    "stateless": _layer(cell="gru", export={"states": False}),
    "int8": _layer(cell="gru", export={"quantize": "int8"}),
    "int8-all": _layer(cell="lstm", export={"quantize": "int8:all"}),
    "float16": _layer(cell="lstm", export={"dtype": "float16"}),
    "two-inputs": _two_inputs,
    "strided": _strided,
}
STREAMED = ("rnn", "relu", "lstm", "gru", "lengths", "projected", "int8", "float16")


def zeros(dtype: str, *shape: int) -> dict[str, Any]:
    """Describe an array that both languages make."""
    return {"dtype": dtype, "shape": list(shape)}


def filled(value: float, *shape: int) -> dict[str, Any]:
    """Describe an array whose second value is `value`, spelt as Python spells it."""
    return {"dtype": "float32", "shape": list(shape), "second": str(value)}


X = zeros("float32", 5, 2, 3)
H = zeros("float32", 1, 2, 4)
BAD_CALLS: list[dict[str, Any]] = [
    {"model": "gru", "input": zeros("float32", 5, 3)},
    {"model": "gru", "input": zeros("float32", 1, 5, 2, 3)},
    {"model": "gru", "input": zeros("float32")},
    {"model": "gru", "input": zeros("float32", 5, 2, 7)},
    {"model": "gru", "input": zeros("float64", 5, 2, 3)},
    {"model": "gru", "input": zeros("int64", 5, 2, 3)},
    {"model": "gru", "input": zeros("float16", 5, 2, 3)},
    {"model": "gru", "input": zeros("bool", 5, 2, 3)},
    {"model": "gru", "input": zeros("float32", 0, 2, 3)},
    {"model": "gru", "input": zeros("float32", 0, 0, 3)},
    {"model": "gru", "inputs": {"x": X}},
    {"model": "gru", "inputs": {"input": X, "h_0": H}},
    {"model": "gru", "inputs": {}},
    {"model": "gru", "input": X, "lengths": [5, 5]},
    {"model": "gru", "input": X, "state": [zeros("float32", 1, 3, 4)]},
    {"model": "gru", "input": X, "state": [zeros("float64", 1, 2, 4)]},
    {"model": "gru", "input": X, "state": [H, H]},
    {"model": "gru", "input": X, "state": []},
    {"model": "gru", "input": X, "states": {"h": H}},
    {"model": "stateless", "input": X, "state": [H]},
    {"model": "lstm", "input": zeros("float32", 5, 3)},
    {"model": "lstm", "input": zeros("float32", 2, 5, 3), "state": [H]},
    {"model": "lstm", "input": zeros("float32", 2, 5, 3), "states": {"h_0": H}},
    {"model": "lengths", "input": X, "lengths": [5, -1]},
    {"model": "lengths", "input": X, "lengths": [6, 5]},
    {"model": "lengths", "input": X, "lengths": [5]},
    {"model": "lengths", "input": X, "lengths": [[5, 5]]},
    {"model": "lengths", "input": X, "lengths": 5},
    {"model": "lengths", "input": X, "lengths": [5.5, 2.5]},
    {"model": "lengths", "input": X, "lengths": [True, False]},
    {"model": "two-inputs", "input": X},
    {"model": "two-inputs", "inputs": {"signal": zeros("float32", 5, 2, 1)}},
    {
        "model": "two-inputs",
        "inputs": {
            "signal": zeros("float32", 5, 2, 1),
            "ids": zeros("int64", 4, 2),
            "gain": zeros("float32", 1),
        },
    },
    {
        "model": "two-inputs",
        "inputs": {
            "signal": zeros("float32", 5, 2, 1),
            "ids": zeros("int32", 5, 2),
            "gain": zeros("float32", 1),
        },
    },
    {"model": "strided", "input": zeros("float32", 2, 2, 3)},
    {"model": "strided", "input": zeros("float32", 2, 3, 2)},
    {"model": "gru", "step": zeros("float32", 4)},
    {"model": "gru", "step": zeros("float32", 2, 3)},
    {"model": "gru", "step": zeros("float32", 1, 4)},
    {"model": "gru", "step": zeros("float64", 1, 3)},
    {"model": "gru", "step": zeros("float32", 4, 2, 3)},
    {"model": "gru", "step": zeros("float32", 0, 1, 3)},
    {"model": "gru", "step": filled(float("nan"), 1, 3)},
    {"model": "gru", "step": filled(float("-inf"), 4, 1, 3)},
    {"model": "gru", "batch": 0},
    {"model": "gru", "batch": -3},
    {"model": "gru", "reset": [1]},
    {"model": "gru", "set_state": [zeros("float32", 1, 2, 4)]},
    {"model": "bidirectional", "batch": 1},
    {"model": "stateless", "batch": 1},
    {"model": "gru", "constants": {"sr": 1}},
    {"model": "gru", "constants": {"input": X}},
    {"model": "two-inputs", "constants": {"gain": zeros("float32", 2)}},
    {"model": "two-inputs", "constants": {"gain": zeros("float64", 1)}},
    {"model": "two-inputs", "constants": {"gain": filled(float("inf"), 1)}},
    {"model": "two-inputs", "constants": {"ids": zeros("int64", 1, 1)}},
    {
        "model": "two-inputs",
        "constants": {"gain": zeros("float32", 1)},
        "steps": {"signal": zeros("float32", 1, 1), "gain": zeros("float32", 1)},
    },
    {"model": "gru", "pool": {"capacity": 0}, "frames": []},
    {"model": "bidirectional", "pool": {}, "frames": []},
    {"model": "gru", "pool": {"constants": {"input": X}}, "frames": []},
    {"model": "two-inputs", "pool": {}, "frames": []},
    {"model": "gru", "pool": {"capacity": 2}, "frames": [zeros("float32", 3)] * 3},
    {"model": "gru", "pool": {}, "frames": [zeros("float32", 1, 1, 3)]},
    {"model": "gru", "pool": {}, "frames": [zeros("float32", 0, 3)]},
    {"model": "gru", "pool": {}, "frames": [zeros("float32", 4), zeros("float64", 3)]},
    {"model": "gru", "pool": {}, "frames": [zeros("float32", 3), filled(float("nan"), 2, 3)]},
    {"model": "gru", "pool": {}, "frames": [zeros("float32", 3)], "closed": 0},
    {"model": "gru", "pool": {}, "frames": [], "closed": 5},
]
EMPTY_BATCHES = {"gru": [5, 0, 3], "lstm": [0, 5, 3], "bidirectional": [5, 0, 3]}
AXES: list[tuple[str, dict[str, int]]] = [
    *[("time", {"time": 3}), ("time", {}), ("(time - 1)//2 + 1", {"time": 6})],
    *[("-time//2", {"time": 5}), ("-time % 3", {"time": 5}), ("-2**2", {}), ("2**3**2", {})],
    *[("2**-1", {}), ("10**40", {}), ("(-1)**99999999999", {}), ("1**99999999999", {})],
    *[("time**99999999", {"time": 2}), ("1//0", {}), ("time + ", {"time": 1}), ("a.b", {"a": 1})],
    *[("2 * (time + pad) - 1", {"time": 3, "pad": 4}), ("--time", {"time": 2}), ("", {})],
    *[("4611686018427387904 + 1", {}), ("07", {}), ("3 time", {"time": 1}), ("1 - 2 - 3", {})],
    *[("(" * 150 + "1" + ")" * 150, {}), ("t" * 1001, {}), ("7//2*2", {}), ("9 %4* 2", {})],
]


HALVES = [
    *[0.0, -0.0, 1.0, 1 / 3, 65504.0, 65519.0, 65520.0, 1e9, -1e9, float("inf"), 2**-14, 2**-24],
    *[2**-25, 2**-25 * 1.5, 2**-26, 1 + 2**-11, 1 + 3 * 2**-11, 2047.5, 2048.5, 2049.5, -6e-5],
    *[0.1, 0.2, 0.3, 5.96e-8, 8.9e-8, 6.1e-5, 1023.75, 4097.0, 33000.5, -1e-7],
]
CONVERSIONS = [
    *[("float64", ["0.5", "-2.75", "1e300", "300.0"], to) for to in ("float32", "bool")],
    *[("float32", ["0.5", "-2.75", "100.0"], to) for to in ("int8", "int32", "int64", "float64")],
    *[("int64", ["0", "-1", "9007199254740993"], to) for to in ("float64", "int32", "uint8")],
    *[("int64", ["0", "-1", "1099511627777"], to) for to in ("bool", "uint64", "float32")],
    *[("uint64", ["0", "18446744073709551615"], to) for to in ("int64", "uint32", "float32")],
    *[("bool", ["0", "1"], to) for to in ("float32", "int64", "float16")],
    *[("float16", ["0.5", "-2.75", "100.0"], to) for to in ("float32", "int64", "int16", "bool")],
]
"""Values that numpy defines the conversion of."""


def _conversions() -> list[dict[str, Any]]:
    found = []
    for source, texts, to in CONVERSIONS:
        read = float if "float" in source else int
        array = np.array([read(text) for text in texts], source)
        with np.errstate(over="ignore"):
            made = array.astype(to)
        expected = made.view(np.uint16) if to == "float16" else made
        given = array.view(np.uint16) if source == "float16" else array
        values = [[str(value) for value in part.tolist()] for part in (given, expected)]
        found.append({"from": source, "to": to, "given": values[0], "expected": values[1]})
    return found


def _halves() -> list[list[str]]:
    with np.errstate(over="ignore"):
        bits = np.array(HALVES, np.float64).astype(np.float16).view(np.uint16)
    return [[str(value), str(one)] for value, one in zip(HALVES, bits.tolist(), strict=True)]


def _array(about: Any) -> Any:
    if not isinstance(about, dict):
        return about
    array = np.zeros(about["shape"], about["dtype"])
    if "second" in about:
        array.reshape(-1)[min(1, array.size - 1)] = float(about["second"])
    return array


def _arrays(abouts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _array(about) for name, about in abouts.items()}


def _call(session: Session, case: Mapping[str, Any]) -> None:
    """Make the call that a case describes."""
    if "input" in case or "inputs" in case:
        data = _array(case["input"]) if "input" in case else _arrays(case["inputs"])
        state: Any = [_array(item) for item in case["state"]] if "state" in case else None
        state = _arrays(case["states"]) if "states" in case else state
        session.run(data, lengths=case.get("lengths"), state=state)
        return
    if "pool" in case:
        _step_pool(session, case)
        return
    constants = _arrays(case["constants"]) if "constants" in case else None
    stream = session.stream(case.get("batch", 1), constants=constants)
    if "reset" in case:
        stream.reset(case["reset"])
    elif "set_state" in case:
        stream.state = tuple(_array(item) for item in case["set_state"])
    else:
        stream.step(_array(case["step"]) if "step" in case else _arrays(case["steps"]))


def _step_pool(session: Session, case: Mapping[str, Any]) -> None:
    options = dict(case["pool"])
    if "constants" in options:
        options["constants"] = _arrays(options["constants"])
    pool = session.pool(**options)
    frames = {pool.open(): _array(frame) for frame in case["frames"]}
    if "closed" in case:
        pool.close(case["closed"])
    pool.step(frames)


def _refusals(sessions: Mapping[str, Session]) -> list[dict[str, Any]]:
    found = []
    for case in BAD_CALLS:
        try:
            _call(sessions[case["model"]], case)
        except RnnEdgeError as error:
            found.append({**case, "error": type(error).__name__, "message": str(error)})
        else:
            raise AssertionError(f"{case} is not refused")
    return found


def _streams(folder: Path, sessions: Mapping[str, Session]) -> dict[str, Any]:
    """Step each model, save its state, and step it once more."""
    found = {}
    for name in STREAMED:
        frames = np.random.default_rng(0).standard_normal((STEPS, BATCH, 3)).astype(np.float32)
        stream = sessions[name].stream(BATCH)
        outputs = [stream.step(frame) for frame in frames[:-1]]
        stream.save(folder / f"{name}.npz")
        outputs.append(stream.step(frames[-1]))
        found[name] = {
            "frames": frames.reshape(STEPS, -1).tolist(),
            "outputs": np.stack(outputs).reshape(STEPS, -1).astype(float).tolist(),  # type: ignore[arg-type]
        }
    return found


def _empty(sessions: Mapping[str, Session]) -> list[dict[str, Any]]:
    results = []
    for name, shape in EMPTY_BATCHES.items():
        outputs = sessions[name].run(np.zeros(shape, np.float32)).outputs
        shapes = {output: list(array.shape) for output, array in outputs.items()}
        results.append({"model": name, "shape": shape, "outputs": shapes})
    return results


def _contracts(text: str) -> list[dict[str, str]]:
    """Damage a contract in ways that no exporter does, and keep the message for each."""
    whole = json.loads(text)
    found = []
    for damaged in _damaged(text, whole):
        try:
            Contract.from_json(damaged)
        except RnnEdgeError as error:
            found.append({"text": damaged, "message": str(error)})
        else:
            raise AssertionError(f"{damaged} is taken")
    return found


def _damaged(text: str, whole: Mapping[str, Any]) -> Sequence[str]:
    def changed(path: str, value: Any) -> str:
        made = json.loads(text)
        *parents, last = path.split(".")
        place = made
        for part in parents:
            place = place[int(part) if part.isdigit() else part]
        place[int(last) if isinstance(place, list) else last] = value
        return json.dumps(made)

    def without(name: str) -> str:
        return json.dumps({key: value for key, value in whole.items() if key != name})

    nested: Any = {}
    for _ in range(60):
        nested = {"x": nested}
    return [
        *[without(name) for name in whole if name not in ("hindrances", "calibrated", "versions")],
        *[changed("format", value) for value in (0, 2, 99, -1)],
        *[changed("opset", value) for value in (0, "17", 1.5, 2**31, 10**30, True, None, [], {})],
        *[changed("dtype", value) for value in ("", 3, None, "a\nb", "\x1b[31m", "x" * 4001)],
        *[changed("hindrances", value) for value in ("no", [1], {"a": 1})],
        changed("versions", {"torch": 2}),
        changed("interface", []),
        changed("interface.inputs", {}),
        changed("interface.inputs.0", 4),
        changed("interface.inputs.0.name", "h_0"),
        changed("interface.inputs.0.dtype", "float33"),
        changed("interface.inputs.0.axes", [1] * 33),
        changed("interface.inputs.0.axes.0", -1),
        changed("interface.inputs.0.axes.0", 1.0),
        changed("interface.inputs.0.axes.0", "a\u202eb"),
        changed("interface.states.0.input", "nobody"),
        changed("interface.states.0.output", "nobody"),
        changed("interface.outputs.1.axes", [2, "batch", 4]),
        changed("interface.outputs.1.dtype", "float64"),
        changed("interface.lengths", "nobody"),
        changed("interface.arguments", 3),
        changed("interface.arguments", nested),
        changed("layers.0.cell", "qrnn"),
        changed("layers.0.bias", 1),
        changed("layers.0.bidirectional", "no"),
        text.replace('"opset"', '"opset":17,"opset"'),
        "[]",
        "3",
    ]


def export_models(folder: Path) -> None:
    """Write models, vectors and cases into `folder`."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    sessions = {}
    for name, write in MODELS.items():
        path = folder / f"{name}.onnx"
        model = write(path)
        rnnedge.validate(
            path, against=model, quick=True, isolated=False, golden=folder / name, force=True
        )
        path.unlink()
        sessions[name] = Session(folder / name / "model.onnx", engine="onnxruntime", threads=1)
    (entry,) = [
        item.value
        for item in onnx.load(folder / "gru" / "model.onnx").metadata_props
        if item.key == METADATA_KEY
    ]
    cases = {
        "models": list(MODELS),
        "refused": _refusals(sessions),
        "streams": _streams(folder, sessions),
        "decoders": decoder_cases(folder, sessions),
        "empty": _empty(sessions),
        "axes": [[axis, sizes, size_of(axis, sizes)] for axis, sizes in AXES],
        "conversions": _conversions(),
        "halves": _halves(),
        "contract": entry,
        "contracts": _contracts(entry),
    }
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")


if __name__ == "__main__":
    export_models(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
