"""Decoders for the tests of the JavaScript package, with what the Python runtime makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import RnnEdgeError, Session

SYMBOLS, HIDDEN, FEATURES = 9, 6, 3


class Speller(nn.Module):
    """Symbols with an axis of time, and a state that goes in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.gru = nn.Embedding(SYMBOLS, 5), nn.GRU(5, HIDDEN)
        self.head = nn.Linear(HIDDEN, SYMBOLS)

    def forward(self, symbol: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        out, h = self.gru(self.table(symbol), h)
        return 6 * self.head(out), h


class Attending(nn.Module):
    """One symbol a row, and a memory that stays the same."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.cell = nn.Embedding(SYMBOLS, HIDDEN), nn.GRUCell(2 * HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, SYMBOLS)

    def forward(self, symbol: Tensor, memory: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.softmax((memory * h[:, None]).sum(-1), 1)
        context = (memory * weights[:, :, None]).sum(1)
        h = self.cell(torch.cat([self.table(symbol), context], -1), h)
        return 6 * self.head(h), h


class Transducer(nn.Module):
    """Predictor and joint network, both with axes of time."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(SYMBOLS, 5)
        self.predictor = nn.LSTM(5, HIDDEN, batch_first=True)
        self.joint, self.head = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, SYMBOLS)

    def forward(self, frame: Tensor, symbol: Tensor) -> Tensor:
        predicted, _ = self.predictor(self.table(symbol))
        out: Tensor = 6 * self.head(torch.tanh(self.joint(frame) + predicted))
        return out


def write_speller(path: Path) -> None:
    """Export a decoder of symbols [time, batch]."""
    example = (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(1, 2, HIDDEN))
    axes = {"symbol": {0: "time", 1: "batch"}, "h": {1: "batch"}}
    rnnedge.export(
        Speller().eval(), path, example_inputs=example, dynamic_axes=axes, validate=False
    )


def _attending(path: Path) -> None:
    example = (
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, 4, HIDDEN),
        torch.zeros(2, HIDDEN),
    )
    axes = {"symbol": {0: "batch"}, "memory": {0: "batch", 1: "source"}, "h": {0: "batch"}}
    rnnedge.export(
        Attending().eval(),
        path,
        example_inputs=example,
        dynamic_axes=axes,
        states={"h_out": "h"},
        validate=False,
    )


def _transducer(path: Path) -> None:
    example = (torch.zeros(2, 3, FEATURES), torch.zeros(2, 3, dtype=torch.int64))
    axes = {name: {0: "batch", 1: "time"} for name in ("frame", "symbol")}
    rnnedge.export(
        Transducer().eval(), path, example_inputs=example, dynamic_axes=axes, validate=False
    )


