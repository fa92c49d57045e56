"""How a case is run on a model: in pieces, permuted, again, with threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from rnnedge import ModelError
from rnnedge.parity import Case
from rnnedge.parity.cases import make_inputs
from rnnedge.parity.model_runner import ModelRunner
from rnnedge_exporters.layers.interface import layer_interface
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_runtime.loaded_model import RunResult

Array = NDArray[Any]
INTERFACE = layer_interface(read_layer(nn.GRU(3, 4)), lengths=True, states=True)


class Recorder:
    """A model of a GRU's interface that answers its input, and keeps what it was asked."""

    def __init__(self, answer: Callable[[Array], Array] = lambda x: x) -> None:
        self.interface = INTERFACE
        self.threads: list[int] = []
        self.asked: list[dict[str, Array]] = []
        self._answer = answer

    def opened(self, threads: int) -> Recorder:
        self.threads.append(threads)
        return self

    def run(self, input: Any, *, lengths: Any = None, state: Any = None) -> RunResult:
        self.asked.append({**input, **state, "lengths": lengths})
        outputs = {"output": self._answer(input["input"]), "h_n": state["h_0"] + 1}
        return RunResult(outputs, (outputs["h_n"],))

    def answer(self, case: Case) -> dict[str, Array]:
        inputs = make_inputs(self.interface, case)
        return ModelRunner(self.interface, self.opened)(inputs, case)


def test_plain_case_is_run_once_in_one_thread() -> None:
    model = Recorder()
    model.answer(Case(5, 3))
    assert (model.threads, len(model.asked)) == ([1], 1)


def test_case_of_threads_is_run_in_two() -> None:
    model = Recorder()
    model.answer(Case(5, 3, way="threads"))
    assert model.threads == [2]


def test_permuted_rows_are_put_back() -> None:
    case = Case(5, 3, random_state=True, ragged=True, way="permuted")
    model, inputs = Recorder(), make_inputs(INTERFACE, case)
    answer = model.answer(case)
    assert np.array_equal(model.asked[0]["input"], inputs["input"][:, ::-1])
    assert np.array_equal(model.asked[0]["h_0"], inputs["h_0"][:, ::-1])
    assert np.array_equal(model.asked[0]["lengths"], inputs["lengths"][::-1])
    assert np.array_equal(answer["output"], inputs["input"])
    assert np.array_equal(answer["h_n"], inputs["h_0"] + 1)


def test_repeated_case_is_run_three_times() -> None:
    model = Recorder()
    model.answer(Case(5, 3, way="repeated"))
    assert len(model.asked) == 3


def test_answers_of_repeated_runs_have_to_be_the_same_bits() -> None:
    changes = iter([0, 0, 1e-30])
    model = Recorder(lambda x: np.zeros_like(x) + np.float32(next(changes)))
    with pytest.raises(ModelError, match=r"^output differs between two runs of the same inputs$"):
        model.answer(Case(5, 3, way="repeated"))


def test_chunks_hand_their_state_on() -> None:
    case = Case(5, 3, random_state=True, ragged=True, chunk=2)
    model, inputs = Recorder(), make_inputs(INTERFACE, case)
    answer = model.answer(case)
    assert [asked["input"].shape[0] for asked in model.asked] == [2, 2, 1]
    for number, asked in enumerate(model.asked):
        assert np.allclose(asked["h_0"], inputs["h_0"] + number)
        left = np.clip(inputs["lengths"] - 2 * number, 0, len(asked["input"]))
        assert asked["lengths"].tolist() == left.tolist()
    assert np.array_equal(answer["output"], inputs["input"])
    assert np.allclose(answer["h_n"], inputs["h_0"] + 3)


def test_chunks_that_do_not_join_are_an_error() -> None:
    model = Recorder(lambda x: x[..., : len(x)])
    with pytest.raises(ModelError, match=r"^its answers to the chunks do not join: "):
        model.answer(Case(5, 3, chunk=2))
