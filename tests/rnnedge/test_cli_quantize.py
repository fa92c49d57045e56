"""`--quantize` and `--dtype`: the table, the JSON, and what `inspect` shows afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable

import onnxruntime
import pytest
from commands import Done

GRU = ("--cell", "gru", "--input-size", "8", "--hidden-size", "16")
WEIGHTS = 3 * 16 * (8 + 16 + 2)


@pytest.mark.parametrize(
    ("options", "done"),
    [
        (("--quantize", "int8"), "stored in int8"),
        (("--quantize", "int8:all"), "computes in int8"),
        (("--dtype", "float16"), "stored in float16"),
        (("--dtype", "float16", "--target", "cuda"), "computes in float16"),
    ],
)
def test_export_says_what_was_done(
    options: tuple[str, ...], done: str, rnn: Callable[..., Done]
) -> None:
    answer = rnn("export", *GRU, *options, "-o", "model.onnx")
    assert (answer.code, answer.err) == (0, "")
    assert f"| gru  | {done} " in answer.out
    assert f" {4 * WEIGHTS:,} |" in answer.out
    assert f"\ngru {done}: " in answer.out
    assert "\nPASS: model.onnx computes what gru(8->16) computes in PyTorch" in answer.out
    assert "wrote model.onnx" in answer.out


def test_half_on_a_cpu_says_what_is_left_to_prove(rnn: Callable[..., Done]) -> None:
    answer = rnn("export", *GRU, "--dtype", "float16", "--target", "cuda", "-o", "model.onnx")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it was validated on CUDA")
    assert "this CPU computes in float32: on the GPU, rnnedge validate --device cuda" in answer.out
    assert "this CPU" not in rnn("export", *GRU, "--dtype", "float16", "-o", "model.onnx").out


def test_json_says_it_too(rnn: Callable[..., Done]) -> None:
    answer = json.loads(rnn("export", *GRU, "--quantize", "int8", "-o", "m.onnx", "--json").out)
    (layer,) = answer["quantization"]
    assert (layer["kind"], layer["done"]) == ("gru", "stored in int8")
    assert layer["bytes_before"] == 4 * WEIGHTS > 2 * layer["bytes_after"]
    assert 0 < layer["weight_error"] < layer["output_error"] < 0.1
    assert answer["contract"]["quantization"] == "int8"


def test_inspect_shows_it(rnn: Callable[..., Done]) -> None:
    rnn("export", *GRU, "--quantize", "int8", "-o", "model.onnx")
    answer = rnn("inspect", "model.onnx").out
    assert "quantization int8\n" in answer
    assert "\nweights  float32, " in answer
    assert "below width 384, int8 makes the cell no faster" in answer
    assert f" {WEIGHTS:,} parameters" in answer


@pytest.mark.parametrize("options", [("--quantize", "int8:all"), ("--dtype", "float16")])
def test_inspect_counts_the_weights(options: tuple[str, ...], rnn: Callable[..., Done]) -> None:
    rnn("export", *GRU, *options, "-o", "model.onnx")
    assert f" {WEIGHTS:,} parameters" in rnn("inspect", "model.onnx").out
