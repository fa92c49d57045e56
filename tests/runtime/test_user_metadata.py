"""What the user keeps in a file: written by the exporter, read back here, with limits."""

import json
import math

import pytest

from rnnedge_runtime import ContractError, OptionError
from rnnedge_runtime.user_metadata import LONGEST, from_json, metadata_lines, to_json

KEPT = {
    "labels": ["yes", "no", "señal"],
    "sample_rate": 16000,
    "mean": [0.5, -1.25],
    "normalised": True,
    "by": {"whom": "us", "when": None},
}


def test_what_is_written_is_read_back():
    assert from_json(to_json(KEPT), source="m.onnx") == KEPT


def test_the_bytes_depend_on_the_values_alone():
    assert to_json(KEPT) == to_json(dict(reversed(KEPT.items())))


def test_lines_are_texts_and_json():
    assert metadata_lines({"name": "kws", "rate": 16000, "labels": ["a"]}) == [
        "metadata name: kws",
        "metadata rate: 16000",
        'metadata labels: ["a"]',
    ]


WRONG = {
    "not-a-dict": ([], "metadata: expected a dict, got list"),
    "type": ({"a": object()}, "metadata['a']: expected text, numbers, lists or dicts, got object"),
    "deep-type": ({"a": [1, {"b": b"x"}]}, "metadata['a'][1]['b']: expected text, .* got bytes"),
    "name": ({1: "a"}, "metadata: expected names of 1 to 200 characters"),
    "empty-name": ({"": "a"}, "metadata: expected names of 1 to 200 characters"),
    "control": ({"a": "x\x1b[1m"}, "metadata['a']: expected printable text, got 'x"),
    "control-name": ({"a\n": "x"}, "metadata: expected printable text"),
    "nan": ({"a": math.nan}, "metadata['a']: expected a finite number, got nan"),
    "infinity": ({"a": [math.inf]}, "metadata['a'][0]: expected a finite number, got inf"),
    "long": ({"a": "x" * LONGEST}, "metadata: expected at most 1,048,576 characters"),
}


@pytest.mark.parametrize(("value", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_kept_is_refused(value, message):
    message = message.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(OptionError, match=message):
        to_json(value)


def test_nesting_has_a_limit():
    value = "end"
    for _ in range(20):
        value = [value]
    with pytest.raises(OptionError, match="nested deeper than 8"):
        to_json({"a": value})


HOSTILE = {
    "no-json": "{",
    "no-object": "[1]",
    "control": json.dumps({"a": "\x1b[2J"}),
    "doubled": '{"a": 1, "a": 2}',
    "nan": '{"a": NaN}',
    "deep": '{"a": ' + "[" * 50 + "]" * 50 + "}",
    "deeper": "[" * 100_000,
    "long": json.dumps({"a": "x" * LONGEST}),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_a_stranger_wrote_is_refused(text):
    with pytest.raises(ContractError, match=r"^m\.onnx has no readable metadata under 'rnnedge.m"):
        from_json(text, source="m.onnx")
