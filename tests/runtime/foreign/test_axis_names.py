"""Which axes of a model of others are batch and time."""

import pytest

from rnnedge_runtime.contract import BATCH, TIME, Interface, StatePair, TensorSpec
from rnnedge_runtime.foreign.axis_names import name_axes


def face(*inputs, states=(), lengths=None, outputs=()):
    specs = [TensorSpec(name, "float32", axes) for name, axes in inputs]
    outs = [TensorSpec(name, "float32", axes) for name, axes in outputs]
    pairs = tuple(StatePair(name, f"{name}_out") for name in states)
    return Interface(tuple(specs), tuple(outs), pairs, lengths)


def axes(interface, **how):
    return {spec.name: spec.axes for spec in name_axes(interface, **how).inputs}


NAMES = {
    **dict.fromkeys(["batch", "batch_size", "Batch", "N", "B", "bs", "rows"], BATCH),
    **dict.fromkeys(["time", "T", "seq", "seq_len", "sequence_length", "L", "length"], TIME),
    **dict.fromkeys(["time_steps", "num_frames", "Sequence"], TIME),
    **dict.fromkeys(["unk__0", "dim_1", "s0", "nodes", "channels", "x.0"], None),
}


@pytest.mark.parametrize(("name", "role"), NAMES.items(), ids=NAMES)
def test_what_an_axis_is_called(name, role):
    assert axes(face(("x", (name, 40)))) == {"x": (role or name, 40)}


def test_name_of_the_tensor_says_nothing():
    """An axis without a name is called after its tensor."""
    unnamed = ("batch_of_sequences.0", 40)
    assert axes(face(("batch_of_sequences", unnamed))) == {"batch_of_sequences": unnamed}


PLACES = {
    "rows-first": ((BATCH, TIME), ("p", "q", 3), (BATCH, TIME, 3)),
    "time-first": ((TIME, BATCH), ("p", "q", 3), (TIME, BATCH, 3)),
    "as-tf2onnx-calls-them": ((BATCH, TIME), ("unk__0", "unk__1"), (BATCH, TIME)),
    "one-is-known": ((TIME, BATCH), ("batch", "q"), (BATCH, TIME)),
    "the-other-is-known": ((TIME, BATCH), ("p", "seq", 3), (BATCH, TIME, 3)),
    "rows-alone": ((BATCH, TIME), ("p", 40), (BATCH, 40)),
    "steps-alone": ((BATCH, TIME), (1, "p", 40), (1, TIME, 40)),
    "steps-alone-in-front": ((TIME, BATCH), ("p", 1, 40), (TIME, 1, 40)),
    "a-line": ((BATCH, TIME), ("p",), (TIME,)),
    "three": ((BATCH, TIME), ("p", "q", "r"), (BATCH, TIME, "r")),
    "an-image": ((BATCH, TIME), ("p", 3, "q", "r"), ("p", 3, "q", "r")),
    "fixed": ((BATCH, TIME), (2, 5, 3), (2, 5, 3)),
}


@pytest.mark.parametrize(("order", "declared", "named"), PLACES.values(), ids=PLACES)
def test_place_of_an_axis(order, declared, named):
    assert axes(face(("x", declared)), order=order) == {"x": named}


@pytest.mark.parametrize("order", [None, (BATCH, TIME), (TIME, BATCH)])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    "declared", [("batch", "batch_1"), ("rows", "batch", 3), ("T", "seq", "N"), ("time", "time", 4)]
)
def test_no_input_gets_a_name_twice(declared, tied, order):
    (named,) = axes(face(("x", declared)), order=order, tied=tied).values()
    repeated = declared.count("time")  # by the model itself
    assert named.count(BATCH) <= 1
    assert named.count(TIME) <= max(1, repeated)


def test_places_are_left_alone_unless_an_order_is_given():
    assert axes(face(("x", ("p", "q", 3)))) == {"x": ("p", "q", 3)}


def test_only_dynamic_axis_of_a_state_is_the_batch():
    given = face(("x", ("p", "q", 3)), ("h", (1, "q", 4)), states=["h"])
    assert axes(given) == {"x": (TIME, BATCH, 3), "h": (1, BATCH, 4)}


def test_states_come_before_names():
    given = face(("x", ("N", "T", 3)), ("h", (1, "T", 4)), states=["h"])
    assert axes(given) == {"x": (TIME, BATCH, 3), "h": (1, BATCH, 4)}


def test_axis_of_the_lengths_is_the_batch():
    given = face(("x", ("p", "q", 3)), ("lengths", ("q",)), lengths="lengths")
    assert axes(given) == {"x": (TIME, BATCH, 3), "lengths": (BATCH,)}


def test_encoder_and_decoder_have_times_of_their_own():
    given = face(("x", ("batch", "source_length", 3)), ("y", ("batch", "target_length", 3)))
    assert axes(given)["y"] == (BATCH, "target_length", 3)
    assert axes(given, tied=True)["y"] == (BATCH, TIME, 3)


def test_unnamed_axes_are_tied_only_when_asked_for():
    given = face(("x", ("x.0", "x.1", 3)), ("mask", ("mask.0", "mask.1")))
    assert axes(given, order=(BATCH, TIME), tied=True)["mask"] == (BATCH, TIME)
    assert axes(given, order=(BATCH, TIME))["mask"] == ("mask.0", "mask.1")


def test_outputs_follow_the_inputs():
    given = face(("x", ("N", "T", 3)), outputs=[("y", ("N", "T", 4)), ("z", ("N", "frames", 4))])
    named = {spec.name: spec.axes for spec in name_axes(given).outputs}
    assert named == {"y": (BATCH, TIME, 4), "z": (BATCH, "frames", 4)}
