"""A contract that somebody else wrote: every field of it is checked before it is believed."""

import copy
import json
import time

import pytest
from tiny_models import Tiny

from rnnedge_runtime import ContractError, ModelError, RnnEdgeError, Session
from rnnedge_runtime.axis_sizes import size_of
from rnnedge_runtime.contract import Contract

MODEL = Tiny("lstm", bidirectional=True, lengths=True)
VALUES = json.loads(MODEL.contract.to_json())
NESTED = json.loads("[" * 200 + "]" * 200)
HOSTILE = {
    **{str(value): value for value in (None, True, -1, 1.5, 2**31, 10**30, "", [], {})},
    "infinity": float("inf"),
    "escape": "\x1b[31mred",
    "lines": "a\nb",
    "long": "x" * 10_000,
    "dtype": "V1000000000",
    "power": "time**99999999",
    "nested": NESTED,
    "list": [1, "a"],
}


def _places(value, path=()):
    """Return the path of every value inside, including objects and lists."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _places(item, (*path, key))


PLACES = [path for path in _places(VALUES) if path]


def _changed(path, value):
    made = copy.deepcopy(VALUES)
    inside = made
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return json.dumps(made)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_any_value_anywhere_is_read_or_refused(value):
    messages = []
    for path in PLACES:
        try:
            contract = Contract.from_json(_changed(path, value))
        except ContractError as error:
            messages.append(str(error))
        else:
            specs = (*contract.interface.inputs, *contract.interface.outputs)
            assert all(str(spec).isprintable() for spec in specs)
    assert len(messages) > len(PLACES) // 2
    assert all(message.isprintable() and len(message) < 10_000 for message in messages)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_session_runs_or_says_why(value):
    messages = []
    for path in (path for path in PLACES if path[0] == "interface" and "arguments" not in path):
        try:
            Session(MODEL.graph().content(_changed(path, value))).run(MODEL.input(2, 3))
        except RnnEdgeError as error:
            messages.append(str(error))
    assert messages
    assert all(message.isprintable() for message in messages)


REFUSED = {
    "a key that occurs twice": (
        lambda text: text.replace('"opset":', '"opset":17,"opset":'),
        "has no readable contract .*a key occurs twice",
    ),
    "nested without end": (
        lambda text: "[" * 100_000,
        "has no readable contract .*nested too deeply",
    ),
    "longer than any": (
        lambda text: text + " " * 2**24,
        "has no readable contract .*characters",
    ),
    "true for a size": (
        lambda text: text.replace('"num_layers":1', '"num_layers":true'),
        r"damaged contract .*layers\[0\].num_layers: expected a whole number, got true",
    ),
    "a dtype of a gigabyte": (
        lambda text: text.replace('"dtype":"float32","name"', '"dtype":"V1000000000","name"', 1),
        "damaged contract .*V1000000000 is not the name of a dtype",
    ),
    "format true": (
        lambda text: text.replace('"format":1', '"format":true'),
        "has contract format True",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(change, message):
    text = MODEL.contract.to_json()
    assert change(text) != text
    with pytest.raises(ContractError, match=message):
        Contract.from_json(change(text))


def test_a_state_comes_out_as_it_goes_in():
    text = _changed(("interface", "outputs", 1, "axes"), [2, "batch", 99])
    with pytest.raises(ContractError, match=r"state h_0 .* comes out as h_n .*99"):
        Contract.from_json(text)


def test_a_dtype_that_the_graph_does_not_have():
    text = _changed(("interface", "inputs", 0, "dtype"), "int64")
    with pytest.raises(ModelError, match=r"promises input int64.*, the graph has input float32"):
        Session(MODEL.graph().content(text))


ENDLESS = [
    "time**99999999",
    "9**9**9**9",
    "2**time**time",
    "(" * 900 + "time" + ")" * 900,
    "-" * 1000 + "1",
    "time*" * 199 + "time",
    "time//0",
    "time % 0",
    "2**-1",
    "time.__class__",
    "x" * 100_000,
    "\x00",
    "1" * 900,
]


@pytest.mark.parametrize("axis", ENDLESS, ids=range(len(ENDLESS)))
def test_an_axis_that_cannot_be_computed_ends_at_once(axis):
    started = time.process_time()
    size = size_of(axis, {"time": 10})
    assert time.process_time() - started < 1
    assert size is None or isinstance(size, int)


def test_powers_that_are_sizes_are_computed():
    assert size_of("2**time", {"time": 10}) == 1024
    assert size_of("time**2 // 4 + 1", {"time": 10}) == 26
