"""The lengths of packed sequences: the tensor in whatever form, never the example's numbers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packed_modules import (
    EXAMPLE,
    UNSORTED,
    Packed,
    compare,
    export,
    in_onnx,
    in_torch,
    module,
    rows,
)
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.utils import rnn
from torch.nn.utils.rnn import pack_padded_sequence as pack
from torch.nn.utils.rnn import pad_packed_sequence as unpack

import rnnedge

Form = Callable[[Tensor], Any]

FORMS: dict[str, Form] = {
    "tensor": lambda n: n,
    "tolist": lambda n: n.tolist(),
    "cpu": lambda n: n.cpu(),
    "cpu tolist": lambda n: n.cpu().tolist(),
    "cpu numpy": lambda n: n.cpu().numpy(),
    "data": lambda n: n.data.cpu().numpy(),
    "numpy": lambda n: n.detach().numpy(),
    "to": lambda n: n.to("cpu", torch.int64),
    "int": lambda n: n.int(),
    "float": lambda n: n.float(),
    "view": lambda n: n.view(-1).tolist(),
    "as_tensor": lambda n: torch.as_tensor(n.tolist(), dtype=torch.int64, device="cpu"),
    "clamp": lambda n: n.clamp(min=1),
    "mask": lambda n: (torch.arange(40) < n.unsqueeze(1)).sum(1),
}


def run(m: Packed, x: Tensor, lengths: Any) -> Tensor:
    p = pack(x, lengths, batch_first=True, enforce_sorted=False)
    return unpack(m.rnn(p)[0], batch_first=True, total_length=x.size(1))[0]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[list[np.ndarray[Any, Any]]]:
    """The answers of one file to lengths in all forms: to export each alone takes a second."""
    made = module(lambda m, x, n: [run(m, x, form(n)) for form in FORMS.values()])
    session, _ = export(made, tmp_path_factory.mktemp("lengths"))
    assert session.interface.lengths == "lengths"
    return [in_onnx(session, rows(lengths), lengths) for lengths in UNSORTED]


@pytest.mark.parametrize("name", FORMS)
def test_any_form_is_the_tensor(name: str, answers: list[list[np.ndarray[Any, Any]]]) -> None:
    form, number = FORMS[name], list(FORMS).index(name)
    made = module(lambda m, x, n: run(m, x, form(n)))
    for lengths, given in zip(UNSORTED, answers, strict=True):
        compare(given[number:], in_torch(made, rows(lengths), lengths))


ADVICE = "give pack_padded_sequence the tensor itself"
CONSTANT = r"the lengths of a packed sequence are constants.*, example_inputs=\(x, torch.tensor"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda n: list(n), ADVICE),
        (lambda n: [item.item() for item in n], ADVICE),
        (lambda n: [int(item) for item in n], "pack_padded_sequence takes lengths as a tensor"),
        (lambda n: np.asarray(n), "pack_padded_sequence takes lengths as a tensor"),
        (lambda n: n.numpy().astype(np.int64), "list or numpy array is computed at export only"),
        (lambda n: [7, 4, 2], CONSTANT),
        (lambda n: np.array([7, 4, 2]), CONSTANT),
    ],
    ids=["list", "item", "int", "asarray", "astype", "constants", "array"],
)
def test_lists_are_refused_with_advice(form: Form, message: str, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=message) as raised:
        export(module(lambda m, x, n: run(m, x, form(n))), tmp_path)
    assert re.search(r"line \d+ of packed_modules.py", str(raised.value))


@pytest.mark.parametrize(
    "constant",
    [
        lambda x: [4],
        lambda x: torch.tensor([4]),
        lambda x: np.array([4]),
        lambda x: x.new_tensor([4]),
    ],
    ids=["list", "tensor", "array", "new_tensor"],
)
def test_constants_are_refused_at_a_batch_of_one(
    constant: Callable[[Tensor], Any], tmp_path: Path
) -> None:
    """A batch of one is the only one that they fit, so that nothing else stops them."""
    made = module(lambda m, x, n: run(m, x, constant(x)))
    with pytest.raises(rnnedge.ExportError, match=CONSTANT):
        export(made, tmp_path, example_inputs=(EXAMPLE[0][:1], torch.tensor([4])))


def test_a_list_among_the_arguments_is_refused(tmp_path: Path) -> None:
    for count in (1, 3):
        example = EXAMPLE[0][:count], [7, 4, 2][:count]
        with pytest.raises(rnnedge.ExportError, match=CONSTANT):
            export(module(lambda m, x, n: run(m, x, n)), tmp_path, example_inputs=example)


def test_constants_of_a_fixed_size_are_taken(tmp_path: Path) -> None:
    made = module(lambda m, x, n: run(m, x, [7, 4, 2]))
    session, _ = export(made, tmp_path, dynamic_axes={})
    x = rows([5, 5, 5])
    compare(in_onnx(session, x, [1, 1, 1]), in_torch(made, x, [1, 1, 1]))


def test_full_rows_are_taken(tmp_path: Path) -> None:
    full = lambda m, x: run(m, x, torch.full((x.size(0),), x.size(1)))  # noqa: E731
    made = module(lambda m, x, n: full(m, x) * n.view(-1, 1, 1))
    session, result = export(made, tmp_path)
    assert session.interface.states
    assert not result.contract.hindrances
    for lengths in UNSORTED:
        x = rows(lengths)
        compare(in_onnx(session, x, lengths), in_torch(made, x, lengths))


def test_rows_cut_to_the_longest_keep_their_time_open(tmp_path: Path) -> None:
    made = module(lambda m, x, n: m.rnn(x[:, : n.max()])[0] * n.view(-1, 1, 1))
    session, _ = export(made, tmp_path)
    assert session.interface.inputs[0].axes == ("batch", "time", 4)
    for lengths in UNSORTED:
        x = rows(lengths)
        compare(in_onnx(session, x, lengths), in_torch(made, x, lengths))


def test_lists_of_a_fixed_batch_are_taken(tmp_path: Path) -> None:
    made = module(lambda m, x, n: [run(m, x, list(n)), run(m, x, [item.item() for item in n])])
    session, _ = export(made, tmp_path, dynamic_axes={"x": {1: "time"}})
    for lengths in ([2, 7, 4], [5, 1, 3]):
        x = rows(lengths)
        compare(in_onnx(session, x, lengths), in_torch(made, x, lengths))


def test_computed_lengths_keep_states_from_being_lifted(tmp_path: Path) -> None:
    def forward(m: Packed, x: Tensor, n: Tensor) -> Tensor:
        y = run(m, x, n.clamp(min=1))
        fixed = torch.full((x.size(0),), 2)
        return m.second(pack(y, fixed, batch_first=True))[1]

    _, result = export(module(forward), tmp_path)
    assert not result.contract.interface.states
    expected = {f"the lengths of {name} are computed" for name in ("rnn", "second")}
    assert set(result.contract.hindrances) >= expected


def test_torch_is_as_it_was(tmp_path: Path) -> None:
    """After an export that failed, and in another thread while one runs."""
    before = rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__
    x, n = EXAMPLE
    expected = pack(x, n, True, False)
    seen: list[rnn.PackedSequence] = []

    def forward(m: Packed, x: Tensor, n: Tensor) -> Tensor:
        if isinstance(n, FakeTensor):
            other = threading.Thread(target=lambda: seen.append(pack(*EXAMPLE, True, False)))
            other.start()
            other.join()
        return run(m, x, list(n))

    with pytest.raises(rnnedge.ExportError, match=ADVICE):
        export(module(forward), tmp_path)
    assert before == (rnn.pack_padded_sequence.__code__, rnn.pad_packed_sequence.__code__)
    assert "numpy" not in vars(FakeTensor)
    assert "__array__" not in vars(FakeTensor)
    assert seen
    for sequence in (*seen, pack(x, n, True, False)):
        assert type(sequence) is rnn.PackedSequence
        assert all(map(torch.equal, sequence, expected))  # type: ignore[arg-type]
