"""What is fuzzed: for each kind of file whole ones, how they are changed, and who reads them."""

import io
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent / "runtime" / "helpers")]

import tiny_onnx  # noqa: E402
from tiny_models import Tiny  # noqa: E402

from rnnedge_runtime import Session  # noqa: E402
from rnnedge_runtime.contract import METADATA_KEY  # noqa: E402
from rnnedge_runtime.errors import StateError  # noqa: E402
from tests.fuzz import mutators as change  # noqa: E402

CELLS = ("rnn", "lstm", "gru")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        seeds: Makes whole files.
        mutate: Changes one.
        read: Reads a file at a path through a public function; raises what that raises.
    """

    seeds: Callable[[], list[bytes]]
    mutate: change.Mutate
    read: Callable[[Path], Any]


def _models() -> list[bytes]:
    whole = [Tiny(cell) for cell in CELLS] + [Tiny("lstm", batch_first=True, lengths=True)]
    foreign = [Tiny(cell).graph().content() for cell in CELLS]  # without a contract
    return [tiny.content for tiny in whole] + foreign


def _constant_models() -> list[bytes]:
    """Return models whose constants are computed when they are opened."""
    made = []
    for operator, inputs in (
        ("Div", {"a": [7], "b": [2]}),
        ("Expand", {"a": [1], "b": [4]}),
        ("Tile", {"a": [1], "b": [4]}),
        ("Mod", {"a": [7], "b": [2]}),
        ("Gather", {"a": [7, 8], "b": [1]}),
        ("Reshape", {"a": [7, 8], "b": [2]}),
    ):
        node = tiny_onnx.node(operator, list(inputs), ["y"])
        constants = {name: np.array(value, np.int64) for name, value in inputs.items()}
        output = tiny_onnx.value("y", "int64", [None])
        made.append(tiny_onnx.model([node], [], [output], constants))
    return made


_WORKERS: list[Any] = []


def _open_isolated(path: Path) -> None:
    """Open a model as `inspect`, `doctor` and `validate` do: in a process that may die."""
    from rnnedge_exporters.sandbox.session import IsolatedSession, Worker

    if not _WORKERS:
        _WORKERS.append(Worker(10.0))
    IsolatedSession(_WORKERS[0], path, threads=1, engine="onnxruntime")
    _WORKERS[0].call("close", str(path))  # or its next content would not be opened


def _contracts() -> list[bytes]:
    from rnnedge_runtime.onnx_file import parse_model

    return [parse_model(Tiny(cell).content).metadata[METADATA_KEY].encode() for cell in CELLS]


def _read_contract(path: Path) -> None:
    fields = change.fields_of(Tiny("lstm").content)
    entry = change.message_of([(1, 2, METADATA_KEY.encode()), (2, 2, path.read_bytes())])
    rest = [field for field in fields if field[0] != 14]
    Session(change.message_of([*rest, (14, 2, entry)]), threads=1, engine="onnxruntime")


def _saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _weights(cell: str) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](3, 4)
    return layer.state_dict()


def _npz() -> list[bytes]:
    return [_saved(**{n: w.numpy() for n, w in _weights(cell).items()}) for cell in CELLS]


def _pt() -> list[bytes]:
    import torch

    made = []
    for content in (_weights("lstm"), {"model": _weights("gru"), "epoch": 3, "lr": [0.1, 0.2]}):
        for new in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=new)
            made.append(file.getvalue())
    return made


def _mutate_pt(rng: Any, content: bytes) -> bytes:
    return (_ZIPPED_PICKLE if content.startswith(b"PK") else change.pickled)(rng, content)


def _safetensors() -> list[bytes]:
    from safetensors.torch import save

    return [save(dict(_weights(cell))) for cell in CELLS]


def _load_source(path: Path) -> None:
    from rnnedge.sources.load import load_source

    load_source(str(path))


_SPECS = (
    {"cell": "lstm", "input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True},
    {"cell": "rnn", "input_size": 3, "hidden_size": 4, "nonlinearity": "relu", "dropout": 0.5},
)


def _toml() -> list[bytes]:
    return ["\n".join(f"{k} = {json.dumps(v)}" for k, v in s.items()).encode() for s in _SPECS]


def _read_spec(path: Path) -> None:
    from rnnedge import RNNSpec

    RNNSpec.from_file(path)


_SESSION: list[Session] = []


def _session() -> Session:
    if not _SESSION:
        _SESSION.append(Session(Tiny("lstm").content, threads=1, engine="onnxruntime"))
    return _SESSION[0]


def _states() -> list[bytes]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            stream = _session().stream()
            for _ in range(number):
                stream.step(np.ones((1, 2), np.float32))
            stream.save(f"{folder}/s.npz")
            made.append(Path(folder, "s.npz").read_bytes())
    return made


def _load_state(path: Path) -> None:
    stream = _session().stream()
    before = stream.state
    try:
        stream.load(path)
    except StateError:
        assert all(np.array_equal(a, b) for a, b in zip(before, stream.state, strict=True))
        raise
    assert not any(np.isnan(array).any() for array in stream.state)


def _arrays() -> list[bytes]:
    made = []
    for array in (np.ones((3, 1, 2), np.float32), np.arange(6), np.zeros((0, 2))):
        file = io.BytesIO()
        np.save(file, array)
        made.append(file.getvalue())
    return [*made, _saved(input=np.ones((3, 1, 2), np.float32))]


def _run_arrays(path: Path) -> None:
    from rnnedge_runtime.array_file import read_arrays

    try:
        arrays = read_arrays(path)
    except ValueError as error:  # the caller of `read_arrays` names the file
        raise StateError(str(error)) from error
    _session().run(arrays)


def _mutate_arrays(rng: Any, content: bytes) -> bytes:
    return (_ZIPPED_NPY if content.startswith(b"PK") else change.npy)(rng, content)


def _golden() -> list[bytes]:
    """Return zip archives, which are unpacked for the reader."""
    from golden_files import write_vectors  # a helper of the runtime's tests

    made = []
    with tempfile.TemporaryDirectory() as folder:
        write_vectors(Path(folder), Tiny("lstm"))
        made.append(_packed(Path(folder)))
    return made


def _packed(folder: Path) -> bytes:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return file.getvalue()


def _mutate_part(rng: Any, content: bytes) -> bytes:
    return (change.json_text if content.lstrip().startswith(b"{") else change.protobuf)(
        rng, content
    )


def _read_golden(path: Path) -> None:
    import zipfile

    from rnnedge_runtime.errors import GoldenError
    from rnnedge_runtime.proof.golden import read_golden

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        except Exception as error:  # the archive is ours, and no format of the golden vectors
            raise GoldenError("not unpacked") from error
        read_golden(folder)


def _open_natively(path: Path) -> None:
    session = Session(path, threads=1, engine="native")
    sizes = {"time": 3, "batch": 2}
    inputs = {
        spec.name: np.ones([sizes.get(str(axis), axis) for axis in spec.axes], spec.dtype)
        for spec in session.interface.data_inputs
        if all(isinstance(axis, int) or axis in sizes for axis in spec.axes)
    }
    if all(array.nbytes < 1 << 20 for array in inputs.values()):
        session.run(inputs)


_SCORER: list[Any] = []


def _rows() -> list[bytes]:
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    return [_saved(input=x), _saved(input=x, id=np.array(["a", "b"]), lengths=np.array([2, 3]))]


def _tables() -> list[Any]:
    import pyarrow as pa

    steps = [[[1.0, 2.0]] * 3, [[3.0, 4.0]]]
    kinds = (pa.list_(pa.list_(pa.float32())), pa.large_list(pa.list_(pa.float32(), 2)))
    ids = (pa.array(["a", "b"]), pa.array(["a" * 20, "b" * 30], pa.string_view()))
    return [
        pa.table({"input": pa.array(steps, kind), "id": one})
        for kind, one in zip(kinds, ids, strict=True)
    ]


def _arrow() -> list[bytes]:
    import pyarrow as pa

    made = []
    for table in _tables():
        for write in (pa.ipc.new_file, pa.ipc.new_stream):
            file = io.BytesIO()
            with write(file, table.schema) as writer:
                writer.write_table(table)
            made.append(file.getvalue())
    return made


def _parquet() -> list[bytes]:
    import pyarrow.parquet as pq

    made = []
    for table in _tables():
        for compression in ("none", "zstd"):
            file = io.BytesIO()
            pq.write_table(table, file, compression=compression)
            made.append(file.getvalue())
    return made


def _score(path: Path) -> None:
    from rnnedge_runtime.scoring import Scorer
    from rnnedge_runtime.scoring.job import open_source

    if not _SCORER:
        _SCORER.append(Scorer(Tiny("gru").content, runtime="onnxruntime"))
    source = open_source(str(path), _SCORER[0], None)
    counts = [sum(group.rows for group in groups) for groups in source.groups()]
    _SCORER[0].schema(source.schema())
    for number, count in enumerate(counts):
        for _ in _SCORER[0].batches(source.read(number, 0, count)):
            pass


_ZIPPED_NPY = change.zipped(change.npy)
_ZIPPED_PICKLE = change.zipped(change.pickled)

KINDS: dict[str, Kind] = {
    "onnx": Kind(lambda: _models() + _constant_models(), change.protobuf, _open_isolated),
    "contract": Kind(_contracts, change.json_text, _read_contract),
    "npz": Kind(_npz, _ZIPPED_NPY, _load_source),
    "pt": Kind(_pt, _mutate_pt, _load_source),
    "safetensors": Kind(_safetensors, change.safetensors, _load_source),
    "toml": Kind(_toml, change.toml_text, _read_spec),
    "json": Kind(lambda: [json.dumps(s).encode() for s in _SPECS], change.json_text, _read_spec),
    "state": Kind(_states, _ZIPPED_NPY, _load_state),
    "golden": Kind(_golden, change.zipped(_mutate_part), _read_golden),
    "npy": Kind(_arrays, _mutate_arrays, _run_arrays),
    "rows": Kind(_rows, _ZIPPED_NPY, _score),
    "arrow": Kind(_arrow, change.arrow, _score),
    "parquet": Kind(_parquet, change.parquet, _score),
    "plan": Kind(_models, change.protobuf, _open_natively),
}
NEED_TORCH = {"npz", "pt", "safetensors", "toml", "json"}
NEED_PYARROW = {"rows", "arrow", "parquet"}
SUFFIXES = {"rows": ".npz", "contract": ".json", "state": ".npz", "golden": ".zip", "plan": ".onnx"}


def suffix_of(kind: str) -> str:
    """Return the suffix that a file of a kind has."""
    return SUFFIXES.get(kind, f".{kind}")
