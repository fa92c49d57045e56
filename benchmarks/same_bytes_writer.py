"""Writes the files, and runs the commands, that `same_bytes` compares; it runs at both commits.

Only what every commit has is imported: the public names of the three packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import itertools
import json
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import torch
from torch import Tensor, nn

import rnnedge
import rnnedge.cli
from rnnedge_runtime.contract import METADATA_KEY

Record: TypeAlias = dict[str, Any]
Case: TypeAlias = tuple[str, Callable[[Path], object]]
"""What to call a file, and what writes it."""
_CELLS = ("tanh", "relu", "lstm", "gru", "proj")
_VOLATILE = re.compile(
    r"seconds|_ms$|_us$|_per_second|^time|machine|version|peak|path|file$|^model$|sha256|bytes_now"
    r"|^date$|^command$|^memory$"
)
"""Keys of JSON whose values are other ones at each run."""


class Encoder(nn.Module):
    """A convolution, a bidirectional LSTM and a head, as in speech recognition."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 8, 3, padding=1)
        self.rnn = nn.LSTM(8, 12, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, time, 6] to log probabilities [batch, time, 5]."""
        features = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.head(self.rnn(features)[0]).log_softmax(-1)


class Detector(nn.Module):
    """A GRU in front of a linear layer, whose state can be lifted."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 10, batch_first=True)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, time, 6] to [batch, time, 2]."""
        return torch.sigmoid(self.head(self.rnn(x)[0]))


class Sentences(nn.Module):
    """An embedding, a packed LSTM, and the state at the end of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 7)
        self.rnn = nn.LSTM(7, 9, batch_first=True)
        self.head = nn.Linear(9, 3)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Map int64 [batch, time] and [batch] to [batch, 3]."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(words), lengths, batch_first=True, enforce_sorted=False
        )
        return self.head(self.rnn(packed)[1][0][-1])


class WithState(nn.Module):
    """An LSTM whose states are arguments and results of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, num_layers=2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map [time, batch, 4] and two states [2, batch, 6] to the output and the states."""
        y, (h_next, c_next) = self.rnn(x, (h, c))
        return y, h_next, c_next


class Stacked(nn.Module):
    """A tanh RNN, then a GRU on the reversed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.RNN(4, 8)
        self.second = nn.GRU(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Map [time, batch, 4] to [time, batch, 8]."""
        return self.second(self.first(x)[0].flip(0))[0]


_MODULES: dict[str, tuple[type[nn.Module], tuple[Tensor, ...]]] = {
    "encoder": (Encoder, (torch.ones(2, 5, 6),)),
    "detector": (Detector, (torch.ones(2, 5, 6),)),
    "sentences": (Sentences, (torch.ones(3, 5, dtype=torch.long), torch.tensor([5, 3, 2]))),
    "with_state": (WithState, (torch.ones(5, 2, 4), torch.zeros(2, 2, 6), torch.zeros(2, 2, 6))),
    "stacked": (Stacked, (torch.ones(5, 2, 4),)),
}
_WEIGHTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"quantize": "int8"},
    "int8_all": {"quantize": "int8:all"},
    "float16": {"dtype": "float16"},
}


def main() -> None:
    """Write everything, and a record of it to the path that the command line names first."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    record, tree = map(Path, sys.argv[1:])
    if not Path(rnnedge.__file__).resolve().is_relative_to(tree.resolve()):
        sys.exit(f"expected the packages of {tree}, got {rnnedge.__file__}")
    records: dict[str, Record] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, write in (*_layers(), *_modules(), *_onnx_files()):
            records[name] = _file(write)
        for name, arguments in _commands():
            records[name] = _command(arguments)
    record.write_text(json.dumps(records))


def _file(write: Callable[[Path], object]) -> Record:
    """Write a file, and return its digests, its contract and its operators."""
    path = Path("model.onnx")
    path.unlink(missing_ok=True)
    try:
        write(path)
    except rnnedge.RnnEdgeError as error:
        return {"error": str(error)}
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    contract = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), "null")
    model.ClearField("metadata_props")
    return {
        "bytes": hashlib.sha256(content).hexdigest(),
        "graph": hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        "operators": Counter(node.op_type for node in _nodes(model.graph)),
        "contract": json.loads(contract),
    }


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _export(model: nn.Module, path: Path, **options: Any) -> None:
    """Export without the comparison that some commits make first."""
    if "validate" in inspect.signature(rnnedge.export).parameters:
        options["validate"] = False
    rnnedge.export(model, path, **options)


def _layer(cell: str, **options: Any) -> nn.RNNBase:
    torch.manual_seed(7)
    sizes = options.pop("sizes", (3, 5))
    if cell in ("tanh", "relu"):
        return nn.RNN(*sizes, nonlinearity=cell, **options)
    if cell == "gru":
        return nn.GRU(*sizes, **options)
    return nn.LSTM(*sizes, proj_size=2 if cell == "proj" else 0, **options)


def _write_layer(path: Path, *, layer: dict[str, Any], options: dict[str, Any]) -> None:
    _export(_layer(**layer), path, **options)


