"""`rnnedge export --target c`."""

import json

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge.cli import main

LAYER = ["--cell", "gru", "--input-size", "10", "--hidden-size", "32"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def ran(*options, code=0):
        with pytest.raises(SystemExit) as ended:
            main(["export", *options])
        assert ended.value.code == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    return ran


def test_the_summary_says_what_it_takes(run, tmp_path):
    printed = run(*LAYER, "--target", "c", "-o", "kws/", "--no-validate")
    summary = printed[printed.index("wrote") :]
    assert "wrote kws (C99, 7 files)" in summary
    assert "flash   16,640 bytes of weights" in summary
    assert "RAM     128 bytes for each kws_state" in summary
    assert "a step: 4,032 multiply-accumulates" in summary
    assert summary.splitlines()[-1] == "make -C kws test"
    assert max(map(len, summary.splitlines())) <= 80
    assert (tmp_path / "kws" / "kws.h").is_file()


def test_json_and_the_default_folder(run, tmp_path):
    printed = json.loads(run(*LAYER, "--target", "c", "--quantize", "int8", "--json"))
    assert printed["report"]["passed"]
    program = printed["program"]
    assert program["folder"] == printed["model"] == "gru"
    assert program["sizes"]["state"] == 128
    assert sorted(program["files"]) == sorted(path.name for path in (tmp_path / "gru").iterdir())
    refused = run(*LAYER, "--target", "c", code=1)
    assert "gru: already exists: -o gru replaces it" in refused


def test_an_onnx_file_becomes_the_same_program(run, tmp_path):
    layer = nn.GRU(10, 32)
    rnnedge.export(layer, "kws.onnx", target="c", validate=False)
    (tmp_path / "torch").mkdir()
    rnnedge.export(layer, tmp_path / "torch" / "kws", target="c", validate=False)
    assert "wrote kws (C99, 7 files)" in run("kws.onnx", "--target", "c")
    for path in (tmp_path / "torch" / "kws").iterdir():
        assert (tmp_path / "kws" / path.name).read_bytes() == path.read_bytes(), path.name
    assert run("kws.onnx", "--target", "c", "--quantize", "int8", "-o", "small")


def test_an_onnx_file_of_another_exporter(run, tmp_path):
    onnx = pytest.importorskip("onnx")
    layer = nn.LSTM(3, 4)
    rnnedge.export(layer, "made.onnx", target="portable", validate=False)
    model = onnx.load("made.onnx")
    del model.metadata_props[:]
    onnx.save(model, "foreign.onnx")
    assert "wrote foreign (C99, 7 files)" in run("foreign.onnx", "--target", "c")


def test_a_program_that_runs_whole_sequences(run):
    both = [*LAYER, "--bidirectional", "--target", "c", "--no-validate", "-o", "both"]
    refused = run(*both, code=1)
    assert "cannot run in steps: the layer is bidirectional" in refused
    assert "--max-steps N" in refused
    assert "a run of 5 steps" in run(*both, "--max-steps", "5")


@pytest.mark.parametrize("option", [("--batch", "2"), ("--max-steps", "3")])
def test_options_of_c_elsewhere(option, run):
    assert f"{option[0]}: requires --target c" in run(*LAYER, *option, code=2)


def test_golden_vectors_are_inside(run):
    assert "leave it out" in run(*LAYER, "--target", "c", "--golden", "vectors", code=2)


def test_the_source_stays(run, tmp_path):
    folder = tmp_path / "kws"
    folder.mkdir()
    torch.save(nn.GRU(3, 4).state_dict(), folder / "weights.pt")
    printed = run("kws/weights.pt", "--target", "c", "-o", "kws", "--force", code=1)
    assert "kws: holds kws/weights.pt, which is read here" in printed
    assert [path.name for path in folder.iterdir()] == ["weights.pt"]
