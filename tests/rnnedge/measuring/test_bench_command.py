"""`rnnedge bench`: what it prints, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Done

FAST = ("--time", "2", "--time", "3", "--batch", "1", "--count", "2")
GRU = ("--cell", "gru", "--input-size", "3", "--hidden-size", "4")
pytestmark = pytest.mark.usefixtures("model")


def test_tables(rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *FAST, "--rate", "50")
    assert (done.code, done.err) == (0, "")
    for words in (
        *("model.onnx, cpu, 1 thread(s)", "p99.9 ms", "max ms", "CPU ms", "us/step", "GFLOP/s"),
        *("of peak", "real-time factor", "a signal of 50 steps a second", "memory: ", "machine: "),
        *("bytes of weights are read", "GFLOP/s in a large float32 MatMul, 1 thread(s)"),
    ):
        assert words in done.out


def test_tables_fit_a_pipe(rnn: Callable[..., Done]) -> None:
    out = rnn("bench", "model.onnx", *FAST, "--against", "w.pt", "--rate", "5").out
    assert out.isascii()
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 3 * 3
    assert max(map(len, rows)) < 120


def test_shapes_instead_of_times_and_batches(rnn: Callable[..., Done]) -> None:
    given = ("--shape", "2x3", "--shape", "4x1", "--shape", "2x3")
    values = rnn("bench", "model.onnx", *given, "--count", "1", "--json").json
    assert [(row["time"], row["batch"]) for row in values["shapes"]] == [(2, 3), (4, 1)]


def test_stream(rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", "--stream", "--rate", "100", "--count", "20")
    assert (done.code, done.err) == (0, "")
    assert "steps of one in a stream, 100 frames a second" in done.out
    assert "frames missed" in done.out


def test_stream_as_json(rnn: Callable[..., Done]) -> None:
    given = ("--stream", "--batch", "1", "--batch", "2", "--count", "20", "--json")
    values = rnn("bench", "model.onnx", *given).json
    assert [row["batch"] for row in values["streams"]] == [1, 2]
    assert values["streams"][0]["missed_share"] is None
    assert values["shapes"] == []


OPTIONS = ("--no-spinning", "--no-arena", "--session-option", "session.disable_prepacking=1")
KINDS = {"shapes": FAST, "stream": ("--stream", "--count", "2")}
SIDES = {**KINDS, "beside": (*FAST, "--against", "w.pt")}


@pytest.mark.parametrize("kind", SIDES.values(), ids=SIDES)
def test_options_of_the_session_are_recorded(
    kind: tuple[str, ...], rnn: Callable[..., Done]
) -> None:
    assert rnn("bench", "model.onnx", *kind, *OPTIONS, "--json").json["options"] == {
        "threads": 1,
        "spinning": False,
        "arena": False,
        "memory_pattern": False,
        "tf32": False,
        "entries": {"session.disable_prepacking": "1"},
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_options_of_the_session_are_in_the_title(
    kind: tuple[str, ...], rnn: Callable[..., Done]
) -> None:
    words = "1 thread(s), no spinning, no arena, session.disable_prepacking=1"
    out = rnn("bench", "model.onnx", *kind, *OPTIONS).out
    assert words in " ".join(out.split())  # a title is as wide as its table


@pytest.mark.parametrize("kind", SIDES.values(), ids=SIDES)
def test_wrong_option_of_the_session(kind: tuple[str, ...], rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *kind, "--session-option", "session.disable_prepaking=1")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "rnnedge: options: this ONNX Runtime has no session entry "
        "'session.disable_prepaking'; did you mean 'session.disable_prepacking'?"
    ]


def test_source_without_peers_is_pytorch(rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *FAST, "--against", "w.pt")
    assert "torch ms" in done.out
    assert "torch: PyTorch " in done.out


def test_peers(rnn: Callable[..., Done]) -> None:
    given = ("--against", "w.pt", "--beside", "torchscript, torch,torch")
    row = rnn("bench", "model.onnx", *FAST, *given, "--json").json["shapes"][0]
    assert list(row["latency"]) == ["rnnedge", "torchscript", "torch"]
    assert set(row["ratio"]) == {"torchscript", "torch"}
    assert row["not_timed"] == {}


def test_reason_is_said_once_for_all_shapes(
    rnn: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnedge.measuring import peers

    def refuse(task: object) -> None:
        raise peers.PeerError("no such operator")

    monkeypatch.setattr(peers, "PEERS", {"torch": refuse})
    done = rnn("bench", "model.onnx", *FAST, "--against", "w.pt")
    assert done.code == 0
    assert (
        "torch: not timed at time 2, batch 1 and 1 more: no such operator" in done.out.splitlines()
    )


def test_another_source_is_a_difference(rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *FAST, *GRU, "--seed", "5")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("rnnedge: model.onnx does not compute what gru(3->4) computes, at ")
    assert len(done.err.splitlines()) == 1


def test_source_that_is_another_module(rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *FAST, "--against", "torch.nn:Identity")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(
        "rnnedge: model.onnx does not compute what torch.nn:Identity computes, at time 2, batch 1: "
        "h_n: the source has no such output; "
    )


def test_baseline(rnn: Callable[..., Done]) -> None:
    Path("old.json").write_text(rnn("bench", "model.onnx", *FAST, "--json").out)
    assert "than earlier" in rnn("bench", "model.onnx", *FAST, "--baseline", "old.json").out
    given = ("--time", "3", "--batch", "1", "--count", "1", "--baseline", "old.json", "--json")
    compared = rnn("bench", "model.onnx", *given).json["compared"]
    assert [(row["time"], row["batch"]) for row in compared["speeds"]] == [(3, 1)]
    assert compared["speeds"][0]["speed"] > 0


def test_baseline_that_does_not_serve_is_said_before_anything_is_measured(
    rnn: Callable[..., Done],
) -> None:
    Path("old.json").write_text(rnn("bench", "model.onnx", *FAST, "--json").out)
    done = rnn("bench", "no.onnx", "--time", "9", "--baseline", "old.json")
    assert done.code == 1
    assert done.err.startswith("rnnedge: old.json: no shape of it is measured now")


def test_plot(rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *FAST, "--plot", "latency.png")
    assert done.out.splitlines()[-1] == "wrote latency.png"
    assert Path("latency.png").read_bytes().startswith(b"\x89PNG")


WRONG = {
    "peer": ("--beside onnx", "Invalid value for '--beside': expected a .onnx file or some of"),
    "no_source": (
        "--beside torch",
        "--beside torch, torchscript and openvino run a source: --against",
    ),
    "both": ("--count 3 --seconds 1", "--count cannot be combined with --seconds"),
    "shape": ("--shape 3", "Invalid value for '--shape': 3: expected steps and rows"),
    "shapes": ("--shape 3x1 --time 3", "--shape cannot be combined with --time or --batch"),
    "stream": ("--stream --time 3", "--stream cannot be combined with --time"),
    "stream_beside": ("--stream --against w.pt", "--stream cannot be combined with --time"),
    "rate": ("--rate 0", "Invalid value for '--rate'"),
    "count": ("--count 0", "Invalid value for '--count'"),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_wrong_usage(given: str, words: str, rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *given.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"rnnedge: {words}")
    assert len(done.err.splitlines()) == 1


REFUSED = {
    "device": (
        "--against w.pt --device auto",
        "--against, --beside: require --device cpu, got auto",
    ),
    "plot": ("--plot a.jpg", "a.jpg: expected a name that ends in .png, .svg or .pdf"),
    "baseline": ("--baseline no.json", "no.json: expected what rnnedge bench --json printed"),
    "source": ("--against no.pt", "no.pt: expected a checkpoint, found no such file"),
}


@pytest.mark.parametrize(("given", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(given: str, words: str, rnn: Callable[..., Done]) -> None:
    done = rnn("bench", "model.onnx", *given.split())
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"rnnedge: {words}")
    assert len(done.err.splitlines()) == 1