def _layers() -> Iterator[Case]:
    """Yield every option of a layer in every lowering, then every target, dtype and size."""
    of_layer, of_export = ("bidirectional", "batch_first", "bias"), ("states", "lengths")
    flags = (*of_layer, *of_export)
    for cell, depth, lowering, *chosen in itertools.product(
        _CELLS, (1, 2, 3), ("operator", "scan", "switch"), *[(False, True)] * len(flags)
    ):
        given = dict(zip(flags, chosen, strict=True))
        words = [cell, str(depth), *(name for name, on in given.items() if on), lowering]
        layer = {name: given[name] for name in of_layer} | {"cell": cell, "num_layers": depth}
        options = {name: given[name] for name in of_export} | {"lowering": lowering}
        yield f"layer/{'-'.join(words)}", partial(_write_layer, layer=layer, options=options)
    for cell, weights, target, sizes, both in itertools.product(
        _CELLS, _WEIGHTS, ("cpu", "cuda", "portable"), ((3, 5), (40, 32), (24, 256)), (False, True)
    ):
        layer = {"cell": cell, "sizes": sizes, "bidirectional": both, "num_layers": 2}
        options = {"target": target, **_WEIGHTS[weights]}
        name = f"{cell}-{weights}-{target}-{sizes[0]}x{sizes[1]}-{_way(both=both)}"
        yield f"target/{name}", partial(_write_layer, layer=layer, options=options)


def _way(*, both: bool) -> str:
    return "bidirectional" if both else "forward"


def _write_module(path: Path, *, name: str, options: dict[str, Any]) -> None:
    kind, example = _MODULES[name]
    torch.manual_seed(7)
    _export(kind().eval(), path, example_inputs=example, **options)


def _modules() -> Iterator[Case]:
    """Yield the modules, with their states lifted where they can be, and left inside."""
    for name, weights, states in itertools.product(_MODULES, _WEIGHTS, (None, False)):
        options = {"states": states, **_WEIGHTS[weights]}
        kept = "states" if states is None else "no_states"
        write = partial(_write_module, name=name, options=options)
        yield f"module/{name}-{weights}-{kept}", write


def _write_from_onnx(path: Path, *, layer: dict[str, Any], options: dict[str, Any]) -> None:
    source = Path("source.onnx")
    _export(_layer(**layer), source, lowering="operator", states=False)
    model = onnx.load(source)
    model.ClearField("metadata_props")
    onnx.save(model, source)
    rnnedge.quantize(source, path, **({"quantize": None} | options))


def _onnx_files() -> Iterator[Case]:
    """Yield files without a contract, their weights then in fewer bits."""
    smaller = [name for name in _WEIGHTS if name != "float32"]
    for cell, weights, both in itertools.product(("tanh", "lstm", "gru"), smaller, (False, True)):
        layer = {"cell": cell, "sizes": (16, 32), "bidirectional": both}
        write = partial(_write_from_onnx, layer=layer, options=_WEIGHTS[weights])
        yield f"onnx/{cell}-{weights}-{_way(both=both)}", write


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Yield commands, after the files that they read are written."""
    for cell, name in itertools.product(("tanh", "lstm", "gru"), ("float32", "int8")):
        path = f"{cell}_{name}.onnx"
        _export(_layer(cell, sizes=(16, 32), batch_first=True), Path(path), **_WEIGHTS[name])
        kind = "rnn" if cell == "tanh" else cell
        layer = ["--cell", kind, "--input-size", "16", "--hidden-size", "32", "--batch-first"]
        yield f"json/inspect-{cell}-{name}", ["inspect", path, "--json"]
        yield f"json/doctor-{cell}-{name}", ["doctor", path, "--json"]
        yield f"json/export-{cell}-{name}", ["export", *layer, "-o", "again.onnx", "--json"]
    for name in ("encoder", "detector"):
        _write_module(Path(f"{name}.onnx"), name=name, options={})
        yield f"json/inspect-{name}", ["inspect", f"{name}.onnx", "--json"]
        yield f"json/doctor-{name}", ["doctor", f"{name}.onnx", "--json"]
    seeded = ["--cell", "lstm", "--input-size", "4", "--hidden-size", "6", "--seed", "3"]
    yield "json/export-seeded", ["export", *seeded, "-o", "seeded.onnx", "--json"]
    yield (
        "json/validate-same-seed",
        ["validate", "seeded.onnx", *seeded, "--quick", "--json"],
    )
    seeded[-1] = "4"
    yield (
        "json/validate-other-seed",
        ["validate", "seeded.onnx", *seeded, "--quick", "--json"],
    )


def _command(arguments: list[str]) -> Record:
    """Run a command in this process; its JSON without what is another at each run."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            rnnedge.cli.main(arguments)
        except SystemExit as stop:
            code = stop.code
    if not out.getvalue().strip().startswith("{"):
        return {"error": err.getvalue().strip() or out.getvalue().strip()}
    return {"json": {"exit code": code, "answer": _steady(json.loads(out.getvalue()))}}


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _steady(v) for k, v in value.items() if not _VOLATILE.search(k)}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return float(f"{value:.2g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
