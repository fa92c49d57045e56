"""`python -m rnnedge_runtime info|check|bench`, as an app developer runs it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny, silero_style

from rnnedge_runtime import __main__
from rnnedge_runtime.contract import TensorSpec

COMMANDS = ["info", "check", "bench"]
LSTM = Tiny("lstm", lengths=True)
QUICK = {"bench": ["--time", "1", "3", "--batch", "2", "--seconds", "0.01"]}


def promising_another_width():
    wide = TensorSpec("output", "float32", ("time", "batch", 4))
    return LSTM.promising(outputs=(wide, *LSTM.interface.outputs[1:]))


def sideways():
    graph = LSTM.graph()
    next(node for node in graph.nodes if node[0] == "LSTM")[3]["direction"] = "sideways"
    return graph.content(LSTM.contract)


FILES = {
    "lstm": LSTM.content,
    "foreign": Tiny("gru").graph().content(),
    "silero": silero_style()[1],
    "both-directions": Tiny("gru", bidirectional=True).content,
    "wrong-width": promising_another_width(),
    "sideways": sideways(),
    "text": b"this is not a model",
    "newer": LSTM.graph().content(replace(LSTM.contract, format=2)),
    "damaged": LSTM.graph().content("{"),
}


@pytest.fixture
def run(python, tmp_path):
    """Run a command on the model of that name in `FILES`."""

    def run(command, name, *options):
        path = tmp_path / f"{name}.onnx"
        if name in FILES:
            path.write_bytes(FILES[name])
        more = QUICK.get(command, [])
        return python("-m", "rnnedge_runtime", command, path.name, *more, *options)

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["lstm", "foreign"])
def test_a_good_model_exits_with_0_and_a_silent_stderr(run, command, name):
    done = run(command, name)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_that_describes_the_machine(run, command):
    answer = json.loads(run(command, "lstm", "--json").stdout)
    assert set(answer["machine"]) == {
        "engine",
        "platform",
        "processor",
        "cpu",
        "cores",
        "byte_order",
        "python",
        "numpy",
        "onnxruntime",
        "rnnedge_runtime",
        "device",
    }
    assert answer["machine"]["numpy"] == np.__version__


def info_lines(done):
    """Return what `info` printed, but for the nodes and the reason, which depend on the engine."""
    lines = [line for line in done.stdout.splitlines() if not line.startswith("nodes ")]
    return [line.partition(":")[0] if line.startswith("engine ") else line for line in lines]


def test_info(run):
    assert info_lines(run("info", "lstm")) == [
        "model    lstm.onnx",
        "device   cpu",
        "engine   onnxruntime",
        "input    input float32[time, batch, 2]",
        "input    lengths int64[batch]",
        "input    h_0 float32[1, batch, 3]",
        "input    c_0 float32[1, batch, 3]",
        "output   output float32[time, batch, 3]",
        "output   h_n float32[1, batch, 3]",
        "output   c_n float32[1, batch, 3]",
        "state    h_n -> h_0",
        "state    c_n -> c_0",
        "stream   bytes of state for a row: 24",
        "stream   delay 0 step(s)",
        "layer    lstm 2->3 1 layer(s), lowering operator",
        "contract format 1, target cpu, quantization none",
        f"weights  float32, {LSTM.contract.weights_digest}",
        "opset    17",
        "made by  rnnedge 0.1.0",
    ]


def test_info_without_a_contract(run):
    assert info_lines(run("info", "silero")) == [
        "model    silero.onnx",
        "device   cpu",
        "engine   onnxruntime",
        "input    input float32[batch, 4]",
        "input    state float32[2, batch, 3]",
        "input    sr int64[]",
        "output   output float32[batch, 3]",
        "output   stateN float32[2, batch, 3]",
        "state    stateN -> state",
        "stream   bytes of state for a row: 24",
        "stream   delay 0 step(s), if it does not read ahead: there is no contract that says so",
        "contract none: rnnedge did not export this model",
    ]


def test_info_says_why_a_model_cannot_be_streamed(run):
    assert (
        "stream   not possible: the layer is bidirectional\n"
        in run("info", "both-directions").stdout
    )


def test_info_names_the_options_that_are_not_the_default(run):
    given = ("--no-spinning", "--session-option", "session.disable_prepacking=1", "--no-arena")
    words = "no spinning, no arena, session.disable_prepacking=1"
    assert f"\ndevice   cpu, {words}\n" in run("info", "lstm", *given).stdout


def test_info_as_json_holds_what_the_session_tells(run):
    told = json.loads(run("info", "lstm", "--memory-pattern", "--json").stdout)["session"]
    assert told["options"]["memory_pattern"] is True
    assert (told["state_bytes"], told["delay"], told["hindrances"]) == (24, 0, [])
    assert (told["device"], told["providers"]) == ("cpu", ["CPUExecutionProvider"])
    assert told["fell_back"] == []


def test_info_counts_the_nodes_of_each_provider(run):
    told = json.loads(run("info", "lstm", "--json").stdout)["session"]
    if told["nodes"] is None:
        pytest.skip("this ONNX Runtime does not report")
    assert told["nodes_by_provider"] == {"CPUExecutionProvider": len(told["nodes"])}
    line = f"nodes    {len(told['nodes'])} on CPUExecutionProvider\n"
    assert line in run("info", "lstm").stdout


def test_info_as_json_holds_interface_and_contract(run):
    answer = json.loads(run("info", "lstm", "--json").stdout)
    contract = json.loads(LSTM.contract.to_json())
    assert answer["contract"] == contract
    assert answer["interface"] == contract["interface"]


def test_check_ends_on_a_verdict(run):
    lines = run("check", "lstm").stdout.splitlines()
    assert [line[:6] for line in lines[:-1]] == ["pass  "] * 9
    assert lines[-1].startswith("PASS: lstm.onnx on ")


def test_check_of_a_broken_model_exits_with_3(run):
    done = run("check", "wrong-width")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.splitlines()[0] == (
        "FAIL  outputs have the declared shapes: output is [1, 1, 3], declared [1, 1, 4]"
    )
    assert done.stdout.splitlines()[-1].startswith("FAIL: wrong-width.onnx on ")


def test_check_of_a_broken_model_as_json(run):
    done = run("check", "wrong-width", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["passed"]) == (3, False)
    assert answer["findings"][0]["passed"] is False


def test_bench_has_a_row_for_each_shape(run):
    answer = json.loads(run("bench", "lstm", "--json").stdout)
    assert [(row["time"], row["batch"]) for row in answer["latency_ms"]] == [(1, 2), (3, 2)]


def test_bench_says_with_which_options(run):
    given = ("--session-option", "session.disable_prepacking=1")
    assert "\nopened with session.disable_prepacking=1\n" in run("bench", "lstm", *given).stdout
    answer = json.loads(run("bench", "lstm", "--json", *given).stdout)
    assert answer["options"]["entries"] == {"session.disable_prepacking": "1"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_option_is_one_line_and_exits_with_1(run, command):
    done = run(command, "lstm", "--session-option", "session.disable_prepaking=1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "rnnedge_runtime: options: this ONNX Runtime has no session entry "
        "'session.disable_prepaking'; did you mean 'session.disable_prepacking'?\n"
    )


def test_bench_percentiles_are_in_order(run):
    for row in json.loads(run("bench", "lstm", "--json").stdout)["latency_ms"]:
        assert 0 < row["p50"] <= row["p90"] <= row["p99"] <= row["largest"]
        assert row["count"] >= 10


ERRORS = {
    "missing": "none.onnx: expected an ONNX file, found no such file",
    "text": "text.onnx: expected an ONNX file, got a text file",
    "sideways": "sideways.onnx cannot be opened by ONNX Runtime: ",
    "newer": "newer.onnx has contract format 2, and this version reads formats up to 1: ",
    "damaged": "damaged.onnx has no readable contract under 'rnnedge.contract' (",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "message"), ERRORS.items(), ids=ERRORS)
def test_an_error_is_one_line_and_exits_with_1(run, command, name, message):
    done = run(command, "none" if name == "missing" else name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"rnnedge_runtime: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "bench"])
def test_a_model_of_another_maker_is_run(run, command):
    done = run(command, "silero")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("no_cuda")
def test_a_missing_device_is_one_line_and_exits_with_1(run):
    done = run("info", "lstm", "--device", "cuda")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("rnnedge_runtime: device='cuda': ONNX Runtime ")


USAGE = {
    "no-command": [],
    "unknown-command": ["train", "model.onnx"],
    "no-model": ["info"],
    "unknown-option": ["info", "model.onnx", "--fast"],
    "unknown-device": ["info", "model.onnx", "--device", "tpu"],
    "threads": ["info", "model.onnx", "--threads", "0"],
    "session-option": ["info", "model.onnx", "--session-option", "fast"],
    "negative-batch": ["bench", "model.onnx", "--batch", "-1"],
    "time-zero": ["bench", "model.onnx", "--time", "0"],
    "time-of-text": ["bench", "model.onnx", "--time", "long"],
}


@pytest.mark.parametrize("arguments", USAGE.values(), ids=USAGE)
def test_wrong_usage_exits_with_2(python, arguments):
    done = python("-m", "rnnedge_runtime", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "python -m rnnedge_runtime" in done.stderr
    assert "Traceback" not in done.stderr


def test_threads_are_taken(run):
    assert run("info", "lstm", "--threads", "1").returncode == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("Unable\n")])
def test_what_the_system_refuses_is_one_line(error, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("rnnedge_runtime.__main__.check_that_it_opens", fail)
    assert __main__.main(["info", "m.onnx"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rnnedge_runtime: ")
    assert said.count("\n") == 1