DECODERS: dict[str, Callable[[Path], None]] = {
    "speller": write_speller,
    "attending": _attending,
    "transducer": _transducer,
}
ROWS: dict[str, Any] = {"random": [1, 3, HIDDEN]}
MEMORY: dict[str, Any] = {"memory": {"random": [3, 4, HIDDEN]}}
FRAMES: dict[str, Any] = {"random": [3, 8, FEATURES]}
CALLS: list[dict[str, Any]] = [
    {"model": "speller", "start": 1, "max_steps": 7},
    {"model": "speller", "start": [1, 2, 3], "stop": 4, "max_steps": 12},
    {"model": "speller", "start": [[1, 2], [3, 4]], "stop": [0, 5, 7], "max_steps": 12},
    {"model": "speller", "start": 2, "stop": 4, "max_steps": 9, "state": [ROWS]},
    {"model": "speller", "start": 2, "stop": 4, "max_steps": 9, "state": [ROWS], "beam": 4},
    {"model": "speller", "start": [0, 1, 2], "stop": [3, 4], "max_steps": 9, "beam": 12},
    {
        "model": "speller",
        "start": [[0, 1], [5, 2]],
        "stop": [3, 4],
        "max_steps": 9,
        "beam": 3,
        "length_penalty": 0.7,
    },
    {"model": "attending", "start": 1, "stop": 0, "max_steps": 9, "inputs": MEMORY},
    {"model": "attending", "start": 1, "stop": 0, "max_steps": 9, "inputs": MEMORY, "beam": 3},
    {"model": "transducer", "frames": FRAMES, "blank": 4},
    {"model": "transducer", "frames": FRAMES, "blank": 6, "lengths": [8, 0, 5], "max_symbols": 2},
    {"model": "transducer", "frames": FRAMES, "blank": 3, "start": [1, 2, 4], "max_symbols": 1},
]
BAD_CALLS: list[dict[str, Any]] = [
    {"model": "speller", "start": 1, "max_steps": 0},
    {"model": "speller", "start": 1, "max_steps": 3, "beam": 0},
    {"model": "speller", "start": 1, "stop": 9, "max_steps": 3},
    {"model": "speller", "start": 1, "stop": -1, "max_steps": 3},
    {"model": "speller", "start": 1, "max_steps": 3, "symbol": "h"},
    {"model": "speller", "start": 1, "max_steps": 3, "logits": "h_out"},
    {"model": "speller", "start": [1, 2], "max_steps": 3, "state": [ROWS]},
    {"model": "speller", "start": 1, "max_steps": 3, "inputs": {"gain": ROWS}},
    {"model": "attending", "start": [1, 2], "max_steps": 3, "inputs": MEMORY},
    {"model": "gru", "start": 1, "max_steps": 3},
    {"model": "bidirectional", "start": 1, "max_steps": 3},
    {"model": "transducer", "frames": FRAMES, "blank": 9},
    {"model": "transducer", "frames": FRAMES, "blank": 0, "max_symbols": 0},
    {"model": "transducer", "frames": FRAMES, "blank": 0, "start": [1, 2]},
    {"model": "transducer", "frames": FRAMES, "blank": 0, "lengths": [9, 1, 1]},
    {"model": "transducer", "frames": {"random": [3, 8, 4]}, "blank": 0},
    {"model": "transducer", "frames": {"random": [8, 3]}, "blank": 0},
    {"model": "transducer", "frames": FRAMES, "blank": 0, "frame": "symbol"},
    {"model": "speller", "frames": FRAMES, "blank": 0},
]
"""Calls that are refused before the engine runs, in words that hold no value of the caller's."""


def _array(about: Mapping[str, Any]) -> Any:
    return np.random.default_rng(0).standard_normal(about["random"]).astype(np.float32)


def _call(session: Session, case: Mapping[str, Any]) -> Any:
    options = {name: value for name, value in case.items() if name != "model"}
    if "state" in options:
        options["state"] = [_array(about) for about in options["state"]]
    if "inputs" in options:
        options["inputs"] = {name: _array(about) for name, about in options["inputs"].items()}
    if "frames" in options:
        return session.transduce(_array(options.pop("frames")), options.pop("blank"), **options)
    return session.decode(
        options.pop("start"), options.pop("stop", None), options.pop("max_steps"), **options
    )


def decoder_cases(folder: Path, sessions: Mapping[str, Session]) -> dict[str, Any]:
    """Write decoders into `folder`, each in its own, and return what Python decodes and refuses."""
    torch.manual_seed(2)
    opened = dict(sessions)
    for name, write in DECODERS.items():
        (folder / name).mkdir(exist_ok=True)
        write(folder / name / "model.onnx")
        opened[name] = Session(folder / name / "model.onnx", engine="onnxruntime", threads=1)
    return {
        "numbers": {
            str(shape): _array({"random": shape}).astype(float).ravel().tolist()
            for shape in ([1, 3, HIDDEN], [3, 4, HIDDEN], [3, 8, FEATURES], [3, 8, 4], [8, 3])
        },
        "decoded": [_decoded(opened[case["model"]], case) for case in CALLS],
        "refused": [_refused(opened[case["model"]], case) for case in BAD_CALLS],
    }


def _decoded(session: Session, case: dict[str, Any]) -> dict[str, Any]:
    hypotheses = [
        [
            {
                "tokens": list(one.tokens),
                "score": one.score,
                "finished": bool(one.finished),
                "frames": list(one.frames),
            }
            for one in row
        ]
        for row in _call(session, case).hypotheses
    ]
    return {**case, "hypotheses": hypotheses}


def _refused(session: Session, case: dict[str, Any]) -> dict[str, Any]:
    try:
        _call(session, case)
    except RnnEdgeError as error:
        return {**case, "error": type(error).__name__, "message": str(error)}
    raise AssertionError(f"{case} is not refused")
