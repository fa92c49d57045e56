"""The recurrence in numpy is PyTorch's, and a mistake in it is recognized by its answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pairwise import pairwise
from torch import nn

from rnnedge.parity.cases import Case, make_inputs
from rnnedge.parity.collect import Answers
from rnnedge.parity.diagnosis import recurrence
from rnnedge.parity.diagnosis.budget import Budget
from rnnedge.parity.diagnosis.explain import explain
from rnnedge.parity.diagnosis.mistake import Mistake
from rnnedge.parity.diagnosis.mistakes import mistakes
from rnnedge_exporters.layers.interface import layer_interface
from rnnedge_exporters.layers.weights import RecurrentLayer, read_layer

Array = NDArray[Any]
Outputs = dict[str, Array]

CELLS: dict[str, Callable[..., nn.RNNBase]] = {
    "tanh": partial(nn.RNN, 3, 4),
    "relu": partial(nn.RNN, 3, 4, nonlinearity="relu"),
    "lstm": partial(nn.LSTM, 3, 4),
    "projected": partial(nn.LSTM, 3, 4, proj_size=2),
    "gru": partial(nn.GRU, 3, 4),
}


def _make(cell: str, **options: Any) -> nn.RNNBase:
    torch.manual_seed(3)
    return CELLS[cell](**options)


# --- without a mistake ----------------------------------------------------------------------------


def _in_torch(
    layer: nn.RNNBase, x: Array, states: Sequence[Array] | None, lengths: Array | None
) -> list[Array]:
    """Run each row alone, up to its end, in float64; a row without steps keeps its state."""
    time, batch, _ = x.shape
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h_size = layer.proj_size or layer.hidden_size
    sizes = [h_size, layer.hidden_size] if layer.mode == "LSTM" else [h_size]
    finals = states or [np.zeros((rows, batch, size)) for size in sizes]
    finals = [state.copy() for state in finals]
    output = np.zeros((time, batch, h_size * (2 if layer.bidirectional else 1)))
    for row in range(batch):
        end = time if lengths is None else lengths[row]
        if not end:
            continue
        before = [torch.from_numpy(state[:, row]) for state in finals]  # [rows, size]: unbatched
        hx = tuple(before) if len(before) == 2 else before[0]
        with torch.no_grad():
            y, after = layer(torch.from_numpy(x[:end, row]), hx)
        output[:end, row] = y
        for final, last in zip(finals, after if len(before) == 2 else [after], strict=True):
            final[:, row] = last
    return [output, *finals]


@pytest.mark.parametrize(
    ("cell", "num_layers", "bidirectional", "bias"),
    pairwise(itertools.product(CELLS, (1, 2, 3), (False, True), (False, True))),
)
@given(
    time=st.integers(1, 6),
    batch=st.integers(1, 4),
    with_states=st.booleans(),
    with_lengths=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
def test_recurrence_is_that_of_pytorch(
    cell: str,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    time: int,
    batch: int,
    with_states: bool,
    with_lengths: bool,
    seed: int,
) -> None:
    layer = _make(cell, num_layers=num_layers, bidirectional=bidirectional, bias=bias)
    weights = read_layer(layer)
    random = np.random.default_rng(seed)
    x = random.standard_normal((time, batch, 3))
    rows = num_layers * weights.directions
    states = [random.standard_normal((rows, batch, size)) for size in weights.state_sizes]
    lengths = random.integers(0, time + 1, batch) if with_lengths else None

    expected = _in_torch(layer.double(), x, states if with_states else None, lengths)
    trace = recurrence.run(weights, x, states if with_states else None, lengths)

    for given_, wanted in zip((trace.output, *trace.finals), expected, strict=True):
        assert given_.shape == wanted.shape
        assert np.abs(given_ - wanted).max() < 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_trace_holds_the_output_of_each_layer(cell: str) -> None:
    layer = _make(cell, num_layers=2)
    x = np.random.default_rng(0).standard_normal((5, 2, 3))
    trace = recurrence.run(read_layer(layer), x)
    first = CELLS[cell](num_layers=1)
    first.load_state_dict({k: v for k, v in layer.state_dict().items() if k.endswith("_l0")})
    assert np.abs(trace.layers[0] - _in_torch(first.double(), x, None, None)[0]).max() < 1e-12
    assert trace.layers[1] is trace.output


def test_batch_first_is_the_business_of_a_mistake() -> None:
    """`run` takes time first; `Mistake.answer` takes the layout of the layer."""
    layer = read_layer(_make("gru", batch_first=True))
    x = np.random.default_rng(0).standard_normal((2, 5, 3))
    answer = Mistake("", "", layer).answer(x, None, None)
    inner = recurrence.run(layer, x.swapaxes(0, 1))
    assert np.array_equal(answer.output, inner.output.swapaxes(0, 1))


def test_saturated_gates_raise_no_warning() -> None:
    x = np.full((2, 1, 3), -1e6)
    assert np.isfinite(recurrence.run(read_layer(_make("lstm")), x).output).all()


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 2, 4), (1, 2, 5)], ids=["batch", "rows", "size"])
def test_state_of_another_shape_is_refused(shape: tuple[int, int, int]) -> None:
    """As a model refuses it, where a mistake exchanges axes."""
    with pytest.raises(ValueError, match=r"^state \(\d, \d, \d\), expected \(1, 2, 4\)$"):
        recurrence.run(read_layer(_make("gru")), np.zeros((5, 2, 3)), [np.zeros(shape)])


# --- mistakes -------------------------------------------------------------------------------------

LAYERS: dict[str, Callable[[], nn.RNNBase]] = {
    "tanh": partial(_make, "tanh"),
    "relu-2": partial(_make, "relu", num_layers=2, batch_first=True),
    "tanh-2-both": partial(_make, "tanh", num_layers=2, bidirectional=True),
    "lstm": partial(_make, "lstm"),
    "lstm-both": partial(_make, "lstm", bidirectional=True),
    "projected-2": partial(_make, "projected", num_layers=2),
    "gru": partial(_make, "gru"),
    "gru-2-both": partial(_make, "gru", num_layers=2, bidirectional=True),
    "gru-2-no_bias": partial(_make, "gru", num_layers=2, bias=False),
    "tanh-both-no_bias": partial(_make, "tanh", bidirectional=True, bias=False),
}

CASES = (
    Case(7, 3, random_state=True, ragged=True),
    Case(4, 4, random_state=True, ragged=True),
    Case(5, 3, random_state=True),
    Case(2, 3),
    Case(1, 1),
)


class Layer:
    """A layer, and what it answers in `CASES` with a mistake and without."""

    def __init__(self, name: str) -> None:
        self.module = LAYERS[name]()
        self.weights = read_layer(self.module)
        self.interface = layer_interface(self.weights, lengths=True, states=True)
        self.inputs = [make_inputs(self.interface, case) for case in CASES]
        self.right = [self.answer(Mistake("", "", self.weights), i) for i in range(len(CASES))]

    def mistakes(self) -> Iterator[Mistake]:
        return mistakes(self.weights, lengths=True, states=True)

    def answer(self, mistake: Mistake, case: int) -> Outputs | None:
        """Answer one of `CASES`; None where such a model refuses its shape."""
        inputs = self.inputs[case]
        names = ("input", *(spec.name for spec in self.interface.state_inputs))
        x, *states = (inputs[name].astype(np.float64) for name in names)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # gates without their sigmoid
                trace = mistake.answer(x, states, inputs["lengths"])
        except ValueError:
            return None
        names = [spec.name for spec in self.interface.outputs]
        return dict(zip(names, (trace.output, *trace.finals), strict=True))


@pytest.fixture(scope="module")
def layer(request: pytest.FixtureRequest) -> Layer:
    return Layer(request.param)


every_layer = pytest.mark.parametrize("layer", LAYERS, indirect=True, scope="module")


@every_layer
def test_every_mistake_shows_unless_it_is_none(layer: Layer) -> None:
    """A mistake that changes no answer explains nothing; which ones do not follows from them."""
    for mistake in layer.mistakes():
        shows = any(
            _differ(layer.answer(mistake, index), right) for index, right in enumerate(layer.right)
        )
        assert shows != _is_none(mistake, layer.weights), (mistake.text, mistake.place)


def _differ(given: Outputs | None, right: Outputs | None) -> bool:
    assert right is not None
    if given is None:
        return True
    return any(
        given[name].shape != wanted.shape or not np.allclose(given[name], wanted, atol=1e-6)
        for name, wanted in right.items()
    )


def _is_none(mistake: Mistake, layer: RecurrentLayer) -> bool:
    """Whether a mistake is none in this layer, by its structure."""
    text, quirks, last = mistake.text, mistake.quirks, len(layer.layers) - 1
    places = quirks.lengths_at or frozenset()
    forward = all(direction == 0 for _, direction in places)
    below = all(index != last for index, _ in places)
    if layer.cell != "gru" and mistake.cause == "bias halves":
        return text in SAME_SUM
    if not layer.bias and mistake.layer is not layer and "weight" not in text:
        return "bias" in text  # all are zeros
    if quirks.lengths == "backward at padding":
        return forward  # no direction starts in the padding
    if mistake.final_quirks == recurrence.Quirks():
        # What a layer below gives past the end of a row is not read; forward, the rest is right.
        return below and (quirks.lengths == "unmasked" or (quirks.lengths == "ignored" and forward))
    return False


SAME_SUM = (
    "input and recurrent bias are exchanged",
    "both biases are summed into the input bias",
    "both biases are summed into the recurrent bias",
)
"""Without a reset gate between them, only the sum of both halves counts."""


@pytest.mark.parametrize(
    ("layer", "every"),
    [
        ("tanh", 1),
        ("gru", 2),
        ("relu-2", 2),
        ("lstm", 7),
        ("tanh-2-both", 17),
        ("projected-2", 97),
        ("lstm-both", 97),
        ("gru-2-both", 199),
    ],
    indirect=["layer"],
    scope="module",
)
def test_model_with_a_mistake_is_explained_by_it(layer: Layer, every: int) -> None:
    """Every `every`th one, since each takes a search among all."""
    for mistake in list(layer.mistakes())[::every]:
        pool = _answered(layer, mistake)
        if not pool or not _differ(pool[0].model, pool[0].reference):
            continue  # it makes no difference, or shows in refusals only
        found = explain(
            layer.module,
            layer.weights,
            layer.interface,
            pool,
            floor=1e-6,
            torch_factor=4.0,
            budget=Budget(3600),
        )
        assert found is not None, (mistake.text, mistake.place)
        assert found.mistake.cause in (mistake.cause, ALSO.get(mistake.cause)), mistake.text
        assert found.error < 1e-5


ALSO = {"h_n taken at padding": "lengths ignored"}
"""Final states of full rows with an output of full rows are what ignored lengths give."""


@every_layer
def test_right_model_is_explained_by_no_mistake(layer: Layer) -> None:
    pool = _answered(layer, Mistake("", "", layer.weights))
    found = explain(layer.module, layer.weights, layer.interface, pool, 1e-6, 4.0, Budget(3600))
    assert found is None


@pytest.mark.parametrize("layer", ["tanh", "lstm", "gru-2-no_bias"], indirect=True)
def test_noise_is_explained_by_no_mistake(layer: Layer) -> None:
    pool = _answered(layer, Mistake("", "", layer.weights))
    random = np.random.default_rng(1)
    for answers in pool:
        for values in (answers.model or {}).values():
            values += random.standard_normal(values.shape).astype(np.float32) * 1e-3
    found = explain(layer.module, layer.weights, layer.interface, pool, 1e-6, 4.0, Budget(3600))
    assert found is None


def _answered(layer: Layer, mistake: Mistake) -> list[Answers]:
    """Return what a model with a mistake answers, a wrong answer first."""
    pool = []
    for index, (case, inputs) in enumerate(zip(CASES, layer.inputs, strict=True)):
        right, given = layer.right[index], layer.answer(mistake, index)
        if right is not None and given is not None:
            answer = Answers(
                case=case,
                inputs=inputs,
                sizes={},
                reference=right,
                torch=_single(right),
                moved=dict.fromkeys(right, 1e-7),
                model=_single(given),
                failure=None,
            )
            pool.append((not _differ(given, right), index, answer))
    return [answer for *_, answer in sorted(pool, key=lambda item: item[:2])]


def _single(outputs: Outputs) -> Outputs:
    with np.errstate(over="ignore"):
        return {name: values.astype(np.float32) for name, values in outputs.items()}
