"""`rnnedge tune`: what it prints, and what it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from commands import Done
from torch import nn

import rnnedge
from rnnedge_runtime import Session

FAST = ("--shape", "2x1", "--shape", "3x2", "--threads", "1", "--seconds", "0.001")
GRU = ("--cell", "gru", "--input-size", "3", "--hidden-size", "4")
USER = """
import torch
from torch import nn

class User(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.RNN(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0])
"""


@pytest.fixture
def user(rnn: Callable[..., Done], request: pytest.FixtureRequest) -> str:
    """A SOURCE with a module of the user's own, in the working folder."""
    name = f"user_{abs(hash(request.node.name))}"
    Path(f"{name}.py").write_text(USER)
    return f"{name}:User"


def test_table(rnn: Callable[..., Done]) -> None:
    done = rnn("tune", *GRU, "-o", "best.onnx", *FAST)
    assert (done.code, done.err) == (0, "")
    for words in ("2x1 ms", "3x2 ms", "geometric mean ms", "default", "best", "its own"):
        assert words in done.out
    *_, speed, written, last = done.out.splitlines()
    assert " times as fast as without tuning (" in speed
    sha256 = hashlib.sha256(Path("best.onnx").read_bytes()).hexdigest()
    assert written == f"wrote best.onnx (sha256 {sha256[:12]})"
    assert last == "open it with Session('best.onnx', threads=1)"


def test_json(rnn: Callable[..., Done]) -> None:
    values = rnn("tune", *GRU, "-o", "best.onnx", *FAST, "--json").json
    assert values["written"] == "best.onnx"
    assert values["threads"] == 1
    contract = Session("best.onnx").contract
    assert contract is not None
    assert values["lowering"] == contract.layers[0].lowering


def test_times_and_batches(rnn: Callable[..., Done]) -> None:
    given = ("--time", "2", "--batch", "1", "--batch", "3", "--threads", "1", "--seconds", "0.001")
    values = rnn("tune", *GRU, "-o", "best.onnx", *given, "--json").json
    assert values["shapes"] == [{"time": 2, "batch": 1}, {"time": 2, "batch": 3}]


def test_checkpoint(rnn: Callable[..., Done], model: Path, layer: nn.GRU) -> None:
    assert rnn("tune", "w.pt", "-o", "best.onnx", "--lengths", *FAST).code == 0
    assert rnnedge.validate("best.onnx", against=layer, quick=True)
    assert Session("best.onnx").interface.lengths == "lengths"


def test_module(rnn: Callable[..., Done], user: str) -> None:
    given = ("--input", "x=float32[batch,time,3]", "-o", "best.onnx")
    assert rnn("tune", user, *given, *FAST).code == 0
    assert Session("best.onnx").interface.data_inputs[0].axes == ("batch", "time", 3)


@pytest.mark.parametrize(
    "options",
    [{"lengths": True}, {"states": False}, {"opset": 21}, {"target": "portable"}],
    ids=["lengths", "states", "opset", "target"],
)
def test_model_tells_the_options(
    options: dict[str, object], rnn: Callable[..., Done], layer: nn.GRU, model: Path
) -> None:
    rnnedge.export(layer, "model.onnx", **options)  # type: ignore[arg-type]
    assert rnn("tune", "model.onnx", "--against", "w.pt", "-o", "best.onnx", *FAST).code == 0
    before, after = Session("model.onnx").contract, Session("best.onnx").contract
    assert before is not None
    assert after is not None
    assert (after.interface, after.opset, after.target) == (
        *(before.interface, before.opset, before.target),
    )


def test_model_of_a_module_tells_its_inputs(rnn: Callable[..., Done], user: str) -> None:
    rnn("export", user, "--input", "x=float32[batch,time,3]", "-o", "model.onnx", "--no-validate")
    assert rnn("tune", "model.onnx", "--against", user, "-o", "best.onnx", *FAST).code == 0
    before, after = Session("model.onnx").contract, Session("best.onnx").contract
    assert before is not None
    assert after is not None
    assert after.interface == before.interface


def test_source_that_is_not_the_models(rnn: Callable[..., Done], model: Path) -> None:
    torch.save(nn.GRU(3, 4).state_dict(), "other.pt")
    done = rnn("tune", "model.onnx", "--against", "other.pt", "-o", "best.onnx", *FAST)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("rnnedge: other.pt gru(3->4): its weights are not those of")
    assert not Path("best.onnx").exists()


@pytest.mark.parametrize(
    ("options", "words"), [(("--quantize", "int8"), "int8"), (("--dtype", "float16"), "float16")]
)
def test_model_with_other_weights(
    options: tuple[str, ...], words: str, rnn: Callable[..., Done]
) -> None:
    rnn("export", *GRU, *options, "-o", "small.onnx")
    done = rnn("tune", "small.onnx", *GRU, "-o", "best.onnx", *FAST)
    assert done.code == 1
    assert (
        f"small.onnx: expected float32 weights, got {words}; which layers were kept in" in done.err
    )


def test_model_of_others(rnn: Callable[..., Done], model: Path) -> None:
    proto = onnx.load("model.onnx")
    del proto.metadata_props[:]
    onnx.save(proto, "theirs.onnx")
    done = rnn("tune", "theirs.onnx", "--against", "w.pt", "-o", "best.onnx", *FAST)
    assert done.code == 1
    assert done.err.startswith("rnnedge: theirs.onnx: rnnedge did not export this model")


WRONG = {
    "no_output": ("w.pt", "Missing option '-o'"),
    "source": ("w.pt --against w.pt -o b.onnx", "--against requires a MODEL"),
    "told": (
        "model.onnx --against w.pt --lengths -o b.onnx",
        "model.onnx determines how it is exported",
    ),
    "shape": ("w.pt --shape 3x0 -o b.onnx", "Invalid value for '--shape'"),
    "threads": ("w.pt --threads 0 -o b.onnx", "Invalid value for '--threads'"),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_wrong_usage(given: str, words: str, rnn: Callable[..., Done]) -> None:
    done = rnn("tune", *given.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"rnnedge: {words}")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no.pt -o b.onnx", "no.pt: expected a checkpoint, found no such file"),
        ("w.pt -o no/b.onnx", "no/b.onnx: expected an existing folder"),
    ],
    ids=["missing", "folder"],
)
def test_refused(given: str, words: str, rnn: Callable[..., Done], model: Path) -> None:
    done = rnn("tune", *given.split(), *FAST)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"rnnedge: {words}")
    assert len(done.err.splitlines()) == 1
